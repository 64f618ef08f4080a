//! The local side of the tests: remembers what it was told.

use std::{sync::Mutex, time::Duration};

use futures_util::{StreamExt, stream, stream::BoxStream};
use tokio::time::sleep;

use crate::cluster::{Broadcast, Local, LocalAck, Namespace, Payload, Room, SocketInfo, Target};

/// A namespace that remembers what it was told and answers as it was made.
pub(crate) struct FakeLocal {
    namespace: Namespace,
    texts: Mutex<Vec<String>>,
    calls: Mutex<Vec<String>>,
    /// Both, in one order.
    story: Mutex<Vec<String>>,
    sockets: Vec<SocketInfo>,
    acks: Vec<LocalAck>,
    /// These never acknowledge.
    silent: u32,
    packet_drops: usize,
}

impl FakeLocal {
    pub(crate) fn new(namespace: &str) -> Self {
        Self {
            namespace: Namespace::from(namespace),
            texts: Mutex::default(),
            calls: Mutex::default(),
            story: Mutex::default(),
            sockets: Vec::new(),
            acks: Vec::new(),
            silent: 0,
            packet_drops: 0,
        }
    }

    /// With a socket that is in this room and acknowledges with its own id.
    pub(crate) fn with_socket(mut self, id: &str, room: &str) -> Self {
        self.sockets.push(SocketInfo {
            id: id.into(),
            rooms: vec![Room::from(id), Room::from(room)],
            handshake: Payload::text("{}"),
            data: Payload::text("{}"),
        });
        let data = Ok(Payload::text(format!("[\"{id}\"]")));
        self.acks.push(LocalAck {
            socket: id.into(),
            data,
        });
        self
    }

    /// With so many clients that never acknowledge.
    pub(crate) fn with_silent(mut self, clients: u32) -> Self {
        self.silent = clients;
        self
    }

    /// Whose sockets lose so many packets of each broadcast.
    pub(crate) fn with_packet_drops(mut self, packets: usize) -> Self {
        self.packet_drops = packets;
        self
    }

    /// The texts of the broadcasts that it was given.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.texts.lock().unwrap().clone()
    }

    pub(crate) fn count_texts(&self) -> usize {
        self.texts.lock().unwrap().len()
    }

    /// Everything else that it was told.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }

    /// The texts of the broadcasts and everything else, as it came.
    pub(crate) fn story(&self) -> Vec<String> {
        self.story.lock().unwrap().clone()
    }

    fn note(&self, call: String) {
        self.story.lock().unwrap().push(call.clone());
        self.calls.lock().unwrap().push(call);
    }

    fn select(&self, target: &Target) -> impl Iterator<Item = &SocketInfo> {
        let is_in = |socket: &SocketInfo, rooms: &[Room]| {
            rooms.iter().any(|room| socket.rooms.contains(room))
        };
        self.sockets.iter().filter(move |socket| {
            (target.rooms.is_empty() || is_in(socket, &target.rooms))
                && !is_in(socket, &target.except)
        })
    }
}

impl Local for FakeLocal {
    fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    fn broadcast(&self, broadcast: Broadcast) -> usize {
        let text = broadcast.data.json.to_string();
        self.story.lock().unwrap().push(text.clone());
        self.texts.lock().unwrap().push(text);
        self.packet_drops
    }

    fn broadcast_with_ack(
        &self,
        broadcast: &Broadcast,
        time: Duration,
    ) -> (u32, BoxStream<'static, LocalAck>) {
        self.note(format!("ask {} for {time:?}", broadcast.data.json));
        let selected = self.select(&broadcast.target).map(|socket| &socket.id);
        let selected: Vec<_> = selected.collect();
        let acks = self
            .acks
            .iter()
            .filter(|ack| selected.contains(&&ack.socket));
        let acks: Vec<_> = acks.cloned().collect();
        let clients = u32::try_from(acks.len()).unwrap() + self.silent;
        let answers = stream::iter(acks);
        if self.silent == 0 {
            return (clients, answers.boxed());
        }
        let at_the_end = stream::once(sleep(time)).filter_map(|()| async { None });
        (clients, answers.chain(at_the_end).boxed())
    }

    fn join(&self, target: &Target, rooms: &[Room]) {
        self.note(format!("join {rooms:?}{}", whom(target)));
    }

    fn leave(&self, target: &Target, rooms: &[Room]) {
        self.note(format!("leave {rooms:?}{}", whom(target)));
    }

    fn disconnect(&self, target: &Target, close: bool) {
        self.note(format!("disconnect {close}{}", whom(target)));
    }

    fn sockets(&self, target: &Target) -> Vec<SocketInfo> {
        self.select(target).cloned().collect()
    }

    fn rooms(&self, target: &Target) -> Vec<Room> {
        self.select(target)
            .flat_map(|socket| {
                let own = Room::from(&*socket.id);
                let joined = socket.rooms.iter().filter(move |room| **room != own);
                joined.cloned().collect::<Vec<_>>()
            })
            .collect()
    }

    fn has_room(&self, room: &Room) -> bool {
        self.sockets
            .iter()
            .any(|socket| socket.rooms.contains(room))
    }
}

/// Nothing for all sockets.
fn whom(target: &Target) -> String {
    match &*target.rooms {
        [] => String::new(),
        rooms => format!(" for {rooms:?}"),
    }
}
