//! From letters to messages, for one subject: parts are put together, what comes twice is dropped, and
//! what is missing is counted.
//!
//! NATS delivers what one connection publishes in its order, and each sender of ours has one
//! connection at a time. So a place that is skipped is a message that will not come.

use std::{borrow::Cow, collections::HashMap};

use serde::{Deserialize, Serialize};
use switchboard_plugin::wire::MAX_MESSAGE_BYTES;

use super::letter::{Head, NoLetter};

/// Senders of one subject that are known; of more, those are forgotten that were silent for longest.
const MAX_SENDERS: usize = 10_000;

/// What is known of the senders of one subject.
#[derive(Debug, Clone, Default)]
pub struct Inbox {
    senders: HashMap<String, Sender>,
    /// Grows with each letter.
    clock: u64,
    /// Messages of which some parts are there.
    unfinished: usize,
}

#[derive(Debug, Clone, Default)]
struct Sender {
    stand: Stand,
    parts: Option<Parts>,
    heard: u64,
}

/// Where a sender stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stand {
    /// The highest number of a message that was whole.
    number: Option<u64>,
    epoch: u64,
    seq: u64,
    /// The message at this place is not whole.
    is_open: bool,
}

/// The first parts of a message.
#[derive(Debug, Clone)]
struct Parts {
    bytes: Vec<u8>,
    next: u32,
    /// Where in the stream the first one stands.
    began_at: u64,
}

/// What a letter came to.
#[derive(Debug, PartialEq, Eq)]
pub struct Taken<'a> {
    /// Messages of this sender in front of it that will never come.
    pub missed: u64,
    /// A message that is whole and new.
    pub message: Option<Cow<'a, [u8]>>,
    /// Who sent it, as a token.
    pub node: &'a str,
}

impl Inbox {
    /// Takes a letter that stands at this place in the stream. Those of `own` are passed over.
    ///
    /// # Errors
    /// It is no letter of ours.
    pub fn take<'a>(
        &mut self,
        own: &str,
        payload: &'a [u8],
        at: u64,
    ) -> Result<Taken<'a>, NoLetter> {
        let (head, body) = Head::read(payload)?;
        let mut taken = Taken {
            missed: 0,
            message: None,
            node: head.node,
        };
        if head.node == own {
            return Ok(taken);
        }
        self.clock += 1;
        if !self.senders.contains_key(head.node) {
            self.make_room();
            let sender = Sender::new(&head);
            self.senders.insert(head.node.to_owned(), sender);
        }
        let Some(sender) = self.senders.get_mut(head.node) else {
            return Ok(taken);
        };
        sender.heard = self.clock;
        let was_unfinished = sender.parts.is_some();
        taken.missed = sender.step(&head);
        taken.message = sender.put(&head, body, at);
        self.unfinished += usize::from(sender.parts.is_some());
        self.unfinished -= usize::from(was_unfinished);
        Ok(taken)
    }

    /// Where the oldest message begins of which parts are missing.
    pub fn held_from(&self) -> Option<u64> {
        if self.unfinished == 0 {
            return None;
        }
        let parts = self
            .senders
            .values()
            .filter_map(|sender| sender.parts.as_ref());
        parts.map(|parts| parts.began_at).min()
    }

    /// What is missing of any message will not come: the connection is another one.
    pub fn cut(&mut self) {
        self.unfinished = 0;
        self.senders
            .values_mut()
            .for_each(|sender| sender.parts = None);
    }

    /// Where the senders stand, those first that were heard last.
    pub fn stands(&self) -> Vec<(&str, &Stand)> {
        let mut senders: Vec<_> = self.senders.iter().collect();
        senders.sort_unstable_by_key(|(_, sender)| std::cmp::Reverse(sender.heard));
        let senders = senders.into_iter();
        senders
            .map(|(node, sender)| (node.as_str(), &sender.stand))
            .collect()
    }

    /// Goes on where a predecessor stood.
    pub fn restore(&mut self, node: String, stand: Stand) {
        if self.senders.len() < MAX_SENDERS {
            let sender = Sender {
                stand,
                ..Sender::default()
            };
            self.senders.insert(node, sender);
        }
    }

    fn make_room(&mut self) {
        if self.senders.len() < MAX_SENDERS {
            return;
        }
        let mut heard: Vec<u64> = self.senders.values().map(|sender| sender.heard).collect();
        heard.sort_unstable();
        let middle = heard.get(heard.len() / 2).copied().unwrap_or_default();
        self.senders.retain(|_, sender| sender.heard > middle);
        let unfinished = self
            .senders
            .values()
            .filter(|sender| sender.parts.is_some());
        self.unfinished = unfinished.count();
    }
}

