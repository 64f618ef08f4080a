//! What a check has found.

use serde::Serialize;

use crate::scenarios::Scenario;

/// How a promise is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kept {
    /// It is.
    Ok,
    /// It is not.
    Broken,
    /// It was not tried, and need not be.
    LeftOut,
    /// It was not tried because of another one that is broken.
    NotTried,
}

/// One promise.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Row {
    /// Its subject.
    pub group: &'static str,
    /// A sentence with underscores.
    pub name: &'static str,
    /// How it is kept.
    pub kept: Kept,
    /// What was seen instead, or why it was not tried.
    pub seen: Option<String>,
    /// What the servers' logs say of the plugin: of its failures always, and when the promise is broken
    /// also of its backend and of the gaps that it told. A few lines at most.
    pub log: Vec<String>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// What a check has found.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The plugin's name.
    pub plugin: String,
    /// `sha256:` and 64 hex digits.
    pub digest: String,
    /// All promises, those that were not tried among them.
    pub rows: Vec<Row>,
}

impl Row {
    /// Its name as a sentence.
    pub fn sentence(&self) -> String {
        self.name.replace('_', " ")
    }

    pub(super) fn left_out(scenario: &Scenario, why: &str) -> Self {
        Self::untried(scenario, Kept::LeftOut, why)
    }

    fn untried(scenario: &Scenario, kept: Kept, why: &str) -> Self {
        Self {
            group: scenario.group,
            name: scenario.name,
            kept,
            seen: Some(why.to_owned()),
            log: Vec::new(),
            took_ms: 0,
        }
    }
}

impl Report {
    pub(super) fn new(plugin: &str, digest: &str, first: Row) -> Self {
        Self {
            plugin: plugin.to_owned(),
            digest: digest.to_owned(),
            rows: vec![first],
        }
    }

    pub(super) fn skip(&mut self, scenarios: &[&Scenario], why: &str) {
        let untried = |scenario: &&Scenario| Row::untried(scenario, Kept::NotTried, why);
        self.rows.extend(scenarios.iter().map(untried));
    }

    /// How many promises are kept so.
    pub fn count(&self, kept: Kept) -> usize {
        self.rows.iter().filter(|row| row.kept == kept).count()
    }

    /// Is none broken?
    pub fn is_ok(&self) -> bool {
        self.count(Kept::Broken) == 0
    }
}
