//! The capabilities of a test: on anything but Wasm they stand in the place of the host's, so that a
//! plugin's own code runs under `cargo test`. [`testing`](crate::testing) is what tests use of it.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
};

use crate::types::Room;

/// What one frame may hold, and one `send`; as the real bus by default.
const MAX_FRAME_BYTES: usize = 32 << 20;

thread_local! {
    /// On whose behalf the plugin's code runs now. Tests run on threads of their own.
    static NOW: RefCell<Option<Acting>> = const { RefCell::new(None) };
}

/// Which node of which network calls.
#[derive(Clone)]
struct Acting {
    network: Rc<RefCell<State>>,
    node: String,
}

/// A network of a test, with all that its nodes have sent.
#[derive(Default)]
pub(crate) struct State {
    /// Nobody reaches anybody.
    pub(crate) is_cut: bool,
    /// By connection and node.
    members: BTreeMap<(String, String), Member>,
    /// Frames that leave when the call returns: connection and data.
    leaving: Vec<(String, Vec<u8>)>,
    /// By node: namespace, room and socket.
    pub(crate) sockets: BTreeMap<String, BTreeSet<(String, String, String)>>,
    pub(crate) log: Vec<String>,
    random: u64,
}

#[derive(Default)]
struct Member {
    waiting: VecDeque<bus::Event>,
    /// Handed out in this call, and not acknowledged yet.
    taken: Vec<bus::Event>,
}

/// Runs the plugin's code in the name of a node. `is_ok` says whether what it took counts as taken; what
/// it sent leaves in any case, as it does when a real call returns.
pub(crate) fn acting<T>(
    network: &Rc<RefCell<State>>,
    node: &str,
    call: impl FnOnce() -> T,
    is_ok: impl FnOnce(&T) -> bool,
) -> T {
    let acting = Acting {
        network: Rc::clone(network),
        node: node.to_owned(),
    };
    NOW.replace(Some(acting));
    let result = call();
    NOW.replace(None);
    let mut state = network.borrow_mut();
    state.deliver(node);
    state.settle(node, is_ok(&result));
    result
}

fn now<T>(then: impl FnOnce(&mut State, &str) -> T) -> Option<T> {
    let acting = NOW.with_borrow(Clone::clone)?;
    let mut state = acting.network.borrow_mut();
    Some(then(&mut state, &acting.node))
}

impl State {
    fn join(&mut self, connection: &str, node: &str) {
        let key = (connection.to_owned(), node.to_owned());
        if self.members.contains_key(&key) {
            return;
        }
        let mut member = Member::default();
        for ((on, other), present) in &mut self.members {
            if on == connection {
                present
                    .waiting
                    .push_back(bus::Event::Joined(node.to_owned()));
                member.waiting.push_back(bus::Event::Joined(other.clone()));
            }
        }
        self.members.insert(key, member);
    }

    /// The node is gone, and the others are told.
    pub(crate) fn leave(&mut self, node: &str) {
        self.members.retain(|(_, member), _| member != node);
        for member in self.members.values_mut() {
            member.waiting.push_back(bus::Event::Left(node.to_owned()));
        }
    }

    /// A gap for this node.
    pub(crate) fn lose(&mut self, node: &str, frames: u32) {
        for ((_, member), queue) in &mut self.members {
            if member == node {
                queue.waiting.push_back(bus::Event::Lagged(Some(frames)));
            }
        }
    }

    fn deliver(&mut self, sender: &str) {
        for (connection, data) in std::mem::take(&mut self.leaving) {
            for ((on, node), member) in &mut self.members {
                if *on == connection && node != sender {
                    member.waiting.push_back(bus::Event::Frame(bus::Frame {
                        sender: sender.to_owned(),
                        data: data.clone(),
                    }));
                }
            }
        }
    }

