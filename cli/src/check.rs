//! `switchboard check`: the conformance kit for one plugin. Three ends: 0, it keeps every promise; 1, it
//! breaks one; 2, it could not be checked.

use std::{
    io::IsTerminal,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use clap::Args;
use switchboard_kit::{
    check::{self, Kept, Report, Row},
    programs::Programs,
};

use crate::{
    say::say,
    text::{paragraph, time},
};

/// Where the sentences begin, beside the outcome and the subject.
const INDENT: usize = 25;

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The plugin: NAME.wasm, with NAME.toml beside it if there is one.
    #[arg(value_name = "FILE", required_unless_present = "list")]
    plugin: Option<PathBuf>,
    /// Only these promises: GROUP, or GROUP::NAME. May be given several times.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// How many clusters to run at the same time; default: by the machine's cores.
    #[arg(long, value_name = "NUMBER")]
    jobs: Option<usize>,
    /// How long one promise may take to be shown, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    limit: u64,
    /// Print the names of all promises, and check nothing.
    #[arg(long)]
    list: bool,
    /// Print JSON, for programs.
    #[arg(long)]
    json: bool,
}

impl Check {
    /// Blocks until it is done. `hidden` is the subcommand under which this executable is the kit's
    /// programs.
    pub(crate) fn run(self, config: Option<PathBuf>, hidden: &str) -> anyhow::Result<bool> {
        if self.list {
            let names: String = check::list()
                .map(|scenario| format!("{scenario:?}\n"))
                .collect();
            say(&names)?;
            return Ok(true);
        }
        let Some(plugin) = self.plugin else {
            anyhow::bail!("it takes the file of a plugin");
        };
        Programs::of_one(hidden)?.choose();
        let check = check::Check::new(plugin)
            .config(config)
            .only(self.only)
            .jobs(self.jobs)
            .limit(Some(Duration::from_secs(self.limit.max(1))));
        let (done, all) = (AtomicUsize::new(0), check.planned()?);
        // Progress goes where it is in nobody's way: one line that changes, or in a log a line each.
        let shows = std::io::stderr().is_terminal();
        let progress = |row: &Row| {
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            let line = format!("{done} of {all} done: {}::{}", row.group, row.name);
            match shows {
                true => eprint!("\r\x1b[2K{line}"),
                false => eprintln!("{line}"),
            }
        };
        let report = check.run(progress);
        if shows {
            eprint!("\r\x1b[2K");
        }
        let report = report?;
        let page = match self.json {
            true => format!("{}\n", serde_json::to_string_pretty(&report)?),
            false => format!("{}\n", lines(&report).join("\n")),
        };
        say(&page)?;
        Ok(report.is_ok())
    }
}

fn lines(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    for row in &report.rows {
        let kept = match row.kept {
            Kept::Ok => "ok",
            Kept::Broken => "BROKEN",
            Kept::LeftOut => "left out",
            _ => "not tried",
        };
        let label = format!("{kept:<10}{:<14}", row.group);
        let took = match row.took_ms {
            0 => String::new(),
            ms => format!(" ({})", time(ms)),
        };
        let sentence = format!("{}{took}", row.sentence());
        lines.extend(paragraph(&label, INDENT, &sentence));
        if row.kept != Kept::Ok {
            let why = row.seen.as_deref().unwrap_or_default();
            lines.extend(paragraph("", INDENT, &format!("- {why}")));
        }
        for log in &row.log {
            lines.extend(paragraph("", INDENT, &format!("- a server says: {log}")));
        }
    }
    let broken = report.count(Kept::Broken);
    let kept = report.count(Kept::Ok);
    let untried = report.rows.len() - broken - kept;
    let rest = match untried {
        0 => String::new(),
        count => format!(", {count} not tried"),
    };
    lines.push(match broken {
        0 if kept == 1 => format!("{} keeps the promise that was tried{rest}", report.plugin),
        0 => format!(
            "{} keeps all {kept} promises that were tried{rest}",
            report.plugin
        ),
        _ => format!("{}: {broken} broken, {kept} kept{rest}", report.plugin),
    });
    lines
}
