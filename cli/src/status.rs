//! A server's status as lines for people. What this program does not know of a newer server's status is
//! left out.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::text::{bytes, cut, digest, paragraph, plain, time};

/// Where the texts begin, beside their labels.
const INDENT: usize = 12;
/// Most nodes that are listed one by one.
const MAX_NODES: usize = 20;

/// What is shown of a status.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    node: String,
    uptime_ms: u64,
    transport: Option<Transport>,
    nodes: Vec<Node>,
    cluster: Cluster,
    rates: Option<Rates>,
    buses: BTreeMap<String, Bus>,
    redis: BTreeMap<String, Redis>,
    postgres: BTreeMap<String, Postgres>,
    tcp: BTreeMap<String, Tcp>,
    switch: Option<Switch>,
}

/// Where the server stands in a change of the transport.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Switch {
    epoch: u64,
    phase: String,
    to: Option<String>,
    signpost: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Tcp {
    sockets: Vec<Socket>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Socket {
    name: String,
    state: String,
    since_ms: u64,
    endpoint: Option<String>,
    last_error: Option<String>,
    lost_connections: u64,
    waiting_bytes: u64,
    unsent_bytes: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Postgres {
    state: String,
    since_ms: u64,
    last_error: Option<String>,
    lost_connections: u64,
    failed_batches: u64,
    unknown_batches: u64,
    subscriptions: Vec<Subscription>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Transport {
    name: String,
    version: Option<String>,
    digest: String,
    grants: Vec<String>,
    instances: Vec<Instance>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Instance {
    role: String,
    state: String,
    faults: u64,
    memory_bytes: u64,
    last_error: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Node {
    id: String,
    namespaces: Vec<String>,
    known_for_ms: u64,
    silent_for_ms: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Rates {
    sent_per_second: f64,
    received_per_second: f64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Cluster {
    outbox_messages: u64,
    outbox_bytes: u64,
    pending_requests: u64,
    calls: u64,
    sent: u64,
    retries: u64,
    rejected: u64,
    full: u64,
    received: u64,
    lagged: u64,
    missed: u64,
    dropped_packets: u64,
    publisher_up: bool,
    subscriber_up: bool,
    last_publish_error: Option<String>,
    last_poll_error: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Bus {
    role: String,
    members: Vec<String>,
    queued_events: u64,
    queued_bytes: u64,
    unstable_frames: u64,
    missed_frames: u64,
    trouble: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Redis {
    state: String,
    since_ms: u64,
    last_error: Option<String>,
    lost_connections: u64,
    pending_bytes: u64,
    subscriptions: Vec<Subscription>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Subscription {
    queued_events: u64,
    queued_bytes: u64,
    gaps: u64,
    trouble: Option<String>,
}

/// The lines, each no wider than a terminal of a hundred columns.
pub(crate) fn lines(status: &Status) -> Vec<String> {
    let mut page = Page::default();
    let up = time(status.uptime_ms);
    page.add("node", &format!("{}, up for {up}", status.node));
    match &status.transport {
        Some(transport) => page.transport(transport),
        None => page.add("transport", "none: this server is alone"),
    }
    if let Some(switch) = &status.switch {
        page.switch(switch);
    }
    page.ways(status);
    for (name, bus) in &status.buses {
        page.bus(name, bus);
    }
    for (name, redis) in &status.redis {
        page.redis(name, redis);
    }
    for (name, postgres) in &status.postgres {
        page.postgres(name, postgres);
    }
    for (name, tcp) in &status.tcp {
        page.tcp(name, tcp);
    }
    page.nodes(&status.nodes);
    page.0
}

#[derive(Default)]
struct Page(Vec<String>);

impl Page {
    fn add(&mut self, label: &str, text: &str) {
        self.0.extend(paragraph(label, INDENT, text));
    }

    /// What went wrong, if something did.
    fn trouble(&mut self, what: &str, why: Option<&String>) {
        if let Some(why) = why {
            self.add("", &format!("{what}: {why}"));
        }
    }

    fn transport(&mut self, transport: &Transport) {
        let version = transport.version.as_deref().unwrap_or("without a version");
        let digest = digest(&transport.digest);
        self.add(
            "transport",
            &format!("{} {version} {digest}", transport.name),
        );
        for grant in &transport.grants {
            self.add("", &format!("may use {grant}"));
        }
        for instance in &transport.instances {
            let Instance {
                role,
                state,
                faults,
                memory_bytes,
                last_error,
            } = instance;
            let memory = bytes(*memory_bytes);
            let died = counted(*faults, "death", "deaths");
            self.add("", &format!("{role} {state}, {died}, {memory}"));
            self.trouble("last error", last_error.as_ref());
        }
    }

    fn ways(&mut self, status: &Status) {
        let Status { cluster, rates, .. } = status;
        let rate = |rate: fn(&Rates) -> f64| match rates {
            Some(rates) => format!("{:.0}/s, ", rate(rates)),
            None => String::new(),
        };
        let away = |is_up| if is_up { "" } else { "LOST: " };
        self.add(
            "out",
            &format!(
                "{}{}{} waiting ({}), {} sent, {} tried again, {} given up, {} found no room",
                away(cluster.publisher_up),
                rate(|rates| rates.sent_per_second),
                cluster.outbox_messages,
                bytes(cluster.outbox_bytes),
                cluster.sent,
                cluster.retries,
                cluster.rejected,
                cluster.full,
            ),
        );
        self.trouble("last error", cluster.last_publish_error.as_ref());
        self.add(
            "in",
            &format!(
                "{}{}{} received, {} ({} messages missed), {} packets dropped at clients",
                away(cluster.subscriber_up),
                rate(|rates| rates.received_per_second),
                cluster.received,
                counted(cluster.lagged, "gap", "gaps"),
                cluster.missed,
                cluster.dropped_packets,
            ),
        );
        self.trouble("last error", cluster.last_poll_error.as_ref());
        self.add(
            "requests",
            &format!(
                "{} waiting for answers, {} of handlers running",
                cluster.pending_requests,
                counted(cluster.calls, "call", "calls")
            ),
        );
    }

    fn bus(&mut self, name: &str, bus: &Bus) {
        let others = counted(bus.members.len() as u64, "other member", "other members");
        self.add(
            &label("bus", name),
            &format!(
                "{}, {others}, {} events waiting here ({}), {} frames waiting for others, {} missed",
                bus.role,
                bus.queued_events,
                bytes(bus.queued_bytes),
                bus.unstable_frames,
                bus.missed_frames,
            ),
        );
        self.trouble("trouble", bus.trouble.as_ref());
    }

    fn redis(&mut self, name: &str, redis: &Redis) {
        let sum = |of: fn(&Subscription) -> u64| redis.subscriptions.iter().map(of).sum::<u64>();
        self.add(
            &label("redis", name),
            &format!(
                "{} for {}, lost {}, {} of commands on their way, {} events waiting here ({}), {}",
                redis.state,
                time(redis.since_ms),
                counted(redis.lost_connections, "time", "times"),
                bytes(redis.pending_bytes),
                sum(|subscription| subscription.queued_events),
                bytes(sum(|subscription| subscription.queued_bytes)),
                counted(sum(|subscription| subscription.gaps), "gap", "gaps"),
            ),
        );
        self.trouble("last error", redis.last_error.as_ref());
        for subscription in &redis.subscriptions {
            self.trouble("trouble", subscription.trouble.as_ref());
        }
    }

    fn postgres(&mut self, name: &str, postgres: &Postgres) {
        self.add(
            &label("postgres", name),
            &format!(
                "{} for {}, lost {}, {} of batches refused, {} in doubt",
                postgres.state,
                time(postgres.since_ms),
                counted(postgres.lost_connections, "time", "times"),
                postgres.failed_batches,
                postgres.unknown_batches,
            ),
        );
        self.trouble("last error", postgres.last_error.as_ref());
        for subscription in &postgres.subscriptions {
            self.trouble("trouble", subscription.trouble.as_ref());
        }
    }

    fn tcp(&mut self, name: &str, tcp: &Tcp) {
        self.add(
            &label("tcp", name),
            &counted(tcp.sockets.len() as u64, "socket", "sockets"),
        );
        for socket in &tcp.sockets {
            let place = match &socket.endpoint {
                Some(endpoint) => format!(" ({endpoint})"),
                None => String::new(),
            };
            self.add(
                "",
                &format!(
                    "{} {}{place} for {}, lost {}, {} waiting here, {} on their way",
                    socket.name,
                    socket.state,
                    time(socket.since_ms),
                    counted(socket.lost_connections, "time", "times"),
                    bytes(socket.waiting_bytes),
                    bytes(socket.unsent_bytes),
                ),
            );
            self.trouble("last error", socket.last_error.as_ref());
        }
    }

    /// Nothing, as long as the cluster is where it began.
    fn switch(&mut self, switch: &Switch) {
        if let Some(to) = &switch.to {
            let to = cut(&plain(to), 64);
            self.add("switch", &format!("to {to}, {}", plain(&switch.phase)));
        } else if switch.epoch > 0 {
            let count = counted(switch.epoch, "switch", "switches");
            self.add("switch", &format!("none now; {count} so far"));
        }
        if let Some(left) = &switch.signpost {
            let left = cut(&plain(left), 64);
            self.add(
                "",
                &format!("{left} is kept open for servers that come late"),
            );
        }
    }

    fn nodes(&mut self, nodes: &[Node]) {
        self.add(
            "nodes",
            &counted(nodes.len() as u64, "other node", "other nodes"),
        );
        for node in nodes.iter().take(MAX_NODES) {
            let text = format!(
                "{} in {}, known for {}, heard {} ago",
                cut(&plain(&node.id), 40),
                cut(&plain(&node.namespaces.join(" ")), 200),
                time(node.known_for_ms),
                time(node.silent_for_ms)
            );
            self.add("", &text);
        }
        if let Some(more @ 1..) = nodes.len().checked_sub(MAX_NODES) {
            self.add("", &format!("and {more} more (--json lists them all)"));
        }
    }
}

fn label(kind: &str, name: &str) -> String {
    // One column stays free beside the text.
    cut(&plain(&format!("{kind} {name}")), INDENT - 1)
}

fn counted(count: u64, one: &str, many: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::text::COLUMNS;

    fn page(status: Value) -> String {
        let lines = lines(&serde_json::from_value(status).unwrap());
        for line in &lines {
            assert!(line.chars().count() <= COLUMNS, "too wide: {line}");
            assert!(!line.contains(char::is_control), "{line:?}");
        }
        lines.join("\n")
    }

    #[test]
    fn everything_that_an_operator_looks_for_is_there() {
        let text = page(json!({
            "node": "Kx7bM0aVhz6OBsFT",
            "uptime_ms": 7_380_000,
            "transport": {
                "name": "redis", "version": "0.1.0",
                "digest": format!("sha256:{}", "0123456789abcdef".repeat(4)),
                "grants": ["redis `main`: PUBLISH; channels *"],
                "instances": [
                    { "role": "publisher", "state": "running", "faults": 1,
                      "memory_bytes": 1_310_720, "last_error": "`publish` trapped: unreachable" },
                ],
            },
            "cluster": { "outbox_messages": 3, "outbox_bytes": 2048, "sent": 12, "lagged": 1,
                         "missed": 7, "publisher_up": true, "subscriber_up": false },
            "rates": { "sent_per_second": 17.4, "received_per_second": 0.0 },
            "redis": { "main": { "state": "connected", "since_ms": 5000, "subscriptions": [
                { "queued_events": 4, "queued_bytes": 10 } ] } },
            "nodes": [{ "id": "other", "namespaces": ["/", "/chat"], "known_for_ms": 61_000,
                        "silent_for_ms": 300 }],
            "of a newer server": { "unknown": true },
        }));
        for part in [
            "node        Kx7bM0aVhz6OBsFT, up for 2 h 3 min",
            "transport   redis 0.1.0 sha256:0123456789ab",
            "            may use redis `main`: PUBLISH; channels *",
            "            publisher running, 1 death, 1.2 MiB",
            "            last error: `publish` trapped: unreachable",
            "out         17/s, 3 waiting (2.0 KiB), 12 sent",
            "in          LOST: 0/s, 0 received, 1 gap (7 messages missed)",
            "redis main  connected for 5 s",
            "nodes       1 other node",
            "            other in / /chat, known for 1 min 1 s, heard 300 ms ago",
        ] {
            assert!(text.contains(part), "`{part}` is not in:\n{text}");
        }
    }

    #[test]
    fn a_server_without_a_cluster_has_a_page_too() {
        let text = page(json!({ "node": "n", "transport": null }));
        assert!(text.contains("transport   none"), "{text}");
    }

    #[test]
    fn long_and_hostile_texts_stay_within_the_page() {
        let nodes: Vec<Value> = (0..30)
            .map(|n| json!({ "id": format!("{n}{}", "x".repeat(128)), "namespaces": ["/y".repeat(500)] }))
            .collect();
        let text = page(json!({
            "node": "n".repeat(500),
            "transport": { "name": "t".repeat(200), "version": "\u{1b}[2J".repeat(50),
                           "instances": [{ "last_error": "why\r\n".repeat(100) }] },
            "buses": { "b".repeat(64): { "trouble": "no ".repeat(90) } },
            "nodes": nodes,
        }));
        assert!(text.contains("and 10 more"), "{text}");
    }
}
