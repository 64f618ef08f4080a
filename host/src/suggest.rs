//! "Did you mean …?": the nearest right word to a wrong one.
//!
//! Pure text. Who asks (configuration keys, plugin names) decides what the right words are.

/// Longer words are not compared: the distance is quadratic, and what is wrong with such a word is
/// not a slip of the finger.
const MAX_WORD_CHARS: usize = 128;

/// The candidate that `word` was most likely meant to be; none when nothing is close.
///
/// Case and separators do not count, so `heartbeatInterval` finds `heartbeat_interval_ms`. Of
/// equally near candidates the first wins.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    if word.chars().nth(MAX_WORD_CHARS).is_some() {
        return None;
    }
    let wanted = folded(word);
    candidates
        .into_iter()
        .filter_map(|candidate| Some((distance(&wanted, &folded(candidate))?, candidate)))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `; did you mean `x`?`, or what there is to choose from when nothing is close.
pub(crate) fn hint(word: &str, candidates: &[&str]) -> String {
    if let Some(right) = nearest(word, candidates.iter().copied()) {
        return format!("; did you mean `{right}`?");
    }
    match candidates {
        [] => String::new(),
        candidates => format!("; known here: {}", listed(candidates)),
    }
}

/// `` `a`, `b`, `c` ``
pub(crate) fn listed(words: &[&str]) -> String {
    words
        .iter()
        .map(|word| format!("`{word}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Edits between two folded words; none when more than a third of the longer one is different.
fn distance(wanted: &str, candidate: &str) -> Option<usize> {
    let edits = strsim::damerau_levenshtein(wanted, candidate);
    let longer = wanted.chars().count().max(candidate.chars().count());
    (edits <= longer / 3).then_some(edits)
}

fn folded(word: &str) -> String {
    word.chars()
        .filter(|c| !matches!(c, '_' | '-' | ' '))
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 4] = [
        "heartbeat_interval_ms",
        "heartbeat_timeout_ms",
        "request_timeout_ms",
        "outbox",
    ];

    #[test]
    fn a_slip_finds_the_word_that_was_meant() {
        for (word, expected) in [
            ("hearbeat_interval_ms", Some("heartbeat_interval_ms")),
            ("heartbeatInterval", Some("heartbeat_interval_ms")),
            ("heartbeat-timeout", Some("heartbeat_timeout_ms")),
            ("OUTBOX", Some("outbox")),
            ("outobx", Some("outbox")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, KEYS), expected, "for {word:?}");
        }
    }

    #[test]
    fn a_very_long_word_is_not_compared() {
        assert_eq!(nearest(&"a".repeat(100_000), KEYS), None);
    }

    #[test]
    fn the_hint_lists_the_choices_when_nothing_is_close() {
        assert_eq!(
            hint("colour", &["path", "mode"]),
            "; known here: `path`, `mode`"
        );
        assert_eq!(hint("pat", &["path", "mode"]), "; did you mean `path`?");
        assert_eq!(hint("pat", &[]), "");
    }
}