impl Sender {
    /// As it is when its first letter comes: nothing before that is missed.
    fn new(head: &Head<'_>) -> Self {
        let stand = Stand {
            number: None,
            epoch: head.epoch,
            seq: head.seq,
            is_open: false,
        };
        Self {
            stand,
            ..Self::default()
        }
    }

    /// Goes to the place of this letter. How many messages are missing in front of it?
    fn step(&mut self, head: &Head<'_>) -> u64 {
        let stand = &mut self.stand;
        let open = u64::from(stand.is_open);
        let missed = match head.epoch.cmp(&stand.epoch) {
            // From a publisher that is no more, overtaken by its successor.
            std::cmp::Ordering::Less => return 0,
            // What the one before had sent last cannot be known.
            std::cmp::Ordering::Greater => head.seq + open,
            std::cmp::Ordering::Equal if head.seq <= stand.seq => return 0,
            std::cmp::Ordering::Equal => head.seq - stand.seq - 1 + open,
        };
        stand.epoch = head.epoch;
        stand.seq = head.seq;
        stand.is_open = false;
        self.parts = None;
        missed
    }

    /// The message, if it is whole with this part and was not there before.
    fn put<'a>(&mut self, head: &Head<'_>, body: &'a [u8], at: u64) -> Option<Cow<'a, [u8]>> {
        if self
            .stand
            .number
            .is_some_and(|number| head.number <= number)
        {
            return None;
        }
        if head.parts == 1 {
            self.stand.number = Some(head.number);
            return Some(Cow::Borrowed(body));
        }
        let is_here = head.epoch == self.stand.epoch && head.seq == self.stand.seq;
        if is_here && head.part == 0 {
            self.stand.is_open = true;
            self.parts = Some(Parts {
                bytes: Vec::new(),
                next: 0,
                began_at: at,
            });
        }
        let parts = self.parts.as_mut()?;
        let is_next = is_here && head.part == parts.next;
        if !is_next || parts.bytes.len() + body.len() > MAX_MESSAGE_BYTES {
            // Its place stays open, and is counted when the next message comes.
            self.parts = None;
            return None;
        }
        parts.bytes.extend_from_slice(body);
        parts.next += 1;
        if parts.next < head.parts {
            return None;
        }
        let whole = self.parts.take()?;
        self.stand.number = Some(head.number);
        self.stand.is_open = false;
        Some(Cow::Owned(whole.bytes))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn letter(node: &str, epoch: u64, [number, seq]: [u64; 2], [part, parts]: [u32; 2]) -> Vec<u8> {
        let head = Head {
            number,
            epoch,
            seq,
            part,
            parts,
            node,
        };
        let body = format!(
            "{number}{}",
            ["", "a", "b", "c"][part as usize + usize::from(parts > 1)]
        );
        [head.line().as_bytes(), body.as_bytes()].concat()
    }

    /// What arrives, as text; `?n` stands for n missed messages.
    fn taken(inbox: &mut Inbox, letters: &[Vec<u8>]) -> String {
        let mut texts = Vec::new();
        for (at, letter) in letters.iter().enumerate() {
            let taken = inbox.take("me", letter, at as u64).unwrap();
            if taken.missed > 0 {
                texts.push(format!("?{}", taken.missed));
            }
            let text = |message: Cow<'_, [u8]>| String::from_utf8(message.into_owned()).unwrap();
            texts.extend(taken.message.map(text));
        }
        texts.join(" ")
    }

    /// Whole messages of a first epoch.
    fn plain(numbers: &[[u64; 2]]) -> Vec<Vec<u8>> {
        let one = |ids: &[u64; 2]| letter("a", 1, *ids, [0, 1]);
        numbers.iter().map(one).collect()
    }

    #[test]
    fn messages_come_once_and_gaps_are_counted_where_they_are() {
        let letters = plain(&[[5, 2], [6, 3], [6, 3], [5, 2], [9, 5], [12, 9]]);
        assert_eq!(taken(&mut Inbox::default(), &letters), "5 6 ?1 9 ?3 12");
    }

    #[test]
    fn a_batch_that_is_sent_again_by_the_next_publisher_is_dropped_where_it_is_known() {
        let mut letters = plain(&[[1, 0], [2, 1]]);
        for (number, seq) in [(1, 0), (2, 1), (3, 2)] {
            letters.push(letter("a", 2, [number, seq], [0, 1]));
        }
        // Late, from the one before.
        letters.push(letter("a", 1, [3, 2], [0, 1]));
        letters.push(letter("a", 2, [4, 3], [0, 1]));
        assert_eq!(taken(&mut Inbox::default(), &letters), "1 2 3 4");
        // What the next publisher sent first was missed.
        let mut letters = plain(&[[1, 0]]);
        letters.push(letter("a", 2, [4, 2], [0, 1]));
        assert_eq!(taken(&mut Inbox::default(), &letters), "1 ?2 4");
    }

    #[test]
    fn senders_are_counted_apart_and_what_is_our_own_is_passed_over() {
        let mut letters = plain(&[[1, 0]]);
        letters.push(letter("b", 9, [1, 7], [0, 1]));
        letters.push(letter("me", 9, [1, 7], [0, 1]));
        letters.push(letter("a", 1, [2, 1], [0, 1]));
        assert_eq!(taken(&mut Inbox::default(), &letters), "1 1 2");
    }

    #[test]
    fn parts_are_put_together_and_a_missing_one_costs_the_message() {
        let part = |ids, part| letter("a", 1, ids, [part, 3]);
        let one = [4, 1];
        let mut inbox = Inbox::default();
        let letters = [part(one, 0), part(one, 1), part(one, 2)];
        assert_eq!(taken(&mut inbox, &letters), "4a4b4c");
        assert_eq!(inbox.held_from(), None);
        let (two, three) = ([5, 2], [6, 3]);
        let letters = [
            part(two, 0),
            part(two, 2),
            part(three, 0),
            part(three, 1),
            letter("b", 1, [1, 1], [0, 1]),
        ];
        assert_eq!(taken(&mut inbox, &letters), "?1 1");
        assert_eq!(inbox.held_from(), Some(2), "the third one is not whole");
        assert_eq!(taken(&mut inbox, &[part(three, 2)]), "6a6b6c");
        assert_eq!(inbox.held_from(), None);
    }

    #[test]
    fn a_successor_reads_again_what_was_held_and_takes_nothing_twice() {
        let part = |part| letter("a", 1, [4, 1], [part, 2]);
        let other = letter("b", 1, [1, 1], [0, 1]);
        let stream = [part(0), other, part(1)];
        let mut first = Inbox::default();
        assert_eq!(taken(&mut first, &stream[..2]), "1");
        assert_eq!(first.held_from(), Some(0));
        let mut second = Inbox::default();
        for (node, stand) in first.stands() {
            second.restore(node.to_owned(), stand.clone());
        }
        assert_eq!(taken(&mut second, &stream), "4a4b");
    }

    #[test]
    fn after_a_cut_an_unfinished_message_is_missed() {
        let mut inbox = Inbox::default();
        assert_eq!(taken(&mut inbox, &[letter("a", 1, [4, 1], [0, 2])]), "");
        inbox.cut();
        assert_eq!(inbox.held_from(), None);
        assert_eq!(taken(&mut inbox, &[letter("a", 1, [4, 1], [1, 2])]), "");
        assert_eq!(taken(&mut inbox, &[letter("a", 1, [5, 2], [0, 1])]), "?1 5");
    }

    #[test]
    fn of_too_many_senders_the_silent_ones_are_forgotten() {
        let mut inbox = Inbox::default();
        for n in 0..=MAX_SENDERS {
            let letter = letter(&format!("n{n}"), 1, [1, 0], [0, 1]);
            inbox.take("me", &letter, 0).unwrap();
        }
        assert!(
            inbox.senders.len() <= MAX_SENDERS,
            "{}",
            inbox.senders.len()
        );
        assert!(inbox.senders.contains_key(&format!("n{MAX_SENDERS}")));
        assert!(!inbox.senders.contains_key("n0"));
    }
}
