//! Numbers as JavaScript prints them.

use std::io::Write as _;

/// JavaScript writes numbers of this size and above with an exponent…
const MIN_LARGE: f64 = 1e21;
/// … and those below this one.
const MIN_PLAIN: f64 = 1e-6;
/// Whole numbers up to this are exact.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// A number as `String(n)` gives it, for channel names and keys.
pub fn javascript(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        }
        .to_owned();
    }
    let size = number.abs();
    if size == 0.0 {
        "0".to_owned()
    } else if (MIN_PLAIN..MIN_LARGE).contains(&size) {
        format!("{number}")
    } else {
        let text = format!("{number:e}");
        match text.split_once('e') {
            Some((digits, power)) if !power.starts_with('-') => format!("{digits}e+{power}"),
            _ => text,
        }
    }
}

/// A number as `JSON.stringify` writes it: without a fraction when it is whole, so that typed
/// readers take it for an integer, and `null` when it is not finite.
pub fn write_float(out: &mut Vec<u8>, number: f64) {
    if number.fract() == 0.0 && (0.0..=MAX_EXACT).contains(&number) {
        // Nearly all are, and floats cost ten times as much.
        out.extend_from_slice(itoa::Buffer::new().format(number as u64).as_bytes());
    } else if !number.is_finite() {
        out.extend_from_slice(b"null");
    } else if (MIN_PLAIN..MIN_LARGE).contains(&number.abs()) {
        // Writing to a vector cannot fail.
        let _ = write!(out, "{number}");
    } else {
        out.extend_from_slice(javascript(number).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_javascript_prints_them() {
        for (number, text) in [
            (42.0, "42"),
            (-1.5, "-1.5"),
            (0.0, "0"),
            (-0.0, "0"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (-1.25e300, "-1.25e+300"),
            (0.000001, "0.000001"),
            (1.5e-7, "1.5e-7"),
            (5e-324, "5e-324"),
            (9007199254740993.0, "9007199254740992"),
            (9007199254740994.0, "9007199254740994"),
            (-9007199254740992.0, "-9007199254740992"),
            (2.0, "2"),
            (2.5, "2.5"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(javascript(number), text);
            let mut json = Vec::new();
            write_float(&mut json, number);
            let expected = if number.is_finite() { text } else { "null" };
            assert_eq!(String::from_utf8_lossy(&json), expected);
        }
    }
}
