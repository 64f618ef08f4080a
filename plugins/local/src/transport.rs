//! The two halves: batches to the bus, and frames from it.

use std::collections::HashSet;

use switchboard_plugin::{
    Batch, Config, Events, Failure, Membership, OpenFailure, PublishFailure, Publisher, Subscriber,
    TransportInfo,
    bus::{self, Sender, Subscription},
    options,
    types::{Event, Lag, Received},
    warn,
};

use crate::wire;

/// Frames are closed when they have reached this size, and one `poll` takes about this much: a
/// larger unit gains nothing and costs memory on both sides of the border.
const FRAME_TARGET_BYTES: usize = 1024 * 1024;

/// The operator's options.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    /// Which bus, of those that the host's configuration names.
    #[serde(default = "main")]
    connection: String,
}

fn main() -> String {
    "main".to_owned()
}

/// Writes batches to the bus.
pub struct Out {
    node: String,
    sender: Sender,
}

impl Publisher for Out {
    fn open(config: Config) -> Result<(Self, TransportInfo), OpenFailure> {
        let options: Options = options(&config)?;
        let sender = Sender::open(&options.connection).map_err(open_failure)?;
        let info = TransportInfo {
            membership: Membership::Heartbeats,
            rooms_query: true,
            custom_query: true,
            reports_leaving: true,
        };
        Ok((
            Self {
                node: config.node,
                sender,
            },
            info,
        ))
    }

    fn publish(&mut self, batch: Batch, _first: u64) -> Result<Vec<String>, PublishFailure> {
        let frames = wire::frames(batch.iter(), &self.node, FRAME_TARGET_BYTES);
        match self.sender.send(&frames) {
            Ok(()) => Ok(Vec::new()),
            Err(bus::Error::TooLarge(_)) => self.publish_singly(&batch),
            Err(error) => Err(failed(0, unavailable(error))),
        }
    }

    fn close(self) {
        self.sender.close();
    }
}

impl Out {
    /// Rare: together the messages are too large for the bus. Each goes alone, to find the one that
    /// can never go.
    fn publish_singly(&self, batch: &Batch) -> Result<Vec<String>, PublishFailure> {
        for (n, message) in batch.iter().enumerate() {
            let frame = wire::frames([message], &self.node, usize::MAX);
            match self.sender.send(&frame) {
                Ok(()) => {}
                Err(bus::Error::TooLarge(limit)) => {
                    let why = format!("larger than the bus allows in one frame ({limit} bytes)");
                    return Err(failed(n, Failure::Rejected(why)));
                }
                Err(error) => return Err(failed(n, unavailable(error))),
            }
        }
        Ok(Vec::new())
    }
}

/// Reads frames from the bus.
pub struct In {
    subscription: Subscription,
    namespaces: HashSet<String>,
}

impl Subscriber for In {
    fn open(config: Config, _resume_from: Option<String>) -> Result<Self, OpenFailure> {
        let options: Options = options(&config)?;
        let subscription = Subscription::open(&options.connection).map_err(open_failure)?;
        Ok(Self {
            subscription,
            namespaces: HashSet::new(),
        })
    }

    fn enter(&mut self, namespace: String) -> Result<(), Failure> {
        self.namespaces.insert(namespace);
        Ok(())
    }

    fn leave(&mut self, namespace: String) {
        self.namespaces.remove(&namespace);
    }

    fn poll(&mut self, timeout_ms: u32, max_events: u32) -> Result<Events, Failure> {
        let taken = self
            .subscription
            .next(timeout_ms, max_events, FRAME_TARGET_BYTES as u32)
            .map_err(unavailable)?;
        let mut events = Events::new();
        for event in taken {
            match event {
                bus::Event::Frame(frame) => self.decode(&frame, &mut events),
                // A node counts once it has said which namespaces it serves.
                bus::Event::Joined(_) => {}
                bus::Event::Left(node) => events.push(Event::NodeLeft(node)),
                bus::Event::Lagged(missed) => events.push(Event::Lagged(Lag {
                    missed: None,
                    reason: match missed {
                        Some(frames) => format!("{frames} frames were missed on the bus"),
                        None => "frames were missed on the bus".to_owned(),
                    },
                })),
            }
        }
        Ok(events)
    }

    fn close(self) {
        self.subscription.close();
    }
}

impl In {
    fn decode(&self, frame: &bus::Frame, events: &mut Events) {
        let entered = |namespace: &str| self.namespaces.contains(namespace);
        match wire::read(&frame.data, &frame.sender, entered) {
            Ok(messages) => events.extend(messages.into_iter().map(|message| {
                Event::Message(Received {
                    message,
                    offset: None,
                })
            })),
            Err(error) => {
                warn(&format!(
                    "cannot read a frame of node {}: {error}",
                    frame.sender
                ));
                let reason = format!(
                    "a frame of node {} could not be read: {error}",
                    frame.sender
                );
                events.push(Event::Lagged(Lag {
                    missed: None,
                    reason,
                }));
            }
        }
    }
}

fn failed(accepted: usize, reason: Failure) -> PublishFailure {
    PublishFailure {
        accepted: accepted as u32,
        offsets: Vec::new(),
        reason,
    }
}

fn open_failure(error: bus::Error) -> OpenFailure {
    match error {
        bus::Error::Denied(why) => OpenFailure::Unsupported(why),
        other => OpenFailure::Unavailable(text(other)),
    }
}

fn unavailable(error: bus::Error) -> Failure {
    Failure::Unavailable(text(error))
}

fn text(error: bus::Error) -> String {
    match error {
        bus::Error::Denied(why) | bus::Error::Unavailable(why) => why,
        bus::Error::TooLarge(limit) => format!("a frame is over the bus's limit of {limit} bytes"),
    }
}
