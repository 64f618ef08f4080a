//! Text for a terminal: no wider than a hundred columns, and with nothing in it that a terminal would
//! obey. Much of it was written by plugins and by other machines.

use std::time::Duration;

/// The widest line.
pub(crate) const COLUMNS: usize = 100;

/// Without control characters.
pub(crate) fn plain(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' => ' ',
        c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => '\u{fffd}',
        c => c,
    };
    text.chars().map(shown).collect()
}

/// At most so many characters; what is cut off is marked.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let kept: String = text.chars().take(columns.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// A label and a text beside it, in as many lines as it needs.
pub(crate) fn paragraph(label: &str, indent: usize, text: &str) -> Vec<String> {
    let width = COLUMNS.saturating_sub(indent).max(1);
    let mut lines: Vec<String> = Vec::new();
    for word in plain(text).split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(cut(word, width)),
        }
    }
    let beside = |(number, line)| match number {
        0 => format!("{label:indent$}{line}"),
        _ => format!("{:indent$}{line}", ""),
    };
    lines.into_iter().enumerate().map(beside).collect()
}

/// Bytes in a unit that people read.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A time in its two largest units.
pub(crate) fn time(milliseconds: u64) -> String {
    let seconds = Duration::from_millis(milliseconds).as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0 => format!("{milliseconds} ms"),
        1..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min {} s", seconds % 60),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// The first digits of a digest: enough to tell two files apart.
pub(crate) fn digest(digest: &str) -> String {
    plain(digest).chars().take("sha256:".len() + 12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_become_lines_that_fit() {
        let text = "word ".repeat(60) + &"x".repeat(200);
        let lines = paragraph("label", 10, &text);
        assert!(lines.len() > 4, "{lines:#?}");
        assert!(lines[0].starts_with("label     word"), "{lines:#?}");
        assert!(lines[1].starts_with("          word"), "{lines:#?}");
        for line in &lines {
            assert!(line.chars().count() <= COLUMNS, "{line}");
        }
    }

    #[test]
    fn nothing_that_a_terminal_would_obey_is_left() {
        assert_eq!(plain("a\u{1b}[2J\r\nb"), "a\u{fffd}[2J\u{fffd} b");
    }

    #[test]
    fn numbers_are_for_people() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (5 << 30, "5.0 GiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        for (ms, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (59_999, "59 s"),
            (61_000, "1 min 1 s"),
            (7_260_000, "2 h 1 min"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(time(ms), text);
        }
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(
            digest(&format!("sha256:{}", "0123456789abcdef".repeat(4))),
            "sha256:0123456789ab"
        );
    }
}
