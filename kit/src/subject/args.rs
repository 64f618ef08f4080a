//! The command line.

use std::{path::PathBuf, str::FromStr};

use crate::protocol::Parser;

const USAGE: &str = "\
usage: test-server [--port PORT] [--name NAME] [--config FILE] [--parser common|msgpack]
                   [--buffer PACKETS] [--exit-with-stdin]";

/// What the server was told to be.
#[derive(Debug, PartialEq)]
pub(crate) struct Args {
    /// 0: a free one.
    pub(crate) port: u16,
    /// For the log.
    pub(crate) name: String,
    /// None: where Switchboard looks by itself.
    pub(crate) config: Option<PathBuf>,
    pub(crate) parser: Parser,
    /// Packets that wait for one client before they are dropped.
    pub(crate) buffer: usize,
    /// Ends when standard input ends.
    pub(crate) exit_with_stdin: bool,
}

impl Args {
    /// Reads the command line without the program's name.
    pub(crate) fn read(args: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut read = Self {
            port: 0,
            name: "test-server".into(),
            config: None,
            parser: Parser::Common,
            buffer: 4096,
            exit_with_stdin: false,
        };
        let mut args = args.into_iter();
        while let Some(flag) = args.next() {
            let mut value = || args.next().ok_or(format!("{flag} takes a value\n{USAGE}"));
            match flag.as_str() {
                "--port" => read.port = parse(&flag, value()?)?,
                "--name" => read.name = value()?,
                "--config" => read.config = Some(value()?.into()),
                "--parser" => read.parser = parse(&flag, value()?)?,
                "--buffer" => read.buffer = parse(&flag, value()?)?,
                "--exit-with-stdin" => read.exit_with_stdin = true,
                _ => return Err(format!("unknown argument {flag}\n{USAGE}")),
            }
        }
        Ok(read)
    }
}

fn parse<T: FromStr<Err: ToString>>(flag: &str, value: String) -> Result<T, String> {
    value
        .parse()
        .map_err(|error: T::Err| format!("{flag} {value}: {}\n{USAGE}", error.to_string()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{Args, Parser};

    fn read(line: &str) -> Result<Args, String> {
        Args::read(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn every_flag_is_read() {
        let args =
            read("--port 7 --name a --config x.toml --parser msgpack --buffer 9 --exit-with-stdin")
                .unwrap();
        assert_eq!(
            args,
            Args {
                port: 7,
                name: "a".into(),
                config: Some("x.toml".into()),
                parser: Parser::Msgpack,
                buffer: 9,
                exit_with_stdin: true,
            }
        );
    }

    #[test]
    fn a_wrong_command_line_is_explained() {
        for (line, expected) in [
            ("--prot 7", "unknown argument --prot"),
            ("--port", "--port takes a value"),
            ("--port x", "--port x: invalid digit"),
            ("--parser json", "the parsers are `common` and `msgpack`"),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.contains(expected), "{error}");
            assert!(error.contains("usage:"), "{error}");
        }
    }
}
