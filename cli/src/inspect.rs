//! `switchboard inspect`: what a plugin's file is, and whether a server would take it.

use std::path::PathBuf;

use clap::Args;
use switchboard::transport::{Ask, Inspection, inspect};

use crate::{
    say::say,
    text::{bytes, paragraph},
};

/// Where the text begins, beside its label.
const INDENT: usize = 12;

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The plugin: NAME.wasm, with NAME.toml beside it if there is one.
    #[arg(value_name = "FILE")]
    plugin: PathBuf,
    /// Print JSON, for programs.
    #[arg(long)]
    json: bool,
}

impl Inspect {
    /// False: a server would refuse it.
    pub(crate) fn run(self) -> anyhow::Result<bool> {
        let inspection = inspect(&self.plugin)?;
        let page = match self.json {
            true => format!("{}\n", serde_json::to_string_pretty(&inspection)?),
            false => format!("{}\n", lines(&inspection).join("\n")),
        };
        say(&page)?;
        Ok(inspection.refused.is_none())
    }
}

fn lines(plugin: &Inspection) -> Vec<String> {
    let mut lines = Vec::new();
    let mut add = |label: &str, text: &str| lines.extend(paragraph(label, INDENT, text));
    let version = plugin.version.as_deref().unwrap_or_default();
    add("plugin", &format!("{} {version}", plugin.name));
    add("", plugin.description.as_deref().unwrap_or_default());
    let kind = plugin.kind.unwrap_or("neither a component nor a plugin");
    add("file", &format!("{kind}, {}", bytes(plugin.bytes)));
    add("", &plugin.digest);
    if let Some(memory) = plugin.memory_bytes {
        let text = format!("each instance begins with {}", bytes(memory));
        add("memory", &text);
    }
    add("exports", &plugin.exports.join(", "));
    add("imports", &plugin.imports.join(", "));
    for (number, ask) in plugin.asks.iter().enumerate() {
        let label = if number == 0 { "asks for" } else { "" };
        add(label, &asked(ask));
    }
    for warning in &plugin.warnings {
        add("note", warning);
    }
    match &plugin.refused {
        None => add("a server", "would load it"),
        Some(reason) => add("a server", &format!("would REFUSE it: {reason}")),
    }
    lines
}

fn asked(ask: &Ask) -> String {
    let connections = match ask.connections.as_slice() {
        [] => "whatever connections the operator grants".to_owned(),
        [any] if any == "*" => "any connection that the operator grants".to_owned(),
        named => format!("the connections {}", named.join(", ")),
    };
    format!("{} {}: {connections}", ask.capability, ask.version)
}
