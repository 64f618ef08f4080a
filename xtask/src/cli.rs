//! The command line: the table of commands, reading their options, and help. What a command does
//! is in its own module.

use anyhow::{Result, bail};

use crate::{bench, ci, demo, plugins, process::say, project::Project, setup, test, wit};

/// A command of `cargo xtask`.
pub(crate) struct Command {
    pub(crate) name: &'static str,
    /// One line for the list of commands.
    pub(crate) summary: &'static str,
    /// What `--help` prints.
    pub(crate) help: &'static str,
    pub(crate) options: &'static [Opt],
    /// How many plain words it takes.
    pub(crate) max_words: usize,
    pub(crate) run: fn(&Project, &Args) -> Result<()>,
}

/// An option of a command.
pub(crate) struct Opt {
    /// With its dashes.
    pub(crate) name: &'static str,
    pub(crate) takes_value: bool,
}

impl Opt {
    pub(crate) const fn flag(name: &'static str) -> Self {
        Self {
            name,
            takes_value: false,
        }
    }

    pub(crate) const fn value(name: &'static str) -> Self {
        Self {
            name,
            takes_value: true,
        }
    }
}

/// In the order in which a newcomer meets them.
const COMMANDS: &[&Command] = &[
    &demo::COMMAND,
    &test::COMMAND,
    &setup::COMMAND,
    &plugins::COMMAND,
    &bench::COMMAND,
    &wit::COMMAND,
    &ci::COMMAND,
];

/// What was typed after the command.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Args {
    flags: Vec<&'static str>,
    values: Vec<(&'static str, String)>,
    /// Words that are no options, for example a filter.
    pub(crate) words: Vec<String>,
    /// Everything after `--`.
    pub(crate) rest: Vec<String>,
}

impl Args {
    pub(crate) fn has(&self, flag: &str) -> bool {
        self.flags.contains(&flag)
    }

    /// The value of an option; of several, the last.
    pub(crate) fn value(&self, option: &str) -> Option<&str> {
        self.values
            .iter()
            .rev()
            .find(|(name, _)| *name == option)
            .map(|(_, value)| value.as_str())
    }

    /// The value of an option that is a number.
    pub(crate) fn number<T: std::str::FromStr>(&self, option: &str) -> Result<Option<T>> {
        let Some(text) = self.value(option) else {
            return Ok(None);
        };
        match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => bail!("{option} needs a number in range, not {text:?}"),
        }
    }
}

/// Runs what the command line asks for.
pub(crate) fn run(line: Vec<String>) -> Result<()> {
    let Some((name, words)) = line.split_first() else {
        say(overview());
        return Ok(());
    };
    if name == "help" || is_help(name) {
        match words.first() {
            Some(command) => say(find(command)?.help),
            None => say(overview()),
        }
        return Ok(());
    }
    let command = find(name)?;
    let mut own_words = words.iter().take_while(|word| *word != "--");
    if own_words.any(|word| is_help(word)) {
        say(command.help);
        return Ok(());
    }
    let args = read(command, words)?;
    (command.run)(&Project::find()?, &args)
}

fn is_help(word: &str) -> bool {
    matches!(word, "--help" | "-h")
}

fn overview() -> String {
    let mut text = String::from("Usage: cargo xtask COMMAND [OPTIONS]\n\nCommands:\n");
    for command in COMMANDS {
        text.push_str(&format!("  {:8} {}\n", command.name, command.summary));
    }
    text.push_str("\n`cargo xtask COMMAND --help` says more about one.");
    text
}

fn find(name: &str) -> Result<&'static Command> {
    if let Some(command) = COMMANDS.iter().find(|command| command.name == name) {
        return Ok(command);
    }
    let names: Vec<_> = COMMANDS.iter().map(|command| command.name).collect();
    match nearest(name, &names) {
        Some(near) => bail!("unknown command `{name}`; did you mean `cargo xtask {near}`?"),
        None => bail!(
            "unknown command `{name}`; the commands are {}",
            names.join(", ")
        ),
    }
}

