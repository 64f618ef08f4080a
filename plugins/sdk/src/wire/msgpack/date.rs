//! Points in time as JavaScript prints them (ECMAScript, Date.prototype.toISOString).

/// Beyond this many milliseconds from 1970 a JavaScript date is invalid (ECMAScript, TimeClip).
const MAX_TIME_MS: i64 = 8_640_000_000_000_000;
const DAY_MS: i64 = 86_400_000;

/// `2026-11-05T09:30:00.000Z`; none if JavaScript has no such date. Years beyond four digits get
/// a sign and six.
pub(crate) fn iso8601(time_ms: i64) -> Option<String> {
    if !(-MAX_TIME_MS..=MAX_TIME_MS).contains(&time_ms) {
        return None;
    }
    let (year, month, day) = civil(time_ms.div_euclid(DAY_MS));
    let ms = time_ms.rem_euclid(DAY_MS);
    let (hour, minute) = (ms / 3_600_000, ms / 60_000 % 60);
    let (second, milli) = (ms / 1000 % 60, ms % 1000);
    let year = match year {
        0..=9999 => format!("{year:04}"),
        _ => format!("{year:+07}"),
    };
    Some(format!(
        "{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z"
    ))
}

/// Year, month and day of a day number counted from 1970-01-01 in the Gregorian calendar.
///
/// Years are taken to start in March, so that the leap day is the last one; 400 of them have
/// 146,097 days.
fn civil(days: i64) -> (i64, i64, i64) {
    let from_march_0000 = days + 719_468;
    let era = from_march_0000.div_euclid(146_097);
    let day_of_era = from_march_0000.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_read_as_javascript_prints_them() {
        for (time_ms, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (-62_198_755_200_000, "-000001-01-01T00:00:00.000Z"),
            (253_402_300_800_000, "+010000-01-01T00:00:00.000Z"),
            (MAX_TIME_MS, "+275760-09-13T00:00:00.000Z"),
            (-MAX_TIME_MS, "-271821-04-20T00:00:00.000Z"),
        ] {
            assert_eq!(iso8601(time_ms).as_deref(), Some(expected));
        }
        assert_eq!(iso8601(MAX_TIME_MS + 1), None);
        assert_eq!(iso8601(i64::MIN), None);
    }
}
