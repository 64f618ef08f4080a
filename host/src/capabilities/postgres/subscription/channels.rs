//! What a subscription wants, and what of it the present connection listens on. No I/O.

use std::{collections::BTreeSet, sync::Arc};

use tokio::time::Instant;

use crate::capabilities::postgres::trouble::Trouble;

/// Channels that one command names: a connection that is busy with more for long answers no ping.
const CHANNELS_AT_ONCE: usize = 1000;

#[derive(Debug, Default)]
pub(super) struct Channels {
    wanted: BTreeSet<Arc<str>>,
    /// Confirmed on the present connection, and nothing else was said about it since.
    listening: BTreeSet<Arc<str>>,
    /// `wanted` and `listening` may differ.
    is_dirty: bool,
    /// Why there is no connection, and since when. None at first, when nothing was tried.
    trouble: Option<(Instant, Trouble)>,
    /// Something may have been missed, and nobody was told yet: why.
    gap: Option<String>,
}

/// What a connection has to say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) leave: Vec<Arc<str>>,
    pub(super) add: Vec<Arc<str>>,
}

impl Channels {
    /// Adds all of them, or none if that would be more than `limit`: then false.
    pub(super) fn add(&mut self, names: &[Arc<str>], limit: usize) -> bool {
        let new: BTreeSet<&Arc<str>> = names
            .iter()
            .filter(|name| !self.wanted.contains(*name))
            .collect();
        if self.wanted.len() + new.len() > limit {
            return false;
        }
        self.wanted.extend(new.into_iter().cloned());
        self.is_dirty = true;
        true
    }

    pub(super) fn remove(&mut self, names: &[String]) {
        for name in names {
            self.is_dirty |= self.wanted.remove(name.as_str());
        }
    }

    pub(super) fn wanted(&self) -> impl Iterator<Item = &Arc<str>> {
        self.wanted.iter()
    }

    /// The same text, but shared.
    pub(super) fn shared(&self, name: &str) -> Arc<str> {
        match self.wanted.get(name) {
            Some(name) => Arc::clone(name),
            None => Arc::from(name),
        }
    }

    /// Each is listened on, or was taken out again.
    pub(super) fn are_settled(&self, names: &[Arc<str>]) -> bool {
        let mut names = names.iter();
        names.all(|name| self.listening.contains(name) || !self.wanted.contains(name))
    }

    pub(super) fn unconfirmed(&self) -> usize {
        self.wanted.difference(&self.listening).count()
    }

    pub(super) fn trouble(&self) -> Option<(Instant, &Trouble)> {
        self.trouble
            .as_ref()
            .map(|(since, trouble)| (*since, trouble))
    }

    /// A new connection stands. What it has to say first is everything, as one command, so that there
    /// is one moment from which on nothing is missed.
    pub(super) fn connected(&mut self) -> Change {
        self.listening.clear();
        self.is_dirty = false;
        Change {
            leave: Vec::new(),
            add: self.wanted.iter().cloned().collect(),
        }
    }

    /// What is to be said next, if anything.
    pub(super) fn change(&mut self) -> Option<Change> {
        if !self.is_dirty {
            return None;
        }
        let diff = |a: &BTreeSet<Arc<str>>, b| -> Vec<Arc<str>> {
            a.difference(b).take(CHANNELS_AT_ONCE).cloned().collect()
        };
        let change = Change {
            leave: diff(&self.listening, &self.wanted),
            add: diff(&self.wanted, &self.listening),
        };
        if change.leave.is_empty() && change.add.is_empty() {
            self.is_dirty = false;
            return None;
        }
        // At once: who wants one of them back must wait until it was said again.
        for name in &change.leave {
            self.listening.remove(name);
        }
        Some(change)
    }

    /// The connection has confirmed it.
    pub(super) fn applied(&mut self, change: Change) {
        self.listening.extend(change.add);
        self.trouble = None;
    }

    /// The connection is gone, or could not be made.
    pub(super) fn lost(&mut self, trouble: &Trouble) {
        if !self.listening.is_empty() {
            self.gap.get_or_insert_with(|| trouble.public.clone());
        }
        self.listening.clear();
        let since = self.trouble.as_ref().map(|(since, _)| *since);
        self.trouble = Some((since.unwrap_or_else(Instant::now), trouble.clone()));
    }

    /// Why something was missed, once.
    pub(super) fn take_gap(&mut self) -> Option<String> {
        self.gap.take()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn arcs(names: &[&str]) -> Vec<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    fn strings(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn listening(names: &[&str]) -> Channels {
        let mut channels = Channels::default();
        assert!(channels.add(&arcs(names), 100));
        let all = channels.connected();
        channels.applied(all);
        channels
    }

    #[test]
    fn a_channel_that_is_wanted_again_while_it_is_left_must_be_confirmed_again() {
        let mut channels = listening(&["a", "b"]);
        channels.remove(&strings(&["a"]));
        let leaving = channels.change().unwrap();
        assert_eq!(leaving.leave, arcs(&["a"]));
        channels.add(&arcs(&["a"]), 100);
        assert!(!channels.are_settled(&arcs(&["a"])));
        channels.applied(leaving);
        assert!(!channels.are_settled(&arcs(&["a"])));
        let back = channels.change().unwrap();
        assert_eq!((back.leave.len(), &back.add), (0, &arcs(&["a"])));
        channels.applied(back);
        assert!(channels.are_settled(&arcs(&["a", "b"])));
        assert_eq!(channels.change(), None);
    }

    #[test]
    fn a_channel_that_is_left_before_it_was_confirmed_is_left() {
        let mut channels = listening(&[]);
        channels.add(&arcs(&["a"]), 100);
        let adding = channels.change().unwrap();
        channels.remove(&strings(&["a"]));
        assert!(channels.are_settled(&arcs(&["a"])), "nobody waits for it");
        channels.applied(adding);
        assert_eq!(channels.change().unwrap().leave, arcs(&["a"]));
    }

    #[test]
    fn several_losses_before_listening_again_are_one_gap() {
        let mut channels = listening(&["a"]);
        channels.lost(&Trouble::away("first"));
        let since = channels.trouble().unwrap().0;
        channels.lost(&Trouble::away("second"));
        assert_eq!(channels.trouble().unwrap().0, since);
        assert_eq!(channels.trouble().unwrap().1.public, "second");
        let all = channels.connected();
        assert!(!channels.are_settled(&arcs(&["a"])));
        channels.applied(all);
        assert_eq!(channels.take_gap().as_deref(), Some("first"));
        assert_eq!(channels.take_gap(), None);
        assert!(channels.trouble().is_none());
    }

    #[test]
    fn without_a_confirmed_channel_nothing_is_missed() {
        let mut channels = Channels::default();
        channels.add(&arcs(&["a"]), 100);
        channels.lost(&Trouble::away("x"));
        assert_eq!(channels.take_gap(), None);
    }

    #[test]
    fn channels_over_the_limit_are_refused_together() {
        let mut channels = listening(&["a", "b"]);
        assert!(!channels.add(&arcs(&["b", "c", "d"]), 3));
        assert_eq!(channels.wanted().count(), 2);
        assert!(channels.add(&arcs(&["b", "c", "c"]), 3));
    }
}
