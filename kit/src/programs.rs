//! Which programs are started as servers, emitters, clients and commands.
//!
//! Unless said otherwise those of Switchboard's tests, which cargo builds beside a test: `test-server`,
//! `test-emitter`, `test-clients` (which are Node.js's `socket.io-client`s) and `switchboard`. The command
//! `switchboard check` must need nothing but itself: it is all of them ([`Programs::of_one`]).

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use tokio::process::Command;

use crate::Error;

/// Variables with this prefix configure Switchboard: a server must not see those of the test run.
const CONFIG_PREFIX: &str = "SWITCHBOARD_";
/// How much a server logs; taken from the test run if set there.
const LOG_VARIABLE: &str = "SWITCHBOARD_LOG";
/// Another folder with the programs of the tests, in the place of the one where cargo has built them.
const BINARIES_VARIABLE: &str = "SWITCHBOARD_TEST_BINARIES";

static CHOSEN: OnceLock<Programs> = OnceLock::new();

/// What a program is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A server: [`subject`](crate::subject).
    Server,
    /// A process that only sends: [`sender`](crate::sender).
    Emitter,
    /// Socket.IO clients: [`client`](crate::client).
    Clients,
    /// The command `switchboard`.
    Shell,
}

/// One executable that is all programs.
#[derive(Clone, Debug)]
pub struct Programs {
    executable: PathBuf,
    subcommand: String,
}

impl Role {
    /// Its name: as a word after the subcommand of [`Programs::of_one`], and in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Emitter => "emitter",
            Self::Clients => "clients",
            Self::Shell => "shell",
        }
    }

    fn of_the_tests(self) -> &'static str {
        match self {
            Self::Server => "test-server",
            Self::Emitter => "test-emitter",
            Self::Clients => "test-clients",
            Self::Shell => "switchboard",
        }
    }
}

impl Programs {
    /// This executable is all of them. `EXECUTABLE SUBCOMMAND server|emitter|clients …` has to run
    /// them, and `EXECUTABLE …` is the command `switchboard`.
    ///
    /// # Errors
    /// When the system does not say where the running executable is.
    pub fn of_one(subcommand: &str) -> Result<Self, Error> {
        let executable =
            env::current_exe().map_err(Error::system("cannot find the running executable"))?;
        Ok(Self {
            executable,
            subcommand: subcommand.to_owned(),
        })
    }

    /// From now on these are started, for as long as this process lives. The first choice counts.
    pub fn choose(self) {
        CHOSEN.get_or_init(|| self);
    }
}

/// Does a command run the kit, and no test?
pub(crate) fn are_chosen() -> bool {
    CHOSEN.get().is_some()
}

/// A program to be started, without the settings that this process has for Switchboard.
///
/// # Errors
/// [`Error::Setup`] if it is not built.
pub fn command(role: Role) -> Result<Command, Error> {
    let mut command = match CHOSEN.get() {
        Some(programs) => {
            let mut command = Command::new(&programs.executable);
            if role != Role::Shell {
                command.args([&programs.subcommand, role.as_str()]);
            }
            command
        }
        None => Command::new(beside_the_test(role)?),
    };
    for key in settings() {
        command.env_remove(key);
    }
    if are_chosen() {
        // Scenarios look for lines in it.
        command.env(LOG_VARIABLE, "info");
    }
    Ok(command)
}

fn settings() -> impl Iterator<Item = OsString> {
    env::vars_os().map(|(key, _)| key).filter(|key| {
        let key = key.to_string_lossy();
        key.starts_with(CONFIG_PREFIX) && key != LOG_VARIABLE
    })
}

/// A program that cargo has built beside the running test.
fn beside_the_test(role: Role) -> Result<PathBuf, Error> {
    let folder = match env::var_os(BINARIES_VARIABLE) {
        Some(folder) => PathBuf::from(folder),
        None => {
            let test = env::current_exe().map_err(Error::system("cannot find the running test"))?;
            let folder = test.parent().unwrap_or(Path::new("."));
            match folder.file_name() {
                Some(name) if name == "deps" || name == "examples" => {
                    folder.parent().unwrap_or(folder)
                }
                _ => folder,
            }
            .to_owned()
        }
    };
    let name = role.of_the_tests();
    let path = folder.join(format!("{name}{}", env::consts::EXE_SUFFIX));
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::Setup {
        what: format!("there is no {}", path.display()),
        fix: "build it: cargo build --workspace --bins".into(),
    })
}
