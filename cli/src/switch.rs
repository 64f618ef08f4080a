//! A switch of the transport, as lines for people.

use serde_json::Value;

use crate::text::{cut, plain};

/// Longest name that is shown.
const MAX_NAME: usize = 40;

/// One line: where every server stands.
pub(crate) fn step(report: &Value) -> String {
    let mut line = format!("this server {}", standing(report));
    for node in report["nodes"].as_array().into_iter().flatten() {
        line.push_str(&format!("; {} {}", text(&node["node"]), standing(node)));
        if let Some(why) = node["failed"].as_str() {
            line.push_str(&format!(" ({})", cut(&plain(why), 200)));
        }
    }
    line.push('\n');
    line
}

/// How it ended, in a line or two.
pub(crate) fn end(switched: &Value) -> String {
    let mut lines = format!(
        "all servers went from {} to {} in {} ms\n",
        text(&switched["from"]),
        text(&switched["to"]),
        switched["took_ms"]
    );
    for (key, what) in [
        ("gone", "went away meanwhile"),
        ("unfinished", "has not said that it is done"),
    ] {
        for node in switched[key].as_array().into_iter().flatten() {
            lines.push_str(&format!("{} {what}\n", text(node)));
        }
    }
    lines
}

fn standing(of: &Value) -> String {
    format!("is on {}: {}", text(&of["on"]), text(&of["phase"]))
}

fn text(value: &Value) -> String {
    cut(&plain(value.as_str().unwrap_or("?")), MAX_NAME)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_server_is_told_with_what_is_in_its_way() {
        let report = json!({ "on": "local", "phase": "hearing", "nodes": [
            { "node": "b", "on": "local", "phase": "opening", "failed": "no grant\nat all" },
        ]});
        let line = step(&report);
        assert!(
            line.starts_with("this server is on local: hearing; b is on local: opening (no grant")
        );
        assert_eq!(line.matches('\n').count(), 1, "{line}");
    }

    #[test]
    fn the_end_names_those_who_are_missing() {
        let switched = json!({ "from": "local", "to": "redis", "took_ms": 21, "gone": ["b"], "unfinished": [] });
        assert_eq!(
            end(&switched),
            "all servers went from local to redis in 21 ms\nb went away meanwhile\n"
        );
    }
}