    fn settle(&mut self, node: &str, is_ok: bool) {
        for ((_, member), queue) in &mut self.members {
            if member != node {
                continue;
            }
            let taken = std::mem::take(&mut queue.taken);
            if !is_ok {
                for event in taken.into_iter().rev() {
                    queue.waiting.push_front(event);
                }
            }
        }
    }
}

/// The bus of a test: the same calls as the real one's.
pub mod bus {
    use super::{MAX_FRAME_BYTES, now};
    pub use crate::bindings::switchboard::bus::bus::{Error, Event, Frame};

    fn outside() -> Error {
        Error::Denied(
            "outside of Wasm there is only the bus of a test: open the transport with \
             `switchboard_plugin::testing::Network`"
                .to_owned(),
        )
    }

    fn away() -> Error {
        Error::Unavailable("the test has cut the bus".to_owned())
    }

    /// The right to send on one connection.
    #[derive(Debug)]
    pub struct Sender {
        connection: String,
    }

    /// The frames of the others. Belongs to the network and outlives the instance.
    #[derive(Debug)]
    pub struct Subscription {
        connection: String,
    }

    impl Sender {
        /// As the real one's. Every connection is granted.
        ///
        /// # Errors
        /// Outside of a test's network.
        pub fn open(connection: &str) -> Result<Self, Error> {
            now(|state, node| state.join(connection, node)).ok_or_else(outside)?;
            Ok(Self {
                connection: connection.to_owned(),
            })
        }

        /// As the real one's: the frames leave when the call returns.
        ///
        /// # Errors
        /// When the network is cut, or the frames are larger than a bus takes.
        pub fn send(&self, frames: &[Vec<u8>]) -> Result<(), Error> {
            if frames.iter().map(Vec::len).sum::<usize>() > MAX_FRAME_BYTES {
                return Err(Error::TooLarge(MAX_FRAME_BYTES as u32));
            }
            now(|state, _| {
                if state.is_cut {
                    return Err(away());
                }
                let frames = frames.iter().cloned();
                let frames = frames.map(|frame| (self.connection.clone(), frame));
                state.leaving.extend(frames);
                Ok(())
            })
            .ok_or_else(outside)?
        }

        /// Nothing more will be sent.
        pub fn close(&self) {}
    }

    impl Subscription {
        /// As the real one's: opening it again continues it.
        ///
        /// # Errors
        /// Outside of a test's network.
        pub fn open(connection: &str) -> Result<Self, Error> {
            now(|state, node| state.join(connection, node)).ok_or_else(outside)?;
            Ok(Self {
                connection: connection.to_owned(),
            })
        }

        /// As the real one's, but it does not wait: what is not there yet does not come.
        ///
        /// # Errors
        /// When the network is cut.
        pub fn next(
            &self,
            _timeout_ms: u32,
            max_events: u32,
            max_bytes: u32,
        ) -> Result<Vec<Event>, Error> {
            now(|state, node| {
                if state.is_cut {
                    return Err(away());
                }
                let key = (self.connection.clone(), node.to_owned());
                let Some(member) = state.members.get_mut(&key) else {
                    return Ok(Vec::new());
                };
                let (mut events, mut bytes) = (Vec::new(), 0);
                while events.len() < max_events.max(1) as usize
                    && (events.is_empty() || bytes < max_bytes as usize)
                    && let Some(event) = member.waiting.pop_front()
                {
                    if let Event::Frame(frame) = &event {
                        bytes += frame.data.len();
                    }
                    member.taken.push(event.clone());
                    events.push(event);
                }
                Ok(events)
            })
            .ok_or_else(outside)?
        }

        /// Nothing more will be taken.
        pub fn close(&self) {}
    }
}

/// What a test's network tells a plugin about its server: the same calls as the host's.
pub mod node {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::{Room, now};
    pub use crate::bindings::switchboard::transport::node::Level;

    /// One line for the log of the test's network, and for the test's output.
    pub fn log(level: Level, message: &str) {
        eprintln!("{level:?}: {message}");
        now(|state, _| state.log.push(message.to_owned()));
    }