fn read(command: &Command, words: &[String]) -> Result<Args> {
    let mut args = Args::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            args.rest = words.cloned().collect();
            break;
        }
        if !word.starts_with('-') {
            args.words.push(word.clone());
            continue;
        }
        let (name, inline) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        let option = find_option(command, name)?;
        if !option.takes_value {
            if inline.is_some() {
                bail!("{} takes no value", option.name);
            }
            args.flags.push(option.name);
            continue;
        }
        match inline.or_else(|| words.next().cloned()) {
            Some(value) => args.values.push((option.name, value)),
            None => bail!("{} needs a value after it", option.name),
        }
    }
    if args.words.len() > command.max_words {
        bail!(
            "`cargo xtask {name}` takes no `{word}`; see `cargo xtask {name} --help`",
            name = command.name,
            word = args.words[command.max_words]
        );
    }
    Ok(args)
}

fn find_option(command: &Command, name: &str) -> Result<&'static Opt> {
    if let Some(option) = command.options.iter().find(|option| option.name == name) {
        return Ok(option);
    }
    let names: Vec<_> = command.options.iter().map(|option| option.name).collect();
    match nearest(name, &names) {
        Some(near) => bail!("unknown option `{name}`; did you mean `{near}`?"),
        None => bail!(
            "unknown option `{name}`; see `cargo xtask {} --help`",
            command.name
        ),
    }
}

/// Below this two words have nothing to do with each other.
const LEAST_LIKENESS: f64 = 0.7;

/// The name that was probably meant.
fn nearest<'a>(word: &str, names: &[&'a str]) -> Option<&'a str> {
    names
        .iter()
        .map(|name| (strsim::jaro_winkler(word, name), *name))
        .filter(|(likeness, _)| *likeness >= LEAST_LIKENESS)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SAMPLE: Command = Command {
        name: "sample",
        summary: "",
        help: "",
        options: &[Opt::flag("--check"), Opt::value("--nodes")],
        max_words: 1,
        run: |_, _| Ok(()),
    };

    fn sample(line: &str) -> Result<Args> {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        read(&SAMPLE, &words)
    }

    fn complaint(line: &str) -> String {
        sample(line).unwrap_err().to_string()
    }

    #[test]
    fn flags_values_words_and_the_rest_are_told_apart() {
        let args = sample("--check --nodes 3 filter -- --nodes 9").unwrap();
        assert!(args.has("--check"));
        assert_eq!(args.number("--nodes").unwrap(), Some(3));
        assert_eq!(args.words, ["filter"]);
        assert_eq!(args.rest, ["--nodes", "9"]);
    }

    #[test]
    fn a_value_may_follow_an_equals_sign_and_the_last_one_counts() {
        let args = sample("--nodes 2 --nodes=5").unwrap();
        assert_eq!(args.number("--nodes").unwrap(), Some(5));
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(
            complaint("--node 3"),
            "unknown option `--node`; did you mean `--nodes`?"
        );
        assert_eq!(complaint("--nodes"), "--nodes needs a value after it");
        assert_eq!(complaint("--check=yes"), "--check takes no value");
        assert_eq!(
            complaint("a b"),
            "`cargo xtask sample` takes no `b`; see `cargo xtask sample --help`"
        );
        assert_eq!(
            sample("--nodes many")
                .unwrap()
                .number::<u16>("--nodes")
                .unwrap_err()
                .to_string(),
            "--nodes needs a number in range, not \"many\""
        );
    }

    #[test]
    fn an_unknown_command_names_the_nearest() {
        assert_eq!(
            find("plugin").err().unwrap().to_string(),
            "unknown command `plugin`; did you mean `cargo xtask plugins`?"
        );
        let far = find("xyzzy").err().unwrap().to_string();
        assert!(far.contains("the commands are demo, test,"), "{far}");
    }

    #[test]
    fn every_command_explains_itself_and_all_its_options() {
        for command in COMMANDS {
            let usage = format!("Usage: cargo xtask {}", command.name);
            assert!(command.help.contains(&usage), "{}", command.name);
            for option in command.options {
                assert!(
                    command.help.contains(option.name),
                    "the help of {} does not mention {}",
                    command.name,
                    option.name
                );
            }
        }
    }
}
