//! What a scenario is told, and how it gets what it starts from.

use crate::{Cluster, ClusterBuilder, Connect, Error, Parser, Transport, log::Logs};

/// Longer than any test is patient.
const PATIENT: &str = "
    [cluster]
    request_timeout_ms = 600000
    heartbeat_interval_ms = 60000
    heartbeat_timeout_ms = 600000
";

/// Where only the silence of the dead is heard. A busy machine must not make the living seem dead.
const ALERT: &str = "
    [cluster]
    heartbeat_interval_ms = 500
    heartbeat_timeout_ms = 5000
";

/// The parameters of a scenario: it gets one server as well as three from them.
#[derive(Clone, Debug)]
pub struct Setting {
    transport: Transport,
    parser: Parser,
    logs: Option<Logs>,
}

/// What a scenario may ask for as its argument.
pub(crate) trait Given: Sized {
    /// Starts it.
    async fn given(setting: &Setting) -> Result<Self, Error>;
}

impl Setting {
    /// Servers that use this transport, and talk to their clients in this way.
    pub fn new(transport: impl Into<Transport>, parser: Parser) -> Self {
        Self {
            transport: transport.into(),
            parser,
            logs: None,
        }
    }

    /// The same; the logs of all servers are kept there.
    pub(crate) fn logs(mut self, logs: Logs) -> Self {
        self.logs = Some(logs);
        self
    }

    /// What the servers reach each other through.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// How servers and clients encode packets.
    pub fn parser(&self) -> Parser {
        self.parser
    }

    /// A cluster of this kind, to be started.
    pub(crate) fn cluster(&self) -> ClusterBuilder {
        Cluster::builder()
            .transport(&self.transport)
            .parser(self.parser)
            .logs(self.logs.clone())
    }

    /// The same, and nothing ends there because time is up: whatever ends does so because an answer
    /// came, or because a server is known to be gone.
    pub(crate) fn patient_cluster(&self) -> ClusterBuilder {
        let patient = self.cluster().toml(PATIENT);
        if self.transport.capabilities().reports_deaths {
            patient
        } else {
            patient.toml(ALERT)
        }
    }

    /// Checks that exactly these nodes are said to be missing: by name, where the transport knows
    /// it, else by number.
    #[track_caller]
    pub(crate) fn assert_missing(&self, missing: &[String], unknown: usize, expected: &[&str]) {
        if self.transport.capabilities().names_nodes {
            let mut missing: Vec<_> = missing.iter().map(String::as_str).collect();
            let mut expected = expected.to_vec();
            missing.sort_unstable();
            expected.sort_unstable();
            assert_eq!((missing, unknown), (expected, 0));
        } else {
            assert_eq!(missing.len() + unknown, expected.len(), "{missing:?}");
        }
    }

    /// How clients connect to it.
    pub(crate) fn connect(&self) -> Connect {
        Connect::default().parser(self.parser)
    }
}

/// For scenarios that start their servers themselves.
impl Given for Setting {
    async fn given(setting: &Setting) -> Result<Self, Error> {
        Ok(setting.clone())
    }
}

/// For scenarios between servers: three of them, and nobody else.
impl Given for Cluster {
    async fn given(setting: &Setting) -> Result<Self, Error> {
        setting.cluster().start().await
    }
}
