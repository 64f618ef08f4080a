//! Runs a transport natively, over a bus that exists in the test only: `cargo test` in a plugin needs no
//! Wasm, no server and no host. Not on Wasm.
//!
//! A [`Network`] is the bus and what it joins; a [`Node`] is a server's two halves of the transport. What
//! the host promises holds here too: frames leave when a call returns, what a poll has taken counts when
//! it returns ok, and a subscription outlives the instance. Nothing waits: a poll returns what is there.
//!
//! ```
//! use switchboard_plugin::testing::{Network, event};
//! # use switchboard_plugin::{
//! #     Batch, Config, Failure, OpenFailure, PublishFailure, Publisher, Subscriber, TransportInfo,
//! #     Events, bus::{self, Sender, Subscription}, types::{Event, Received}, wire::envelope,
//! # };
//! # struct Out(Sender);
//! # impl Publisher for Out {
//! #     fn open(_: Config) -> Result<(Self, TransportInfo), OpenFailure> {
//! #         Ok((Out(Sender::open("main").unwrap()), TransportInfo::default()))
//! #     }
//! #     fn publish(&mut self, batch: Batch, _: u64) -> Result<Vec<String>, PublishFailure> {
//! #         let frames: Vec<_> = batch.iter().map(|m| envelope::write(m).unwrap()).collect();
//! #         self.0.send(&frames).unwrap();
//! #         Ok(Vec::new())
//! #     }
//! # }
//! # struct In(Subscription);
//! # impl Subscriber for In {
//! #     fn open(_: Config, _: Option<String>) -> Result<Self, OpenFailure> {
//! #         Ok(In(Subscription::open("main").unwrap()))
//! #     }
//! #     fn poll(&mut self, ms: u32, most: u32) -> Result<Events, Failure> {
//! #         let events = self.0.next(ms, most, u32::MAX).unwrap().into_iter();
//! #         Ok(events.filter_map(|event| match event {
//! #             bus::Event::Frame(frame) => envelope::read(&frame.data, "", |_| true).unwrap(),
//! #             _ => None,
//! #         }).map(|message| Event::Message(Received { message, offset: None })).collect())
//! #     }
//! # }
//!
//! let network = Network::new();
//! let mut ada = network.node::<Out, In>("ada", "{}")?;
//! let mut bob = network.node::<Out, In>("bob", "{}")?;
//! ada.publish(vec![event("ada", r#"["hello",1]"#)])?;
//! assert_eq!(bob.heard()?, [r#"["hello",1]"#]);
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

use std::{cell::RefCell, rc::Rc};

use crate::{
    Batch, Config, Failure, OpenFailure, PublishFailure, Publisher, Subscriber, TransportInfo,
    native::{State, acting},
    types::{Body, Broadcast, Event, Message, Payload, Target},
};

/// Events that one poll asks for, as the host does.
const MAX_EVENTS: u32 = 256;

/// A bus, and the servers that it joins. Cheap to clone.
#[derive(Clone, Default)]
pub struct Network(Rc<RefCell<State>>);

/// A server's two halves of a transport, in instances of their own as with a real host.
pub struct Node<P, S> {
    network: Network,
    config: Config,
    info: TransportInfo,
    publisher: P,
    subscriber: S,
    entered: Vec<String>,
    published: u64,
}

/// A transport's failure, as an error of a test.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failed {
    /// It did not open.
    #[error("the transport did not open: {0:?}")]
    Open(OpenFailure),
    /// It did not publish everything.
    #[error("the transport did not publish everything: {0:?}")]
    Publish(PublishFailure),
    /// It could not be told of a namespace, or could not be polled.
    #[error("the transport failed: {0:?}")]
    Call(Failure),
}

impl Network {
    /// A network without anybody.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a transport under a node id, with the options that an operator would give it: the text of a
    /// JSON object. It serves the namespace `/`.
    ///
    /// # Errors
    /// What the transport says.
    pub fn node<P: Publisher, S: Subscriber>(
        &self,
        id: &str,
        options: &str,
    ) -> Result<Node<P, S>, Failed> {
        let config = Config {
            node: id.to_owned(),
            options: options.to_owned(),
            wants_offsets: true,
        };
        let (publisher, info) = self.publisher(&config)?;
        let subscriber = self.subscriber(&config, None)?;
        let mut node = Node {
            network: self.clone(),
            config,
            info,
            publisher,
            subscriber,
            entered: Vec::new(),
            published: 0,
        };
        node.enter("/")?;
        Ok(node)
    }

    /// From now on nobody reaches anybody: the bus's calls are `unavailable`. What was sent stays.
    pub fn cut(&self) {
        self.0.borrow_mut().is_cut = true;
    }

    /// Ends [`Network::cut`].
    pub fn heal(&self) {
        self.0.borrow_mut().is_cut = false;
    }

    /// A node is told that it has missed so many frames.
    pub fn lose(&self, node: &str, frames: u32) {
        self.0.borrow_mut().lose(node, frames);
    }

    /// A node is gone, and the bus says so to the others.
    pub fn leave(&self, node: &str) {
        self.0.borrow_mut().leave(node);
    }

