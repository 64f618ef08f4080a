//! What a subscription wants, and what of it Redis has confirmed. No I/O: the connections
//! ([`super::feed`]) look up here what they have to do, and write down what they heard.
//!
//! Each name has a home, the connection over which it comes. A connection that is lost makes a gap;
//! the gap is over, and told to the plugin, when all names at home there are confirmed again.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt,
    sync::Arc,
    time::Instant,
};

use tokio::sync::Notify;

use crate::capabilities::redis::{trouble::Trouble, url::Address};

/// A gap that nobody is to blame for.
const SLOT_MOVED: &str = "the slot of a shard channel has moved";

/// How a name is subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// `SUBSCRIBE`
    Channel,
    /// `PSUBSCRIBE`
    Pattern,
    /// `SSUBSCRIBE`
    Shard,
}

/// A name with its kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) kind: Kind,
    pub(super) name: Arc<str>,
}

/// A connection of a subscription.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Home {
    /// The only one, or in a cluster the one to any node, for what is not sharded.
    Main,
    /// The one to the node that owns the slots of shard channels.
    Node(Address),
}

impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Main => f.write_str("any node"),
            Self::Node(address) => fmt::Display::fmt(address, f),
        }
    }
}

/// Where a name stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stand {
    Wanted,
    Confirmed,
    /// Redis refused it the first time; it waits here for the one who asked.
    Refused(String),
}

#[derive(Debug)]
struct Name {
    home: Option<Home>,
    stand: Stand,
    was_confirmed: bool,
}

/// One connection, seen from here.
#[derive(Debug, Default)]
struct Feed {
    /// Names that may have to be subscribed or left.
    dirty: HashSet<Key>,
    /// Why messages were missed, until that is told.
    gap: Option<String>,
    trouble: Option<(Instant, Trouble)>,
    /// There is something to do.
    changed: Arc<Notify>,
    /// Where it leads now.
    at: Option<Address>,
    /// It must not stay there.
    must_move: bool,
}

/// The names of one subscription.
#[derive(Debug)]
pub(super) struct Names {
    is_cluster: bool,
    names: HashMap<Key, Name>,
    feeds: HashMap<Home, Feed>,
    /// How many of them Redis has neither confirmed nor refused.
    unconfirmed: usize,
}

/// What came of names that were asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Settled {
    All,
    Refused(String),
    NotYet,
}

impl Names {
    pub(super) fn new(is_cluster: bool) -> Self {
        Self {
            is_cluster,
            names: HashMap::new(),
            feeds: HashMap::new(),
            unconfirmed: 0,
        }
    }

    // What the plugin's calls need.

