//! The plugin folder as a table for people.

use switchboard::admin::{PluginReport, PluginState};

use crate::text::{COLUMNS, cut, digest, plain};

/// The table.
pub(crate) fn lines(plugins: &[PluginReport]) -> Vec<String> {
    if plugins.is_empty() {
        return vec!["the plugin folder holds no plugins".to_owned()];
    }
    let longest = plugins.iter().map(|plugin| plugin.name.chars().count());
    let name_columns = longest.max().unwrap_or_default().clamp("NAME".len(), 24);
    let row = |name: &str, state: &str, version: &str, digest: &str, about: &str| {
        let name = cut(name, name_columns);
        let line = format!(
            "{name:name_columns$}  {state:9}  {:10}  {digest:19}  {about}",
            cut(version, 10)
        );
        cut(line.trim_end(), COLUMNS)
    };
    let mut lines = vec![row("NAME", "STATE", "VERSION", "DIGEST", "")];
    for plugin in plugins {
        let about = plugin.problem.as_ref().or(plugin.description.as_ref());
        lines.push(row(
            &plain(&plugin.name),
            state(plugin.state),
            &plain(plugin.version.as_deref().unwrap_or("-")),
            &digest(plugin.digest.as_deref().unwrap_or("-")),
            &plain(about.map_or("", String::as_str)),
        ));
    }
    lines
}

fn state(state: PluginState) -> &'static str {
    match state {
        PluginState::Running => "running",
        PluginState::Replaced => "replaced",
        PluginState::Available => "available",
        PluginState::Broken => "broken",
        // Of a server that is newer than this program.
        _ => "unknown",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_plugin_has_a_line_that_fits() {
        let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
        let plugins: Vec<PluginReport> = serde_json::from_value(json!([
            { "name": "local", "state": "running", "version": "0.1.0", "digest": digest,
              "description": "Processes of one machine" },
            { "name": "n".repeat(64), "state": "broken", "problem": "it is not whole\n".repeat(9) },
        ]))
        .unwrap();
        let lines = lines(&plugins);
        assert_eq!(lines.len(), 3);
        let parts = [
            "local ",
            "running",
            "0.1.0",
            "sha256:0123456789ab  Processes of one machine",
        ];
        for part in parts {
            assert!(lines[1].contains(part), "{}", lines[1]);
        }
        assert!(lines[2].contains("broken"), "{}", lines[2]);
        for line in &lines {
            assert!(line.chars().count() <= COLUMNS, "{line}");
            assert!(!line.contains(char::is_control), "{line}");
        }
    }
}
