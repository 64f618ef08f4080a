//! Which channel carries what, and the way back from a channel to what it
//! carries.

use std::collections::HashMap;

use switchboard_plugin::types::{Room, Target};

use switchboard_plugin::wire::{json, values::room_name};

use crate::wire::Subscription;

/// The names of one cluster's channels.
#[derive(Debug, Clone)]
pub(in crate::wire) struct Channels {
    prefix: String,
    specific_responses: bool,
}

impl Channels {
    pub(in crate::wire) fn new(prefix: &str, specific_responses: bool) -> Self {
        Self {
            prefix: prefix.to_owned(),
            specific_responses,
        }
    }

    fn broadcasts(&self, namespace: &str) -> String {
        format!("{}#{namespace}#", self.prefix)
    }

    /// Broadcasts to exactly one room have a channel of their own. Written over `channel`.
    pub(super) fn broadcast(&self, namespace: &str, target: &Target, channel: &mut String) {
        channel.clear();
        let mut put = |parts: &[&str]| parts.iter().for_each(|part| channel.push_str(part));
        put(&[&self.prefix, "#", namespace, "#"]);
        if let [room] = target.rooms.as_slice() {
            put(&[&room_name(room), "#"]);
        }
    }

    pub(super) fn request(&self, namespace: &str) -> String {
        format!("{}-request#{namespace}#", self.prefix)
    }

    /// Where answers go, and whether only the asking node reads there.
    pub(super) fn response(&self, namespace: &str, recipient: Option<&str>) -> (String, bool) {
        match recipient {
            Some(node) if self.specific_responses => (self.specific(namespace, node), true),
            _ => (self.shared(namespace), false),
        }
    }

    fn shared(&self, namespace: &str) -> String {
        format!("{}-response#{namespace}#", self.prefix)
    }

    fn specific(&self, namespace: &str, node: &str) -> String {
        format!("{}-response#{namespace}#{node}#", self.prefix)
    }

    /// What only our nodes subscribe to. Node's pattern `prefix#…` does not match it.
    pub(super) fn own(&self, namespace: &str) -> String {
        format!("{}-switchboard#{namespace}#", self.prefix)
    }
}

/// What a subscription delivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::wire) enum Place {
    Broadcasts {
        namespace: String,
        /// What stands before the room in a channel's name.
        prefix: String,
    },
    Requests {
        namespace: String,
    },
    Responses {
        namespace: String,
        /// Only for this node.
        own: bool,
    },
    Own {
        namespace: String,
    },
}

/// What is subscribed, by the pattern or the channel as the backend names it.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    channels: HashMap<String, Place>,
    patterns: HashMap<String, Place>,
}

impl Places {
    pub(super) fn enter(
        &mut self,
        channels: &Channels,
        namespace: &str,
        node: &str,
    ) -> Vec<Subscription> {
        let places = places(channels, namespace, node);
        for (subscription, place) in &places {
            let (map, name) = match subscription {
                Subscription::Pattern(name) => (&mut self.patterns, name),
                Subscription::Channel(name) | Subscription::Shard(name) => {
                    (&mut self.channels, name)
                }
            };
            map.insert(name.clone(), place.clone());
        }
        places
            .into_iter()
            .map(|(subscription, _)| subscription)
            .collect()
    }

    pub(super) fn leave(
        &mut self,
        channels: &Channels,
        namespace: &str,
        node: &str,
    ) -> Vec<Subscription> {
        let places = places(channels, namespace, node);
        for (subscription, _) in &places {
            match subscription {
                Subscription::Pattern(name) => self.patterns.remove(name),
                Subscription::Channel(name) | Subscription::Shard(name) => {
                    self.channels.remove(name)
                }
            };
        }
        places
            .into_iter()
            .map(|(subscription, _)| subscription)
            .collect()
    }

