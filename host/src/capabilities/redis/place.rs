//! Where the server is that a connection is meant for: at a fixed address, or wherever the sentinels
//! say that the master is. Asked again before each attempt, so that a failover is followed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{
    connect::{Connector, Wire, text},
    options::{RedisOptions, SentinelOptions},
    trouble::Trouble,
    url::{Address, SENTINEL_PORT},
    wire::{Frame, Value},
};

/// How long one sentinel may take, connection included: the next one may be better.
const SENTINEL_TIMEOUT: Duration = Duration::from_secs(1);

/// Where a server is.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Fixed(Address),
    Sentinel(Arc<Sentinels>),
}

/// Those who know the master.
#[derive(Debug)]
pub(super) struct Sentinels {
    addresses: Vec<Address>,
    master: String,
    connector: Connector,
    /// The one that answered last.
    best: AtomicUsize,
}

impl Place {
    /// Finds the server and connects to it.
    pub(super) async fn connect(&self, connector: &Connector) -> Result<Wire, Trouble> {
        let sentinels = match self {
            Self::Fixed(address) => return connector.connect(address).await,
            Self::Sentinel(sentinels) => sentinels,
        };
        let address = sentinels.master().await?;
        let mut wire = connector.connect(&address).await?;
        // Sentinels learn of a failover one after the other.
        let role = wire.ask(&["ROLE"], SENTINEL_TIMEOUT).await?;
        if let Frame::Array(values) = &role
            && let Some(role) = values.first().and_then(text)
            && role != "master"
        {
            let why = format!("the server that the sentinels name is a {role}, not the master");
            return Err(Trouble::away(why).at(&address));
        }
        Ok(wire)
    }
}

impl Sentinels {
    pub(super) fn new(
        sentinel: &SentinelOptions,
        options: &RedisOptions,
        connector: &Connector,
    ) -> Self {
        let first = sentinel.urls.first();
        let in_url = || first?.username.clone();
        let username = sentinel.username.clone().or_else(in_url);
        let in_url = || first?.password.clone();
        let password = sentinel.password.clone().or_else(in_url);
        let mut connector = connector.with_user(username, password);
        connector.connect_timeout = options.connect_timeout.min(SENTINEL_TIMEOUT);
        let addresses = sentinel.urls.iter().map(|url| match &url.address {
            Address::Tcp { host, .. } if !url.has_port => Address::Tcp {
                host: host.clone(),
                port: SENTINEL_PORT,
            },
            address => address.clone(),
        });
        Self {
            addresses: addresses.collect(),
            master: sentinel.master.clone(),
            connector,
            best: AtomicUsize::new(0),
        }
    }

    /// The first answer of any sentinel, the one that answered last first.
    async fn master(&self) -> Result<Address, Trouble> {
        let count = self.addresses.len().max(1);
        let best = self.best.load(Ordering::Relaxed);
        let mut last = Trouble::refused("no sentinels are configured");
        for step in 0..count {
            let index = (best + step) % count;
            let Some(address) = self.addresses.get(index) else {
                continue;
            };
            match self.ask(address).await {
                Ok(master) => {
                    self.best.store(index, Ordering::Relaxed);
                    return Ok(master);
                }
                Err(trouble) => last = trouble,
            }
        }
        last.public = format!("no sentinel knows the master: {}", last.public);
        last.detail = format!("no sentinel knows the master: {}", last.detail);
        Err(last)
    }

    async fn ask(&self, address: &Address) -> Result<Address, Trouble> {
        let mut wire = self.connector.connect(address).await?;
        let question = ["SENTINEL", "get-master-addr-by-name", &self.master];
        let answer = wire.ask(&question, SENTINEL_TIMEOUT).await;
        answer
            .and_then(|frame| self.read(&frame))
            .map_err(|trouble| trouble.at(address))
    }

    fn read(&self, frame: &Frame) -> Result<Address, Trouble> {
        match frame {
            Frame::Array(values) => {
                if let [host, port] = values.as_slice()
                    && let (Some(host), Some(port)) = (text(host), text(port))
                    && let Ok(port) = port.parse()
                {
                    let host = host.to_owned();
                    return Ok(Address::Tcp { host, port });
                }
                Err(Trouble::away("a sentinel gave no address"))
            }
            Frame::One(Value::Nil) => Err(Trouble::refused(format!(
                "a sentinel knows no master `{}`: check `sentinel.master`",
                self.master
            ))),
            frame => {
                let error = frame.error().map(|text| String::from_utf8_lossy(text));
                Err(Trouble::away(error.unwrap_or_default()))
            }
        }
    }
}
