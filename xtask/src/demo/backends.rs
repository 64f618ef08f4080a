//! `cargo xtask demo --all`: the servers that transports other than `local` need, as far as they are
//! installed. They keep what they have in the demo's folder and end with it.

use std::{
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::postgres::Postgres;
use crate::{process::say, setup};

/// How long a server may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(20);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Servers that run, and what the nodes' configuration says of them.
#[derive(Default)]
pub(super) struct Backends {
    redis: Option<Child>,
    postgres: Option<Postgres>,
    pub(super) configuration: String,
}

impl Backends {
    /// Starts what is installed, and says what is not.
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let mut backends = Self::default();
        backends.configuration.push_str(
            "\n[transports.local]\n\
             grants = { bus = [\"main\"] }\n",
        );
        match setup::redis_server() {
            Some(program) => backends.redis(&program, folder)?,
            None => say("no redis-server: the transports `redis` and `redis-streams` are left out"),
        }
        match setup::postgres_programs() {
            Some(programs) => backends.postgres(&programs)?,
            None => say("no PostgreSQL: the transport `postgres` is left out"),
        }
        Ok(backends)
    }

    fn redis(&mut self, program: &Path, folder: &Path) -> Result<()> {
        let port = free_port()?;
        let server = apart(&mut Command::new(program))
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--port", &port.to_string()])
            .arg("--dir")
            .arg(folder)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        self.redis = Some(server);
        wait_until_it_listens("redis-server", port)?;
        self.configuration.push_str(&format!(
            "\n[connections.redis.main]\n\
             url = \"redis://127.0.0.1:{port}\"\n\
             [transports.redis]\n\
             grants = {{ redis = [\"main\"] }}\n\
             [transports.redis-streams]\n\
             grants = {{ redis = [\"main\"] }}\n"
        ));
        Ok(())
    }

    fn postgres(&mut self, programs: &Path) -> Result<()> {
        let port = free_port()?;
        let Some(server) = Postgres::start(programs, port)? else {
            say("PostgreSQL does not run as root, and there is no user `postgres`: it is left out");
            return Ok(());
        };
        self.postgres = Some(server);
        wait_until_it_listens("postgres", port)?;
        self.configuration.push_str(&format!(
            "\n[connections.postgres.main]\n\
             url = \"postgres://postgres@127.0.0.1:{port}/postgres\"\n\
             [transports.postgres]\n\
             grants = {{ postgres = [\"main\"] }}\n"
        ));
        Ok(())
    }
}

/// Silent, and in a group of its own: a Ctrl-C is for the nodes, which still need their backend
/// while they say goodbye.
pub(super) fn apart(command: &mut Command) -> &mut Command {
    command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
}

impl Drop for Backends {
    fn drop(&mut self) {
        if let Some(server) = &mut self.redis {
            // It has ended already, or ends now.
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// Nobody listens there now. Another program may take it in the moment that follows; then the server
/// does not start, and the demo says so.
fn free_port() -> Result<u16> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot find a free port")?;
    Ok(listener.local_addr()?.port())
}

fn wait_until_it_listens(what: &str, port: u16) -> Result<()> {
    let deadline = Instant::now() + START_LIMIT;
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        if Instant::now() > deadline {
            bail!("{what} does not listen on port {port}");
        }
        sleep(LOOK_INTERVAL);
    }
    Ok(())
}