    /// The subscription that delivers what is published on a channel. Without its pattern, each
    /// that may.
    pub(super) fn of<'p>(
        &'p self,
        pattern: Option<&[u8]>,
        channel: &[u8],
    ) -> impl Iterator<Item = &'p Place> + use<'p> {
        let find = |map: &'p HashMap<String, Place>, name: &[u8]| {
            std::str::from_utf8(name)
                .ok()
                .and_then(|name| map.get(name))
        };
        let (named, any) = match pattern {
            Some(pattern) => (find(&self.patterns, pattern), None),
            None => match find(&self.channels, channel) {
                Some(place) => (Some(place), None),
                None => (None, Some(self.patterns.values())),
            },
        };
        named.into_iter().chain(any.into_iter().flatten())
    }
}

fn places(channels: &Channels, namespace: &str, node: &str) -> Vec<(Subscription, Place)> {
    let namespace = || namespace.to_owned();
    let prefix = channels.broadcasts(&namespace());
    vec![
        (
            Subscription::Pattern(format!("{}*", escape(&prefix))),
            Place::Broadcasts {
                namespace: namespace(),
                prefix,
            },
        ),
        (
            // Being subscribed here is what counts a server.
            Subscription::Channel(channels.request(&namespace())),
            Place::Requests {
                namespace: namespace(),
            },
        ),
        (
            Subscription::Channel(channels.shared(&namespace())),
            Place::Responses {
                namespace: namespace(),
                own: false,
            },
        ),
        (
            Subscription::Channel(channels.specific(&namespace(), node)),
            Place::Responses {
                namespace: namespace(),
                own: true,
            },
        ),
        (
            Subscription::Channel(channels.own(&namespace())),
            Place::Own {
                namespace: namespace(),
            },
        ),
    ]
}

/// A name in which Redis' glob finds nothing special. Node leaves names as they are, so that some
/// do not match themselves.
fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for char in name.chars() {
        if matches!(char, '*' | '?' | '[' | ']' | '\\') {
            escaped.push('\\');
        }
        escaped.push(char);
    }
    escaped
}

/// The room in a broadcast channel's name; empty on the main channel. None: another channel.
pub(super) fn room<'c>(prefix: &str, channel: &'c [u8]) -> Option<&'c str> {
    let rest = std::str::from_utf8(channel).ok()?.strip_prefix(prefix)?;
    if rest.is_empty() {
        return Some(rest);
    }
    rest.strip_suffix('#')
}

/// What a room of this name may be: the text, and the number that JavaScript prints like it.
pub(super) fn rooms_of(name: &str) -> impl Iterator<Item = Room> {
    let number = name.parse().ok();
    let number =
        number.filter(|number: &f64| number.is_finite() && json::javascript(*number) == name);
    [Some(Room::Text(name.to_owned())), number.map(Room::Number)]
        .into_iter()
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_its_namespace_and_nothing_by_accident() {
        assert_eq!(escape("io#/we[i]rd*?\\#"), "io#/we\\[i\\]rd\\*\\?\\\\#");
    }

    #[test]
    fn the_room_is_read_from_the_channel() {
        for (channel, expected) in [
            ("io#/#", Some("")),
            ("io#/#a#", Some("a")),
            ("io#/#a#b##", Some("a#b#")),
            // The room that is called nothing: Node takes its channel for the main one.
            ("io#/##", Some("")),
            ("io#/#a", None),
            ("io#/chat#", None),
        ] {
            assert_eq!(room("io#/#", channel.as_bytes()), expected, "{channel}");
        }
        assert_eq!(room("io#/#", b"io#/#\xff#"), None);
    }

    #[test]
    fn a_room_may_be_a_number_if_javascript_prints_it_so() {
        let numbers = |name: &str| {
            rooms_of(name)
                .filter(|room| matches!(room, Room::Number(_)))
                .count()
        };
        for (name, expected) in [
            ("42", 1),
            ("-1.5", 1),
            ("1e+21", 1),
            ("0", 1),
            ("042", 0),
            ("42 ", 0),
            ("4.0", 0),
            ("inf", 0),
            ("NaN", 0),
            ("a", 0),
            ("", 0),
            ("1e21", 0),
        ] {
            assert_eq!(numbers(name), expected, "{name}");
        }
    }
}
