//! The official emitters: a Node.js process (`tests/node/emitter.mjs`) that takes the same orders as
//! ours, so its handle is an [`Emitter`] too.

use serde_json::Value;

use crate::{Emitter, Error, node_script};

/// An official emitter, each over the client library that it is used with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeEmitter {
    /// `@socket.io/redis-emitter` over `redis`: for servers with the classic Redis adapter.
    Redis,
    /// The same over `ioredis`.
    RedisIoredis,
    /// `@socket.io/postgres-emitter` over `pg`. Its messages name no namespace.
    Postgres,
}

impl NodeEmitter {
    /// Starts it with options, a JSON object such as `{"key": "other"}`. Each order is answered when
    /// the backend has taken what was sent. It knows `Select` without `local`, `from` and
    /// `timeout`.
    ///
    /// # Errors
    /// [`Error::Setup`] if the npm packages are not installed; else like `Process::start`.
    pub async fn start(self, url: &str, options: &Value) -> Result<Emitter, Error> {
        let mut command = node_script("emitter.mjs", self.package())?;
        command
            .args(["--kind", self.as_str(), "--url", url])
            .args(["--options", &options.to_string()]);
        Emitter::from_command("the emitter of Node.js", command).await
    }

    /// The npm package that it is.
    fn package(self) -> &'static str {
        match self {
            Self::Redis | Self::RedisIoredis => "@socket.io/redis-emitter",
            Self::Postgres => "@socket.io/postgres-emitter",
        }
    }

    /// Its name on the command line.
    fn as_str(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::RedisIoredis => "redis-ioredis",
            Self::Postgres => "postgres",
        }
    }
}
