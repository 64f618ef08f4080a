//! What this process knows of the others, and the events that wait for its plugin.
//!
//! Here repeated frames are dropped and gaps become `lagged`. Nothing here waits and nothing knows
//! of sockets: [`super::member`] does.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use super::{
    BusEvent,
    frame::{BadFrame, Data, Known},
    outbox::{self, OVERHEAD_BYTES},
};
use crate::capabilities::handout::{HandOut, Lagged, Rollback};

/// Members that have left and whose last number is remembered, in case they come back.
const MAX_DEPARTED: usize = 1024;
/// Events that wait for the plugin, whatever their size.
const MAX_EVENTS: usize = 1 << 18;

impl Lagged for BusEvent {
    fn lagged(missed: u32) -> Self {
        Self::Lagged(Some(missed))
    }
}

/// The way in of one process.
pub(super) struct Inbox {
    own: Arc<str>,
    peers: HashMap<Arc<str>, Peer>,
    /// Oldest first.
    departed: VecDeque<(Arc<str>, Peer)>,
    /// A hub has said who is there: from then on this process should get everything.
    was_welcomed: bool,
    events: HandOut<BusEvent>,
    /// The plugin has asked for events: before, there is nobody to keep them for.
    subscribed: bool,
    /// Who was announced to the plugin and not taken back, with the incarnation.
    announced: BTreeMap<Arc<str>, u64>,
    /// The plugin takes nothing, and frames are counted instead of queued.
    dropping: Option<u64>,
    missed: u64,
}

#[derive(Clone, Copy, Debug)]
struct Peer {
    incarnation: u64,
    /// The last of its frames that was taken.
    last_seq: u64,
}

impl Inbox {
    pub(super) fn new(own: Arc<str>, max_bytes: usize) -> Self {
        Self {
            own,
            peers: HashMap::new(),
            departed: VecDeque::new(),
            was_welcomed: false,
            events: HandOut::new(MAX_EVENTS, max_bytes),
            subscribed: false,
            announced: BTreeMap::new(),
            dropping: None,
            missed: 0,
        }
    }

    // What comes from the hub.

    /// A hub says who is there. Who is not has left while this process was not connected.
    pub(super) fn welcome(&mut self, members: Vec<Known>) {
        let is_listed = |id: &str| members.iter().any(|member| &*member.id == id);
        let gone: Vec<_> = self
            .peers
            .keys()
            .filter(|id| !is_listed(id))
            .cloned()
            .collect();
        for id in gone {
            self.left(&id);
        }
        let is_back = std::mem::replace(&mut self.was_welcomed, true);
        for member in members {
            // Those without a base are awaited: they count as they did before.
            let Some(base) = member.base else {
                continue;
            };
            // Who came while this process was not connected may have sent what all others have.
            if is_back && member.id != self.own && !self.has_met(&member) {
                self.lagged(base);
            }
            self.joined(&member);
        }
    }

    /// Is or was this process of that id there, as far as is remembered?
    fn has_met(&self, member: &Known) -> bool {
        let departed = self.departed.iter().map(|(id, peer)| (id, peer));
        self.peers
            .iter()
            .chain(departed)
            .any(|(id, peer)| *id == member.id && peer.incarnation == member.incarnation)
    }

    pub(super) fn joined(&mut self, member: &Known) {
        if member.id == self.own {
            return;
        }
        let base = member.base.unwrap_or_default();
        let known = self.peers.get(&member.id).copied().or_else(|| {
            let at = self.departed.iter().position(|(id, _)| *id == member.id)?;
            self.departed.remove(at).map(|(_, peer)| peer)
        });
        let mut peer = Peer {
            incarnation: member.incarnation,
            last_seq: base,
        };
        if let Some(known) = known
            && known.incarnation == member.incarnation
        {
            peer.last_seq = base.max(known.last_seq);
            self.lagged(peer.last_seq - known.last_seq);
        }
        self.peers.insert(Arc::clone(&member.id), peer);
        self.announce(&member.id);
    }

    pub(super) fn left(&mut self, id: &str) {
        if let Some((id, peer)) = self.peers.remove_entry(id) {
            if self.departed.len() >= MAX_DEPARTED {
                self.departed.pop_front();
            }
            self.departed.push_back((Arc::clone(&id), peer));
            self.announce(&id);
        }
    }

    /// # Errors
    /// The hub passes on what it may not.
    pub(super) fn data(&mut self, data: &Data) -> Result<(), BadFrame> {
        let Some((sender, _)) = self.peers.get_key_value(data.sender()) else {
            return Err(BadFrame(format!(
                "data of `{}`, who is not there",
                data.sender()
            )));
        };
        let sender = Arc::clone(sender);
        let Some(peer) = self.peers.get_mut(&sender) else {
            return Ok(());
        };
        let missing = match data.seq.checked_sub(peer.last_seq) {
            // Sent again after a takeover.
            None | Some(0) => return Ok(()),
            Some(ahead) => ahead - 1,
        };
        peer.last_seq = data.seq;
        self.lagged(missing);
        match &mut self.dropping {
            _ if !self.subscribed => {}
            Some(missed) => *missed += 1,
            None => {
                let payload = data.payload();
                let bytes = outbox::cost(&payload);
                self.events.push(
                    BusEvent::Frame {
                        sender,
                        data: payload,
                    },
                    bytes,
                );
            }
        }
        Ok(())
    }