    /// Those of the names that are not there yet.
    pub(super) fn missing<'a>(&self, keys: &'a [Key]) -> HashSet<&'a Key> {
        let is_there = |key: &&Key| match self.names.get(*key) {
            Some(name) => !matches!(name.stand, Stand::Refused(_)),
            None => false,
        };
        keys.iter().filter(|key| !is_there(key)).collect()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    pub(super) fn unconfirmed(&self) -> usize {
        self.unconfirmed
    }

    /// Wants a name.
    pub(super) fn add(&mut self, key: &Key) {
        if let Some(name) = self.names.get(key) {
            if !matches!(name.stand, Stand::Refused(_)) {
                return;
            }
            self.names.remove(key);
        }
        let home = (!self.is_sharded(key.kind)).then_some(Home::Main);
        if let Some(home) = &home {
            self.mark(home.clone(), key);
        }
        self.unconfirmed += 1;
        let name = Name {
            home,
            stand: Stand::Wanted,
            was_confirmed: false,
        };
        self.names.insert(key.clone(), name);
    }

    /// Wants a name no longer.
    pub(super) fn remove(&mut self, key: &Key) {
        let Some(name) = self.names.remove(key) else {
            return;
        };
        self.unconfirmed -= usize::from(name.stand == Stand::Wanted);
        if let Some(home) = name.home {
            self.mark(home, key);
        }
    }

    /// The names of a kind, sorted.
    pub(super) fn of(&self, kind: Kind) -> BTreeSet<Arc<str>> {
        let is_wanted = |name: &Name| !matches!(name.stand, Stand::Refused(_));
        self.names
            .iter()
            .filter(|(key, name)| key.kind == kind && is_wanted(name))
            .map(|(key, _)| Arc::clone(&key.name))
            .collect()
    }

    /// Are these confirmed? Refused ones are forgotten.
    pub(super) fn settle(&mut self, keys: &[Key]) -> Settled {
        let mut refusal = None;
        let mut all = true;
        for key in keys {
            match self.names.get(key).map(|name| &name.stand) {
                Some(Stand::Wanted) => all = false,
                Some(Stand::Refused(why)) => refusal = Some((key, why.clone())),
                // Taken out meanwhile: not waited for.
                Some(Stand::Confirmed) | None => {}
            }
        }
        if !all {
            return Settled::NotYet;
        }
        let Some((_, why)) = refusal else {
            return Settled::All;
        };
        for key in keys {
            if matches!(
                self.names.get(key).map(|n| &n.stand),
                Some(Stand::Refused(_))
            ) {
                self.names.remove(key);
            }
        }
        Settled::Refused(why)
    }

    /// Why a connection has been away for this long, and since when.
    pub(super) fn trouble(&self) -> Option<(Instant, &Trouble)> {
        let troubles = self.feeds.values().filter_map(|feed| feed.trouble.as_ref());
        let oldest = troubles.min_by_key(|(since, _)| *since)?;
        Some((oldest.0, &oldest.1))
    }

    // What the connections need.

    /// The bell of a connection.
    pub(super) fn changed(&mut self, home: &Home) -> Arc<Notify> {
        Arc::clone(&self.feed(home.clone()).changed)
    }

    /// A connection stands, and knows no names.
    pub(super) fn connected(&mut self, home: &Home, at: Option<Address>) {
        let own = self
            .names
            .iter()
            .filter(|(_, name)| name.home.as_ref() == Some(home));
        let dirty = own.map(|(key, _)| key.clone()).collect();
        let feed = self.feed(home.clone());
        feed.dirty = dirty;
        feed.trouble = None;
        feed.at = at;
        feed.must_move = false;
    }

    /// It is lost, or could not be made.
    pub(super) fn lost(&mut self, home: &Home, trouble: &Trouble) {
        let mut had_any = false;
        for name in self.names.values_mut() {
            if name.home.as_ref() == Some(home) && name.stand == Stand::Confirmed {
                name.stand = Stand::Wanted;
                self.unconfirmed += 1;
                had_any = true;
            }
        }
        let feed = self.feed(home.clone());
        if had_any {
            feed.gap.get_or_insert_with(|| trouble.public.clone());
        }
        let since = feed
            .trouble
            .as_ref()
            .map_or_else(Instant::now, |(since, _)| *since);
        feed.trouble = Some((since, trouble.clone()));
        feed.at = None;
    }

    /// What the connection has to look at.
    pub(super) fn take_dirty(&mut self, home: &Home) -> HashSet<Key> {
        std::mem::take(&mut self.feed(home.clone()).dirty)
    }

    /// Does this name come over this connection?
    pub(super) fn is_at(&self, key: &Key, home: &Home) -> bool {
        self.names.get(key).is_some_and(|name| {
            name.home.as_ref() == Some(home) && !matches!(name.stand, Stand::Refused(_))
        })
    }

    /// Redis confirmed it on this connection.
    pub(super) fn confirm(&mut self, key: &Key, home: &Home) {
        if let Some(name) = self.names.get_mut(key)
            && name.home.as_ref() == Some(home)
            && name.stand == Stand::Wanted
        {
            name.stand = Stand::Confirmed;
            name.was_confirmed = true;
            self.unconfirmed -= 1;
        }
    }

    /// Redis refused it. False: it had been confirmed before, so that this is not an answer to the
    /// plugin.
    pub(super) fn refuse(&mut self, key: &Key, home: &Home, why: &str) -> bool {
        let Some(name) = self.names.get_mut(key) else {
            return true;
        };
        if name.home.as_ref() != Some(home) {
            return true;
        }
        if name.was_confirmed {
            return false;
        }
        if name.stand == Stand::Wanted {
            self.unconfirmed -= 1;
        }
        name.stand = Stand::Refused(why.to_owned());
        true
    }

    /// Redis took it away, because its slot is no longer there.
    pub(super) fn evicted(&mut self, key: &Key, home: &Home) {
        let Some(name) = self.names.get_mut(key) else {
            return;
        };
        if name.home.as_ref() != Some(home) {
            return;
        }
        if name.stand == Stand::Confirmed {
            name.stand = Stand::Wanted;
            self.unconfirmed += 1;
            self.feed(home.clone())
                .gap
                .get_or_insert_with(|| SLOT_MOVED.to_owned());
        }
    }

    /// The gap to tell, when there is nothing more to be confirmed on this connection.
    pub(super) fn take_gap(&mut self, home: &Home) -> Option<String> {
        let feed = self.feeds.get(home)?;
        if feed.gap.is_none() || !feed.dirty.is_empty() || self.is_waiting(home) {
            return None;
        }
        self.feed(home.clone()).gap.take()
    }

    /// Is there a name that this connection has not got yet?
    fn is_waiting(&self, home: &Home) -> bool {
        self.names
            .values()
            .any(|name| name.home.as_ref() == Some(home) && name.stand == Stand::Wanted)
    }

    /// Must the connection go elsewhere?
    pub(super) fn must_move(&self, home: &Home) -> bool {
        self.feeds.get(home).is_some_and(|feed| feed.must_move)
    }

    // What a cluster needs.

    /// Is this kind at the owner of its slot?
    fn is_sharded(&self, kind: Kind) -> bool {
        self.is_cluster && kind == Kind::Shard
    }

    /// Gives every shard channel the home that it should have. Returns the homes in use.
    pub(super) fn assign(&mut self, owner: impl Fn(&str) -> Option<Address>) -> HashSet<Home> {
        let mut moves = Vec::new();
        let mut again = Vec::new();
        let mut left = HashSet::new();
        let mut used = HashSet::new();
        for (key, name) in &mut self.names {
            let should = match self.is_cluster && key.kind == Kind::Shard {
                true => owner(&key.name).map(Home::Node),
                false => Some(Home::Main),
            };
            // A slot without an owner stays where it was: it will have one again.
            let should = should.or_else(|| name.home.clone());
            used.extend(should.clone());
            if should == name.home {
                if self.is_cluster && name.stand == Stand::Wanted {
                    // Taken away, and now it is said to be here all the same: asking again is
                    // harmless.
                    again.extend(should.map(|home| (key.clone(), home)));
                }
                continue;
            }
            let from = std::mem::replace(&mut name.home, should.clone());
            if name.stand == Stand::Confirmed {
                name.stand = Stand::Wanted;
                self.unconfirmed += 1;
            }
            moves.push((key.clone(), from, should, name.was_confirmed));
        }
        for (key, home) in again {
            self.mark(home, &key);
        }
        for (key, from, to, was_confirmed) in moves {
            let mut why = None;
            if let Some(from) = from {
                why = self.feeds.get(&from).and_then(|feed| feed.gap.clone());
                self.mark(from.clone(), &key);
                left.insert(from);
            }
            let Some(to) = to else { continue };
            self.mark(to.clone(), &key);
            if was_confirmed {
                let why = why.unwrap_or_else(|| SLOT_MOVED.to_owned());
                self.feed(to).gap.get_or_insert(why);
            }
        }
        for home in left {
            // What was missed there is told where the names are now, unless that connection is
            // lost and misses more.
            let is_waiting = self.is_waiting(&home);
            let feed = self.feed(home);
            if feed.trouble.is_none() && !is_waiting {
                feed.gap = None;
            }
        }
        used
    }

    /// Forgets a connection that has no names any more. Its gap went with them.
    pub(super) fn forget(&mut self, home: &Home) {
        self.feeds.remove(home);
    }

    /// Sends connections away from nodes that are not in the cluster any more.
    pub(super) fn leave_nodes(&mut self, is_in: impl Fn(&Address) -> bool) {
        for feed in self.feeds.values_mut() {
            if feed.at.as_ref().is_some_and(|at| !is_in(at)) {
                feed.must_move = true;
                feed.changed.notify_one();
            }
        }
    }

    fn mark(&mut self, home: Home, key: &Key) {
        let feed = self.feed(home);
        feed.dirty.insert(key.clone());
        feed.changed.notify_one();
    }

    fn feed(&mut self, home: Home) -> &mut Feed {
        self.feeds.entry(home).or_default()
    }
}
