//! Commands in, answers out: JSON lines on standard input and output. Commands run at the same time
//! and are answered as they finish; what they do is the program's. `process.rs` is the other side.

use std::{io::BufRead, sync::Arc};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, sync::mpsc, task::JoinSet};

/// Lines read ahead of the commands.
const MAX_QUEUED_LINES: usize = 64;
/// Commands under way; further ones wait. Thousands of questions at one time are a thing to test.
const MAX_RUNNING: usize = 8192;

/// Runs until standard input ends; commands under way are dropped then. A command that fails says
/// why in text: tests compare it with nothing, people read it.
pub async fn run<C, Run, Running>(run: Run)
where
    C: DeserializeOwned + Send + 'static,
    Run: Fn(C) -> Running + Send + Sync + 'static,
    Running: Future<Output = Result<Value, String>> + Send,
{
    let run = Arc::new(run);
    let mut lines = read_stdin();
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            line = lines.recv(), if running.len() < MAX_RUNNING => match line {
                Some(line) => {
                    let run = Arc::clone(&run);
                    running.spawn(async move { answer(&*run, &line).await });
                }
                None => return,
            },
            Some(finished) = running.join_next() => {
                let reply = finished.unwrap_or_else(|panic| json!({ "id": 0, "error": panic.to_string() }));
                if write(&reply).await.is_err() {
                    // Nobody reads any more: the test is over.
                    return;
                }
            }
        }
    }
}

/// A thread, because a pending read of standard input cannot be cancelled. It ends with the process.
fn read_stdin() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(MAX_QUEUED_LINES);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

async fn answer<C, Running>(run: impl Fn(C) -> Running, line: &str) -> Value
where
    C: DeserializeOwned,
    Running: Future<Output = Result<Value, String>>,
{
    let (id, command) = match parse(line) {
        Ok(parsed) => parsed,
        Err((id, error)) => return json!({ "id": id, "error": error }),
    };
    match run(command).await {
        Ok(value) => json!({ "id": id, "ok": value }),
        Err(error) => json!({ "id": id, "error": error }),
    }
}

fn parse<C: DeserializeOwned>(line: &str) -> Result<(u64, C), (u64, String)> {
    let mut command: Value =
        serde_json::from_str(line).map_err(|error| (0, format!("not JSON: {error}")))?;
    let id = command
        .as_object_mut()
        .and_then(|fields| fields.remove("id"))
        .and_then(|id| id.as_u64())
        .ok_or((0, "a command needs an `id`, a number".to_owned()))?;
    let command =
        serde_json::from_value(command).map_err(|error| (id, format!("no command: {error}")))?;
    Ok((id, command))
}

async fn write(reply: &Value) -> std::io::Result<()> {
    let mut stdout = tokio::io::stdout();
    stdout.write_all(format!("{reply}\n").as_bytes()).await?;
    stdout.flush().await
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::parse;
    use crate::protocol::Command;

    #[test]
    fn a_command_has_a_number() {
        let (id, command) = parse::<Command>(r#"{"id":3,"op":"server_count","nsp":"/"}"#).unwrap();
        assert_eq!(id, 3);
        assert!(matches!(command, Command::ServerCount { nsp } if nsp == "/"));
    }

    #[test]
    fn an_action_on_a_remote_socket_is_one_flat_object() {
        let line = r#"{"id":3,"op":"remote","nsp":"/","socket":"a","action":{"join":["b"]}}"#;
        let (_, command) = parse::<Command>(line).unwrap();
        assert!(matches!(command, Command::Remote(remote) if remote.socket == "a"));
    }

    #[test]
    fn what_is_no_command_is_answered_with_an_error() {
        for (line, id, expected) in [
            ("x", 0, "not JSON"),
            ("{}", 0, "needs an `id`"),
            (r#"{"id":4,"op":"dance"}"#, 4, "unknown variant"),
        ] {
            let (answered, error) = parse::<Command>(line).unwrap_err();
            assert_eq!(answered, id);
            assert!(error.contains(expected), "{error}");
        }
    }
}