    fn lagged(&mut self, missing: u64) {
        if missing == 0 || !self.subscribed {
            return;
        }
        match &mut self.dropping {
            Some(missed) => *missed += missing,
            None => self.push_lagged(missing),
        }
    }

    fn push_lagged(&mut self, missing: u64) {
        self.missed += missing;
        let missed = u32::try_from(missing).unwrap_or(u32::MAX);
        self.events
            .push(BusEvent::Lagged(Some(missed)), OVERHEAD_BYTES);
    }

    /// Tells the plugin what has changed about a member.
    fn announce(&mut self, id: &Arc<str>) {
        if !self.subscribed || self.dropping.is_some() {
            // All at once, later.
            return;
        }
        let now = self.peers.get(id).map(|peer| peer.incarnation);
        let told = self.announced.get(id).copied();
        if now == told {
            return;
        }
        if told.is_some() {
            self.announced.remove(id);
            self.events
                .push(BusEvent::Left(Arc::clone(id)), OVERHEAD_BYTES);
        }
        if let Some(incarnation) = now {
            self.announced.insert(Arc::clone(id), incarnation);
            self.events
                .push(BusEvent::Joined(Arc::clone(id)), OVERHEAD_BYTES);
        }
    }

    fn announce_all(&mut self) {
        let mut ids: Vec<_> = self
            .peers
            .keys()
            .chain(self.announced.keys())
            .cloned()
            .collect();
        ids.sort_unstable();
        ids.dedup();
        for id in ids {
            self.announce(&id);
        }
    }

    // What the plugin does.

    /// From now on events are kept for the plugin.
    pub(super) fn subscribe(&mut self) {
        if !self.subscribed {
            self.subscribed = true;
            self.announce_all();
        }
    }

    pub(super) fn take(&mut self, max_events: usize, max_bytes: usize) -> Vec<BusEvent> {
        self.events.take(max_events, max_bytes)
    }

    /// Another `take` gives nothing before the last one is settled.
    pub(super) fn is_holding_back(&self) -> bool {
        self.events.is_holding_back()
    }

    pub(super) fn commit(&mut self) {
        self.events.commit();
        if !self.events.is_full()
            && let Some(missed) = self.dropping.take()
        {
            if missed > 0 {
                self.push_lagged(missed);
            }
            self.announce_all();
        }
    }

    /// True: an event was skipped, because the plugin died over it again and again.
    pub(super) fn rollback(&mut self, reason: Rollback) -> bool {
        self.events.rollback(reason).is_some()
    }

    // What the connection needs to know.

    /// Do not read on: the plugin must take something first.
    pub(super) fn is_full(&self) -> bool {
        self.dropping.is_none() && self.events.is_full()
    }

    /// The plugin has taken nothing for too long: from here on frames are counted, not kept, so
    /// that the others need not wait. Ends when there is room.
    pub(super) fn start_dropping(&mut self) {
        self.dropping.get_or_insert(0);
    }

    pub(super) fn peers(&self) -> impl Iterator<Item = (&Arc<str>, u64)> {
        self.peers.iter().map(|(id, peer)| (id, peer.incarnation))
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.events.bytes()
    }

