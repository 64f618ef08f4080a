//! A real nats-server, and the two halves of nodes over real sockets. A test fails where `nats-server`
//! is not installed.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub, missing_docs)]

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use switchboard_plugin::{
    Config,
    socket::NativeSocket,
    types::{Body, Broadcast, Event, Message, Payload, Target},
};
use switchboard_transport_nats::transport::{Publishing, Receiving};

/// For everything that is expected to happen: long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends with this value.
pub struct Server {
    process: Child,
    pub addr: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    /// On a port of its own choice.
    pub fn start(args: &[&str]) -> Self {
        let program = std::env::var_os("SWITCHBOARD_TEST_NATS_SERVER");
        let program = program.unwrap_or_else(|| "nats-server".into());
        let mut process = Command::new(program)
            .args(["--addr", "127.0.0.1", "--port", "-1"])
            .args(args)
            .stderr(Stdio::piped())
            .spawn()
            .expect("type: cargo xtask setup, or: sudo apt-get install nats-server");
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let addr = lines
            .by_ref()
            .map(Result::unwrap)
            .find_map(|line| {
                let (_, addr) = line.split_once("client connections on ")?;
                addr.trim().parse().ok()
            })
            .expect("nats-server says where it listens");
        // It must not wait for somebody to read its log.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, addr }
    }

    pub fn out(&self, node: &str) -> Publishing<NativeSocket> {
        self.out_with(node, "{}")
    }

    pub fn out_with(&self, node: &str, options: &str) -> Publishing<NativeSocket> {
        let socket = NativeSocket::new(self.addr);
        Publishing::new(socket, &read(options), node)
    }

    pub fn way_in(&self, node: &str, namespaces: &[&str]) -> Inward {
        let socket = NativeSocket::new(self.addr);
        let mut receiving = Receiving::new(socket, &read("{}"), node);
        for namespace in namespaces {
            receiving.serve((*namespace).to_owned()).unwrap();
        }
        Inward(receiving)
    }
}

fn read(options: &str) -> switchboard_transport_nats::Options {
    let config = Config {
        node: "n".to_owned(),
        options: options.to_owned(),
        wants_offsets: false,
    };
    switchboard_transport_nats::Options::read(&config).unwrap()
}

/// A way in.
pub struct Inward(pub Receiving<NativeSocket>);

impl Inward {
    /// The next events, as text, until there are so many.
    pub fn hear(&mut self, count: usize) -> Vec<String> {
        let mut heard = Vec::new();
        let end = Instant::now() + PATIENCE;
        while heard.len() < count {
            assert!(Instant::now() < end, "{} of {count}", heard.len());
            heard.extend(self.poll(200));
        }
        heard
    }

    /// What there is within this time.
    pub fn poll(&mut self, timeout_ms: u32) -> Vec<String> {
        let events = self.0.receive(timeout_ms, 512).unwrap();
        events.iter().map(shown).collect()
    }
}

fn shown(event: &Event) -> String {
    match event {
        Event::Message(received) => match &received.message.body {
            Body::Broadcast(broadcast) => broadcast.data.json.clone(),
            body => format!("{body:?}"),
        },
        Event::Lagged(lag) => format!("lagged {:?}", lag.missed),
        Event::NodeLeft(node) => format!("left {node}"),
    }
}

pub fn broadcast(namespace: &str, sender: &str, json: &str) -> Message {
    Message {
        namespace: namespace.to_owned(),
        sender: sender.to_owned(),
        recipient: None,
        body: Body::Broadcast(Broadcast {
            target: Target {
                rooms: Vec::new(),
                except: None,
                volatile: false,
                other_flags: None,
            },
            data: Payload {
                json: json.to_owned(),
                attachments: None,
            },
            packet_id: None,
            request: None,
        }),
    }
}
