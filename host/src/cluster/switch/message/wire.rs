//! The messages as JSON.

use serde::{Deserialize, Serialize};

use super::{ControlMessage, FORMAT, MAX_MESSAGE_BYTES};

#[derive(Serialize)]
struct Written<'a> {
    v: u32,
    #[serde(flatten)]
    message: &'a ControlMessage,
}

/// Read first, because the rest of another version's message can be anything.
#[derive(Deserialize)]
struct Envelope {
    v: u32,
}

pub(super) fn encode(message: &ControlMessage) -> String {
    let written = Written { v: FORMAT, message };
    // Cannot fail: there are no maps with other keys than strings. What is empty is not understood.
    serde_json::to_string(&written).unwrap_or_default()
}

pub(super) fn decode(text: &str) -> Option<ControlMessage> {
    if text.len() > MAX_MESSAGE_BYTES {
        return None;
    }
    let envelope: Envelope = serde_json::from_str(text).ok()?;
    (envelope.v == FORMAT)
        .then(|| serde_json::from_str(text).ok())
        .flatten()
}

/// A text of limited length.
pub(super) mod text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::super::{MAX_TEXT_BYTES, Text};

    pub(in super::super) fn serialize<S: Serializer>(
        text: &Text,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(text)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Text, D::Error> {
        let text = String::deserialize(from)?;
        if text.len() > MAX_TEXT_BYTES {
            return Err(D::Error::custom("a text is too long"));
        }
        Ok(Text::from(text))
    }

    /// The same, if there is one.
    pub(in super::super) mod optional {
        use serde::{Deserialize, Deserializer, Serialize, Serializer};

        use super::Text;

        #[derive(Serialize, Deserialize)]
        struct Wrapped(#[serde(with = "super")] Text);

        pub(in super::super::super) fn serialize<S: Serializer>(
            text: &Option<Text>,
            to: S,
        ) -> Result<S::Ok, S::Error> {
            text.as_deref().serialize(to)
        }

        pub(in super::super::super) fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Option<Text>, D::Error> {
            let text: Option<Wrapped> = Option::deserialize(from)?;
            Ok(text.map(|text| text.0))
        }
    }
}

/// A node's name.
pub(super) mod node {
    use serde::{Deserializer, Serializer};

    use super::text;
    use crate::cluster::NodeId;

    pub(in super::super) fn serialize<S: Serializer>(
        node: &NodeId,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(node.as_str())
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<NodeId, D::Error> {
        text::deserialize(from).map(NodeId::from)
    }
}

/// A limited number of them.
pub(super) mod nodes {
    use std::fmt;

    use serde::{
        Deserialize, Deserializer, Serializer,
        de::{Error, SeqAccess, Visitor},
    };

    use super::super::MAX_MEMBERS;
    use crate::cluster::NodeId;

    #[derive(Deserialize)]
    struct Wrapped(#[serde(with = "super::node")] NodeId);

    struct Names;

    impl<'de> Visitor<'de> for Names {
        type Value = Vec<NodeId>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MAX_MEMBERS} names of nodes")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Self::Value, A::Error> {
            let mut nodes = Vec::new();
            while let Some(Wrapped(node)) = names.next_element()? {
                if nodes.len() == MAX_MEMBERS {
                    return Err(A::Error::invalid_length(nodes.len() + 1, &self));
                }
                nodes.push(node);
            }
            Ok(nodes)
        }
    }

    pub(in super::super) fn serialize<S: Serializer>(
        nodes: &[NodeId],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(nodes.iter().map(NodeId::as_str))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<NodeId>, D::Error> {
        from.deserialize_seq(Names)
    }
}

/// A shared plan.
pub(super) mod plan {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::super::Plan;

    pub(in super::super) fn serialize<S: Serializer>(
        plan: &Option<Arc<Plan>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        plan.as_deref().serialize(to)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Arc<Plan>>, D::Error> {
        let plan: Option<Plan> = Option::deserialize(from)?;
        Ok(plan.map(Arc::new))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{
        Aborted, ControlMessage, MAX_MEMBERS, MAX_MESSAGE_BYTES, MAX_TEXT_BYTES, Part, Phase, Plan,
        State, Version, decode, encode, short,
    };
    use crate::cluster::NodeId;

    fn version(epoch: u32, id: &str) -> Version {
        Version {
            epoch,
            id: id.into(),
        }
    }

    fn full() -> ControlMessage {
        let members = vec![NodeId::from("a"), NodeId::from("b")];
        ControlMessage::State(State {
            seq: 7,
            version: version(1, "b/1"),
            home: "redis".into(),
            on: "local".into(),
            phase: Phase::Leaving,
            forced: true,
            part: Some(Part {
                plan: version(2, "a/4"),
                revision: 3,
                missing: 20,
                missing_names: members.clone(),
                failed: Some("no \"such\" plugin".into()),
                gone: vec![NodeId::from("c")],
            }),
            plan: Some(Arc::new(Plan {
                version: version(2, "a/4"),
                base: version(1, "b/1"),
                from: "local".into(),
                to: "redis".into(),
                coordinator: NodeId::from("a"),
                members,
                revision: 3,
            })),
            aborted: Some(Aborted {
                plan: version(2, "a/3"),
                why: "asked to".into(),
            }),
        })
    }

    #[test]
    fn what_is_written_is_read() {
        let mark = ControlMessage::Mark {
            version: version(u32::MAX, "ä/1"),
        };
        let little = ControlMessage::State(State::default());
        for message in [full(), mark, little] {
            assert_eq!(decode(&encode(&message)), Some(message));
        }
    }

    #[test]
    fn a_mark_is_written_like_this() {
        let message = ControlMessage::Mark {
            version: version(3, "a/1"),
        };
        let text = r#"{"v":1,"kind":"mark","version":{"epoch":3,"id":"a/1"}}"#;
        assert_eq!(encode(&message), text);
    }

    #[test]
    fn what_is_not_known_is_passed_over() {
        let text = encode(&full());
        let more = text.replacen('{', r#"{"new":[{"x":1}],"#, 1);
        let more = more.replace(r#""revision""#, r#""other":null,"revision""#);
        assert_eq!(decode(&more), Some(full()));
        for (known, unknown) in [
            (r#""v":1"#, r#""v":2"#),
            (r#""kind":"state""#, r#""kind":"song""#),
            (r#""phase":"leaving""#, r#""phase":"dancing""#),
            (r#""seq":7"#, r#""seq":-7"#),
        ] {
            assert!(text.contains(known), "{text} has no {known}");
            assert_eq!(decode(&text.replace(known, unknown)), None, "{unknown}");
        }
        for text in ["", "{}", "[]", "null", r#"{"v":1}"#, r#"{"kind":"state"}"#] {
            assert_eq!(decode(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_over_a_limit_is_not_read() {
        let mark = |bytes: usize| {
            encode(&ControlMessage::Mark {
                version: version(1, &"x".repeat(bytes)),
            })
        };
        assert!(decode(&mark(MAX_TEXT_BYTES)).is_some());
        assert_eq!(decode(&mark(MAX_TEXT_BYTES + 1)), None);

        let gone = |n: usize| {
            encode(&ControlMessage::State(State {
                part: Some(Part {
                    gone: (0..n).map(|i| NodeId::from(i.to_string())).collect(),
                    ..Part::default()
                }),
                ..State::default()
            }))
        };
        assert!(decode(&gone(MAX_MEMBERS)).is_some());
        assert_eq!(decode(&gone(MAX_MEMBERS + 1)), None);

        let mut text = mark(1);
        let room = MAX_MESSAGE_BYTES - text.len();
        text.push_str(&" ".repeat(room));
        assert!(decode(&text).is_some());
        text.push(' ');
        assert_eq!(decode(&text), None);
    }

    #[test]
    fn a_long_reason_is_cut_between_two_characters() {
        let long = "ä".repeat(MAX_TEXT_BYTES);
        assert_eq!(short(&long).len(), MAX_TEXT_BYTES);
        let odd = format!("a{long}");
        assert_eq!(short(&odd).len(), MAX_TEXT_BYTES - 1);
        assert_eq!(&*short("short"), "short");
    }
}