    /// Frames that were missed since the start.
    pub(super) fn missed(&self) -> u64 {
        self.missed + self.dropping.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bytes::BytesMut;

    use super::*;
    use crate::capabilities::bus::frame::{self, Frame};

    const LIMIT: usize = 1000;

    fn inbox() -> Inbox {
        let mut inbox = Inbox::new("me".into(), LIMIT);
        inbox.subscribe();
        inbox
    }

    fn member(id: &str, incarnation: u64, base: impl Into<Option<u64>>) -> Known {
        Known {
            id: id.into(),
            incarnation,
            base: base.into(),
        }
    }

    fn data(sender: &str, seq: u64) -> Data {
        let mut out = BytesMut::new();
        frame::encode_data_head(sender, seq, 1, &mut out);
        out.extend_from_slice(&[seq as u8]);
        match frame::decode(out.freeze()) {
            Ok(Frame::Data(data)) => data,
            other => panic!("{other:?}"),
        }
    }

    /// What the plugin gets, as text.
    fn told(inbox: &mut Inbox) -> String {
        let events = inbox.take(usize::MAX, usize::MAX);
        inbox.commit();
        let texts = events.iter().map(|event| match event {
            BusEvent::Frame { sender, data } => format!("{sender}{}", data[0]),
            BusEvent::Joined(id) => format!("+{id}"),
            BusEvent::Left(id) => format!("-{id}"),
            BusEvent::Lagged(missed) => format!("?{}", missed.unwrap()),
        });
        texts.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn frames_come_once_and_gaps_are_told_in_their_place() {
        let mut inbox = inbox();
        inbox.welcome(vec![member("a", 1, 4)]);
        for seq in [5, 6, 5, 6, 7, 10, 9, 11] {
            inbox.data(&data("a", seq)).unwrap();
        }
        assert_eq!(told(&mut inbox), "+a a5 a6 a7 ?2 a10 a11");
        assert_eq!(inbox.missed(), 2);
        assert!(inbox.data(&data("stranger", 1)).is_err());
    }

    #[test]
    fn a_takeover_changes_nothing_for_members_that_are_awaited_or_back() {
        let mut inbox = inbox();
        inbox.welcome(vec![member("a", 1, 0), member("b", 1, 0)]);
        inbox.data(&data("a", 1)).unwrap();
        inbox.data(&data("b", 1)).unwrap();
        assert_eq!(told(&mut inbox), "+a +b a1 b1");
        inbox.welcome(vec![member("a", 1, None), member("b", 1, 0)]);
        inbox.joined(&member("a", 1, 0));
        for seq in [1, 2] {
            inbox.data(&data("a", seq)).unwrap();
            inbox.data(&data("b", seq)).unwrap();
        }
        assert_eq!(told(&mut inbox), "a2 b2");
    }

    #[test]
    fn who_is_not_in_the_welcome_has_left_and_what_was_missed_meanwhile_is_told() {
        let mut inbox = inbox();
        inbox.welcome(vec![member("a", 1, 3), member("b", 1, 0)]);
        inbox.welcome(vec![member("a", 1, 8)]);
        assert_eq!(told(&mut inbox), "+a +b -b ?5");
        inbox.joined(&member("b", 1, 2));
        assert_eq!(told(&mut inbox), "?2 +b", "it is the same as before");
    }

    #[test]
    fn what_members_sent_that_came_while_this_one_was_away_is_told() {
        let mut inbox = inbox();
        inbox.welcome(vec![member("a", 1, 3), member("b", 1, 0)]);
        assert_eq!(told(&mut inbox), "+a +b", "nothing is missed at the start");
        // a was started again, "new" came, "idle" has sent nothing, and "later" comes afterwards.
        inbox.welcome(vec![
            member("a", 2, 4),
            member("b", 1, 0),
            member("idle", 1, 0),
            member("me", 1, 9),
            member("new", 1, 100),
        ]);
        inbox.joined(&member("later", 1, 5));
        let expected = "?4 -a +a +idle ?100 +new +later";
        assert_eq!(told(&mut inbox), expected);
        assert_eq!(inbox.missed(), 104);
        inbox.data(&data("new", 101)).unwrap();
        assert_eq!(told(&mut inbox), "new101");
    }

    #[test]
    fn a_new_process_with_an_old_id_counts_from_the_beginning() {
        let mut inbox = inbox();
        inbox.welcome(vec![member("a", 1, 0)]);
        inbox.data(&data("a", 1)).unwrap();
        inbox.joined(&member("a", 2, 0));
        inbox.data(&data("a", 1)).unwrap();
        assert_eq!(told(&mut inbox), "+a a1 -a +a a1");
    }

    #[test]
    fn before_the_subscription_frames_are_taken_and_not_kept() {
        let mut inbox = Inbox::new("me".into(), LIMIT);
        inbox.welcome(vec![member("a", 1, 0)]);
        for seq in 1..10_000 {
            inbox.data(&data("a", seq)).unwrap();
        }
        inbox.data(&data("a", 10_100)).unwrap();
        assert_eq!((inbox.len(), inbox.missed()), (0, 0));
        inbox.subscribe();
        inbox.subscribe();
        inbox.data(&data("a", 10_101)).unwrap();
        assert_eq!(told(&mut inbox), format!("+a a{}", 10_101_u64 as u8));
    }

    #[test]
    fn while_frames_are_dropped_they_are_counted_and_members_are_told_afterwards() {
        let mut inbox = inbox();
        inbox.welcome(vec![member("a", 1, 0), member("b", 1, 0)]);
        let mut seq = 0;
        while !inbox.is_full() {
            seq += 1;
            inbox.data(&data("a", seq)).unwrap();
        }
        inbox.start_dropping();
        assert!(!inbox.is_full(), "the connection goes on");
        for ahead in 1..=7 {
            inbox.data(&data("a", seq + ahead)).unwrap();
        }
        inbox.left("b");
        inbox.joined(&member("c", 1, 0));
        inbox.joined(&member("d", 1, 0));
        inbox.left("d");
        assert_eq!(inbox.missed(), 7);
        assert!(told(&mut inbox).starts_with("+a +b a1 "));
        assert_eq!(told(&mut inbox), "?7 -b +c");
        inbox.data(&data("a", seq + 8)).unwrap();
        assert_eq!(told(&mut inbox), format!("a{}", seq + 8));
    }

    #[test]
    fn departed_members_are_remembered_up_to_a_limit() {
        let mut inbox = inbox();
        for number in 0..MAX_DEPARTED * 2 {
            let id = number.to_string();
            inbox.joined(&member(&id, 1, 0));
            inbox.left(&id);
        }
        assert_eq!((inbox.peers.len(), inbox.departed.len()), (0, MAX_DEPARTED));
    }
}