    /// Puts a socket into a room of a node, for what the transport asks of its server.
    pub fn put_socket(&self, node: &str, namespace: &str, room: &str, id: &str) {
        let mut state = self.0.borrow_mut();
        let sockets = state.sockets.entry(node.to_owned()).or_default();
        sockets.insert((namespace.to_owned(), room.to_owned(), id.to_owned()));
    }

    /// What transports have logged so far.
    pub fn log(&self) -> Vec<String> {
        self.0.borrow().log.clone()
    }

    fn publisher<P: Publisher>(&self, config: &Config) -> Result<(P, TransportInfo), Failed> {
        let open = || P::open(config.clone());
        acting(&self.0, &config.node, open, Result::is_ok).map_err(Failed::Open)
    }

    fn subscriber<S: Subscriber>(
        &self,
        config: &Config,
        resume_from: Option<String>,
    ) -> Result<S, Failed> {
        let open = || S::open(config.clone(), resume_from);
        acting(&self.0, &config.node, open, Result::is_ok).map_err(Failed::Open)
    }
}

impl<P: Publisher, S: Subscriber> Node<P, S> {
    /// What the transport says it can carry.
    pub fn info(&self) -> &TransportInfo {
        &self.info
    }

    /// The server serves a namespace from now on.
    ///
    /// # Errors
    /// What the transport says.
    pub fn enter(&mut self, namespace: &str) -> Result<(), Failed> {
        let subscriber = &mut self.subscriber;
        let enter = || subscriber.enter(namespace.to_owned());
        acting(&self.network.0, &self.config.node, enter, Result::is_ok).map_err(Failed::Call)?;
        self.entered.push(namespace.to_owned());
        Ok(())
    }

    /// Publishes a batch, as the host does: with the number of its first message. Returns offsets.
    ///
    /// # Errors
    /// What the transport says. What was accepted counts as published.
    pub fn publish(&mut self, batch: impl Into<Batch>) -> Result<Vec<String>, Failed> {
        let batch = batch.into();
        let (count, first) = (batch.len() as u64, self.published);
        let publisher = &mut self.publisher;
        let publish = || publisher.publish(batch, first);
        let result = acting(&self.network.0, &self.config.node, publish, Result::is_ok);
        self.published += match &result {
            Ok(_) => count,
            Err(failure) => u64::from(failure.accepted),
        };
        result.map_err(Failed::Publish)
    }

    /// What has arrived, all of it.
    ///
    /// # Errors
    /// What the transport says; the same events are handed out again then.
    pub fn poll(&mut self) -> Result<Vec<Event>, Failed> {
        let mut all = Vec::new();
        loop {
            let subscriber = &mut self.subscriber;
            let poll = || subscriber.poll(0, MAX_EVENTS);
            let events = acting(&self.network.0, &self.config.node, poll, Result::is_ok);
            let events: Vec<Event> = events.map_err(Failed::Call)?.into();
            if events.is_empty() {
                return Ok(all);
            }
            all.extend(events);
        }
    }

    /// The JSON of the events for clients that have arrived, in order; everything else is passed over.
    ///
    /// # Errors
    /// As [`poll`](Self::poll).
    pub fn heard(&mut self) -> Result<Vec<String>, Failed> {
        let events = self.poll()?.into_iter().filter_map(|event| match event {
            Event::Message(received) => match received.message.body {
                Body::Broadcast(broadcast) => Some(broadcast.data.json),
                _ => None,
            },
            _ => None,
        });
        Ok(events.collect())
    }

    /// Replaces both instances by fresh ones, as the host does after a fault: nothing is closed.
    ///
    /// # Errors
    /// What the transport says.
    pub fn replace(&mut self, resume_from: Option<String>) -> Result<(), Failed> {
        (self.publisher, self.info) = self.network.publisher(&self.config)?;
        self.subscriber = self.network.subscriber(&self.config, resume_from)?;
        for namespace in std::mem::take(&mut self.entered) {
            self.enter(&namespace)?;
        }
        Ok(())
    }

    /// Closes both halves.
    pub fn close(self) {
        let (publisher, subscriber) = (self.publisher, self.subscriber);
        let close = || {
            publisher.close();
            subscriber.close();
        };
        acting(&self.network.0, &self.config.node, close, |()| true);
    }
}

/// An event of a node for everybody in the namespace `/`: `json` is an array, the event's name first.
pub fn event(node: &str, json: &str) -> Message {
    broadcast(node, json, Vec::new())
}

/// The same with binary parts, for which `json` has marks: `{"_placeholder":true,"num":0}`.
pub fn broadcast(node: &str, json: &str, attachments: Vec<Vec<u8>>) -> Message {
    Message {
        namespace: "/".to_owned(),
        sender: node.to_owned(),
        recipient: None,
        body: Body::Broadcast(Broadcast {
            target: Target {
                rooms: Vec::new(),
                except: None,
                volatile: false,
                other_flags: None,
            },
            data: Payload::new(json, attachments),
            packet_id: None,
            request: None,
        }),
    }
}