    /// The node in whose name the plugin runs; empty outside of a test's network.
    pub fn id() -> String {
        now(|_, node| node.to_owned()).unwrap_or_default()
    }

    /// Is a socket that the test has put there in this room, or has it this id?
    pub fn has_room(namespace: &str, room: &Room) -> bool {
        !sockets_in(namespace, room).is_empty()
    }

    /// The rooms that the test has put sockets into.
    pub fn rooms(namespace: &str) -> Vec<Room> {
        let rooms = now(|state, node| {
            let sockets = state.sockets.get(node).into_iter().flatten();
            let here = sockets.filter(|(nsp, ..)| nsp == namespace);
            let mut rooms: Vec<_> = here.map(|(_, room, _)| room.clone()).collect();
            rooms.dedup();
            rooms
        });
        let rooms = rooms.unwrap_or_default().into_iter();
        rooms.map(Room::Text).collect()
    }

    /// The ids of the sockets that the test has put into a room.
    pub fn sockets_in(namespace: &str, room: &Room) -> Vec<String> {
        let Room::Text(room) = room else {
            return Vec::new();
        };
        let found = now(|state, node| {
            let sockets = state.sockets.get(node).into_iter().flatten();
            let mut found: Vec<_> = sockets
                .filter(|(nsp, in_room, id)| nsp == namespace && (in_room == room || id == room))
                .map(|(_, _, id)| id.clone())
                .collect();
            found.dedup();
            found
        });
        found.unwrap_or_default()
    }

    /// Wall clock: milliseconds since 1970-01-01 UTC.
    pub fn now_ms() -> f64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.unwrap_or_default().as_millis() as f64
    }

    /// Bytes that are the same in every run of a test, and different in every call.
    pub fn random_bytes(len: u32) -> Vec<u8> {
        let bytes = now(|state, _| {
            let mut next = || {
                state.random = state.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mixed =
                    (state.random ^ (state.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                (mixed >> 56) as u8
            };
            (0..len.min(1024)).map(|_| next()).collect()
        });
        bytes.unwrap_or_else(|| vec![0; len as usize])
    }
}

/// TCP in a test: there is none, and opening a socket says what to do instead.
pub mod tcp {
    pub use crate::bindings::switchboard::tcp::tcp::{Encryption, Error, Link, Received};

    /// None exists: [`Socket::open`] fails.
    #[derive(Debug)]
    pub enum Socket {}

    #[allow(missing_docs, clippy::missing_errors_doc)] // In the WIT package.
    impl Socket {
        pub fn open(_connection: &str, _name: &str) -> Result<Self, Error> {
            Err(Error::Unavailable(
                "a native test has no host and no `tcp`: write what speaks the protocol over \
                 `switchboard_plugin::socket::Socket`, and test it with `NativeSocket`"
                    .to_owned(),
            ))
        }
        pub fn connect(&self, _: Option<&str>, _: u32) -> Result<Option<Link>, Error> {
            match *self {}
        }
        pub fn start_tls(&self, _: u32) -> Result<(), Error> {
            match *self {}
        }
        pub fn read(&self, _: u32, _: u32) -> Result<Received, Error> {
            match *self {}
        }
        pub fn consume(&self, _: u32) {
            match *self {}
        }
        pub fn keep(&self, _: &[u8]) -> Result<(), Error> {
            match *self {}
        }
        pub fn write(&self, _: &[u8], _: u32) -> Result<(), Error> {
            match *self {}
        }
        pub fn finish(&self) {
            match *self {}
        }
        pub fn close(&self) {
            match *self {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::tcp;

    #[test]
    fn opening_a_socket_in_a_native_test_says_what_to_do_instead() {
        match tcp::Socket::open("main", "in") {
            Err(tcp::Error::Unavailable(why)) => assert!(why.contains("NativeSocket"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}
