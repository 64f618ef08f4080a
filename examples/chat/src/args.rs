//! The command line of the chat server: reading it, and the text of `--help`.

use std::path::PathBuf;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
chat: a Socket.IO chat whose servers form one cluster

Usage: chat [OPTIONS]

  --port PORT        listen on this port of 127.0.0.1; 0 means any free one [default: 3000]
  --name NAME        what the page calls this node [default: its id in the cluster]
  --config FILE      Switchboard's configuration [default: switchboard.toml, if there is one]
  --web DIR          folder with the page's files [default: the one in the source tree]
  --exit-with-stdin  stop when standard input ends, so that the server ends with its parent
  --help             print this

Log: standard error; SWITCHBOARD_LOG sets the level, for instance SWITCHBOARD_LOG=debug.";

/// The page's files as they are in the source tree.
const WEB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/web");
const PORT: u16 = 3000;
/// Characters of a node's name; it has to fit into the page.
const MAX_NAME_CHARS: usize = 32;

/// What the command line asks for.
#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    Run(Args),
    Help,
}

/// How to run the server.
#[derive(Debug, PartialEq)]
pub(crate) struct Args {
    pub(crate) port: u16,
    pub(crate) name: Option<String>,
    pub(crate) config: Option<PathBuf>,
    pub(crate) web: PathBuf,
    pub(crate) exit_with_stdin: bool,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            port: PORT,
            name: None,
            config: None,
            web: PathBuf::from(WEB),
            exit_with_stdin: false,
        }
    }
}

/// What is wrong with the command line.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum ArgsError {
    #[error("unknown argument `{0}`; `chat --help` lists them all")]
    Unknown(String),
    #[error("`{0}` needs a value after it")]
    NoValue(String),
    #[error("`--port {0}`: a port is a number from 0 to 65535")]
    Port(String),
    #[error("`--name`: a node's name has 1 to {MAX_NAME_CHARS} characters")]
    Name,
}

/// Reads the command line, given without the program's own name.
pub(crate) fn read(words: impl IntoIterator<Item = String>) -> Result<Command, ArgsError> {
    let mut args = Args::default();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| ArgsError::NoValue(word.clone()));
        match word.as_str() {
            "--help" | "-h" => return Ok(Command::Help),
            "--port" => {
                let port = value()?;
                args.port = port.parse().map_err(|_| ArgsError::Port(port))?;
            }
            "--name" => {
                args.name = Some(value()?)
                    .filter(|name| fits(name))
                    .ok_or(ArgsError::Name)?
                    .into()
            }
            "--config" => args.config = Some(value()?.into()),
            "--web" => args.web = value()?.into(),
            "--exit-with-stdin" => args.exit_with_stdin = true,
            _ => return Err(ArgsError::Unknown(word)),
        }
    }
    Ok(Command::Run(args))
}

fn fits(name: &str) -> bool {
    !name.trim().is_empty() && name.chars().count() <= MAX_NAME_CHARS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Result<Args, ArgsError>) {
        let read = read(line.split_whitespace().map(str::to_owned));
        assert_eq!(
            read,
            expected.map(Command::Run),
            "for the command line {line:?}"
        );
    }

    #[test]
    fn every_argument_is_read() {
        check("", Ok(Args::default()));
        check(
            "--port 0",
            Ok(Args {
                port: 0,
                ..Args::default()
            }),
        );
        check(
            "--name a",
            Ok(Args {
                name: Some("a".into()),
                ..Args::default()
            }),
        );
        check(
            "--config x.toml",
            Ok(Args {
                config: Some("x.toml".into()),
                ..Args::default()
            }),
        );
        check(
            "--web site",
            Ok(Args {
                web: "site".into(),
                ..Args::default()
            }),
        );
        check(
            "--exit-with-stdin",
            Ok(Args {
                exit_with_stdin: true,
                ..Args::default()
            }),
        );
    }

    #[test]
    fn a_mistake_is_named() {
        check("--prot 1", Err(ArgsError::Unknown("--prot".into())));
        check("--port", Err(ArgsError::NoValue("--port".into())));
        check("--port 70000", Err(ArgsError::Port("70000".into())));
        check(&format!("--name {}", "x".repeat(33)), Err(ArgsError::Name));
    }

    #[test]
    fn help_wins_over_everything_else() {
        assert_eq!(
            read(["--port", "1", "--help"].map(str::to_owned)),
            Ok(Command::Help)
        );
    }
}
