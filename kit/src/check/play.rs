//! Runs one scenario: on a thread's own runtime, within a time limit, and with what it finds broken as
//! a value instead of a panic.

use std::{
    cell::RefCell,
    panic::{self, AssertUnwindSafe},
    sync::Once,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use tokio::{runtime, time::timeout};

use super::report::{Kept, Row};
use crate::{
    log::Logs,
    scenarios::{Outcome, Scenario, Setting},
    wait::{note, waited_for},
};

/// Most characters of a line in a report: of its beginning, and of its end if it is longer, because that
/// is where an assertion has what was expected.
const MAX_HEAD: usize = 300;
const MAX_TAIL: usize = 150;

/// Most lines of logs that a row shows.
const MAX_LINES: usize = 3;

/// What a server writes when the plugin has died; a panic's own words come first.
const FAILED: [&str; 2] = ["panicked at", "the plugin failed"];
/// When it is not asked any more.
const GIVEN_UP: [&str; 3] = ["is given up", "was given up", "refuses a namespace"];
/// When the plugin says that its backend is away, and why.
pub(super) const AWAY: [&str; 3] = [
    "is lost, trying again",
    "cannot be entered now",
    "the backend cannot be reached",
];
/// When it has told a gap.
const GAP: [&str; 1] = ["messages of other nodes were missed"];

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    static IS_PLAYING: RefCell<bool> = const { RefCell::new(false) };
}

/// Runs a scenario of the lists.
pub(super) fn play(scenario: &Scenario, setting: Setting, limit: Duration) -> Row {
    run(
        scenario.group,
        scenario.name,
        setting,
        limit,
        async |setting| scenario.run(setting).await,
    )
}

/// Runs any scenario.
pub(super) fn run(
    group: &'static str,
    name: &'static str,
    setting: Setting,
    limit: Duration,
    story: impl AsyncFnOnce(Setting) -> Outcome,
) -> Row {
    let start = Instant::now();
    let logs = Logs::default();
    let seen = run_alone(setting.logs(logs.clone()), limit, story);
    let mut log = said(&logs, &FAILED);
    let kept = match seen {
        None => Kept::Ok,
        Some(_) => {
            log.extend(said(&logs, &GIVEN_UP));
            log.extend(said(&logs, &AWAY));
            log.extend(said(&logs, &GAP));
            Kept::Broken
        }
    };
    log.truncate(MAX_LINES);
    Row {
        group,
        name,
        kept,
        seen,
        log,
        took_ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}

/// What was seen instead of what was promised; none: the promise is kept.
pub(super) fn run_alone(
    setting: Setting,
    limit: Duration,
    story: impl AsyncFnOnce(Setting) -> Outcome,
) -> Option<String> {
    catch_quietly();
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return Some(format!("no runtime: {error}")),
    };
    note(String::new);
    IS_PLAYING.set(true);
    PANIC.take();
    let story = AssertUnwindSafe(story(setting)).catch_unwind();
    let ended = runtime.block_on(async { timeout(limit, story).await });
    IS_PLAYING.set(false);
    // Whatever it has started ends before the next one starts.
    drop(runtime);
    match ended {
        Ok(Ok(Ok(()))) => None,
        Ok(Ok(Err(error))) => Some(one_line(&error.to_string())),
        Ok(Err(_)) => {
            let said = PANIC.take().unwrap_or_else(|| "a panic".to_owned());
            Some(one_line(&said))
        }
        Err(_) => Some(one_line(&format!(
            "waited {} s in vain for {}",
            limit.as_secs(),
            match waited_for() {
                what if what.is_empty() => "its end".to_owned(),
                what => what,
            }
        ))),
    }
}

/// Of the lines with each of these signs the first one.
pub(super) fn said(logs: &Logs, signs: &[&str]) -> Vec<String> {
    let lines = signs
        .iter()
        .filter_map(|sign| logs.find(|line| line.contains(sign)));
    // Without time, level and module.
    let without = |line: String| match line.split_once(": ") {
        Some((_, said)) => one_line(said),
        None => one_line(&line),
    };
    let mut lines: Vec<_> = lines.map(without).collect();
    lines.dedup();
    lines
}

/// Why the backend is away, if that and nothing else has broken a promise.
pub(super) fn is_away(row: &Row) -> Option<&str> {
    let has_one_of = |line: &str, signs: &[&str]| signs.iter().any(|sign| line.contains(sign));
    if row.kept != Kept::Broken || row.log.iter().any(|line| has_one_of(line, &FAILED)) {
        return None;
    }
    let mut lines = row.log.iter().map(String::as_str);
    lines.find(|line| has_one_of(line, &AWAY))
}

/// A panic in a scenario is what it has found: kept for the report, and not printed.
fn catch_quietly() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IS_PLAYING.with_borrow(|playing| *playing) {
                return usual(info);
            }
            let said = info.payload();
            let said = said
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| said.downcast_ref::<&str>().map(|said| (*said).to_owned()));
            PANIC.set(said);
        }));
    });
}

/// `assert_eq!` and error texts with logs have several lines.
fn one_line(text: &str) -> String {
    let words: Vec<_> = text
        .split_whitespace()
        .map(|word| word.replace(char::is_control, "\u{fffd}"))
        .collect();
    let line = words.join(" ");
    let length = line.chars().count();
    if length <= MAX_HEAD + MAX_TAIL {
        return line;
    }
    let head: String = line.chars().take(MAX_HEAD).collect();
    let tail: String = line.chars().skip(length - MAX_TAIL).collect();
    format!("{head} … {tail}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::{Setting, one_line, run_alone};
    use crate::{Error, Parser};

    const LIMIT: Duration = Duration::from_millis(50);

    fn setting() -> Setting {
        Setting::new("any", Parser::Common)
    }

    #[test]
    fn panics_errors_and_endless_waits_are_told_in_one_line() {
        let kept = run_alone(setting(), LIMIT, async |_| Ok(()));
        assert_eq!(kept, None);
        let panicked = run_alone(setting(), LIMIT, async |_| {
            assert_eq!(1, 2, "one is\ntwo");
            Ok(())
        });
        let said = panicked.unwrap();
        assert!(said.contains("one is two left: 1 right: 2"), "{said}");
        let failed = run_alone(setting(), LIMIT, async |_| Err(Error::Test("why".into())));
        assert!(failed.unwrap().ends_with("why"));
        let waited = run_alone(setting(), LIMIT, async |_| {
            crate::wait::note(|| "the moon".into());
            std::future::pending::<()>().await;
            Ok(())
        });
        assert_eq!(waited.unwrap(), "waited 0 s in vain for the moon");
    }

    #[test]
    fn a_line_is_one_line_and_not_endless() {
        assert_eq!(one_line(" a\n  b\u{1b}[2J "), "a b\u{fffd}[2J");
        let long = one_line(&format!("begin{}end", "x".repeat(1000)));
        assert!(long.starts_with("begin") && long.ends_with("end"), "{long}");
        assert_eq!(long.chars().count(), 453);
    }
}
