//! Whom one request still waits for.
//!
//! With heartbeats these are the nodes known when it was asked. When nodes are counted, it is a
//! number of answers, some of which may come from nodes that are known by name and some from
//! senders that do not even say who they are.

use std::collections::HashSet;

use super::message::NodeId;

/// Nodes whose answers to one request are told apart. More than that is not a cluster but abuse:
/// their answers are dropped.
const MAX_ANSWERING_NODES: usize = 65_536;

/// The wait of one request.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// Known by name, not heard yet.
    waiting: HashSet<NodeId>,
    /// Answered, expected or not; a second answer of the same node is a repeat.
    answered: HashSet<NodeId>,
    /// Left before they had answered.
    left: Vec<NodeId>,
    /// Answers to wait for, when nodes are counted.
    total: Option<usize>,
    /// Answers of senders that did not say who they are.
    anonymous: usize,
}

impl Expected {
    /// Waits for each of these nodes.
    pub(super) fn named(nodes: impl IntoIterator<Item = NodeId>) -> Self {
        Self {
            waiting: nodes.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Waits for `total` answers. `nodes` are known by name and probably among them.
    pub(super) fn counted(total: usize, nodes: impl IntoIterator<Item = NodeId>) -> Self {
        Self {
            total: Some(total),
            ..Self::named(nodes)
        }
    }

    /// The names that are waited for.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &NodeId> {
        self.waiting.iter()
    }

    /// Books an answer. False: it is a repeat and must not be used.
    pub(super) fn answered(&mut self, node: &NodeId) -> bool {
        if node.as_str().is_empty() {
            self.anonymous += 1;
            return true;
        }
        if self.answered.len() >= MAX_ANSWERING_NODES || !self.answered.insert(node.clone()) {
            return false;
        }
        self.waiting.remove(node);
        true
    }

    /// A node is gone, or its answer was unusable: it is not waited for any more.
    pub(super) fn gone(&mut self, node: &NodeId) {
        let open = self.open();
        if !self.waiting.remove(node) {
            return;
        }
        match &mut self.total {
            // More names than open answers: some names were stale before the count was taken.
            // Without knowing which, the count is believed.
            Some(_) if self.waiting.len() >= open => {}
            Some(total) => {
                *total -= 1;
                self.left.push(node.clone());
            }
            None => self.left.push(node.clone()),
        }
    }

    /// Books a node that had answered, but left before all it had announced came.
    pub(super) fn left_unfinished(&mut self, node: &NodeId) {
        self.left.push(node.clone());
    }

    /// Everybody has answered or is gone.
    pub(super) fn is_complete(&self) -> bool {
        self.open() == 0
    }

    /// How many answers are still to come.
    fn open(&self) -> usize {
        match self.total {
            Some(total) => total.saturating_sub(self.answered.len() + self.anonymous),
            None => self.waiting.len(),
        }
    }

    /// Who did not answer: by name where the name is certain, the others as a number.
    pub(super) fn missing(self) -> (Vec<NodeId>, usize) {
        let open = self.open();
        let mut missing = self.left;
        // An anonymous answer may have come from any of the names, and of too many names some
        // are stale: then it is better to name nobody than the wrong one.
        let certain = self.total.is_none() || (self.anonymous == 0 && self.waiting.len() <= open);
        let unknown = if certain {
            let named = self.waiting.len();
            missing.extend(self.waiting);
            open - named
        } else {
            open
        };
        missing.sort();
        missing.dedup();
        (missing, unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(ids: &str) -> Vec<NodeId> {
        ids.split_whitespace().map(NodeId::from).collect()
    }

    /// Plays a story (`+a` answers, `+` answers without a name, `-a` leaves) and compares who is
    /// missing in the end.
    fn check(mut expected: Expected, story: &str, complete: bool, missing: &str, unknown: usize) {
        for step in story.split_whitespace() {
            let (what, id) = step.split_at(1);
            match what {
                "+" => _ = expected.answered(&NodeId::from(id)),
                _ => expected.gone(&NodeId::from(id)),
            }
        }
        assert_eq!(expected.is_complete(), complete, "complete after {story}");
        assert_eq!(
            expected.missing(),
            (nodes(missing), unknown),
            "missing after {story}"
        );
    }

    #[test]
    fn named_nodes_are_waited_for_one_by_one() {
        let ab = || Expected::named(nodes("a b"));
        check(ab(), "", false, "a b", 0);
        check(ab(), "+a +a", false, "b", 0);
        check(ab(), "+a +b", true, "", 0);
        check(ab(), "+stranger +a", false, "b", 0);
        check(ab(), "+a -b", true, "b", 0);
        check(ab(), "+a -a +b", true, "", 0);
        check(Expected::named([]), "", true, "", 0);
    }

    #[test]
    fn counted_answers_may_come_from_anybody() {
        let three = || Expected::counted(3, nodes("a"));
        check(three(), "", false, "a", 2);
        check(three(), "+ + +", true, "", 0);
        check(three(), "+x +y +z", true, "", 0);
        check(three(), "+x +y", false, "a", 0);
        check(three(), "+a +x", false, "", 1);
        check(three(), "+a +x -a", false, "", 1);
        check(three(), "-a +x +y", true, "a", 0);
    }

    #[test]
    fn nobody_is_named_when_the_name_is_not_certain() {
        check(Expected::counted(2, nodes("a")), "+", false, "", 1);
        // One of the three names was stale when the backend was asked.
        check(Expected::counted(2, nodes("a b c")), "", false, "", 2);
        check(Expected::counted(2, nodes("a b c")), "-c +a", false, "b", 0);
    }

    #[test]
    fn a_repeated_answer_is_not_used() {
        let mut expected = Expected::named(nodes("a"));
        assert!(expected.answered(&NodeId::from("a")));
        assert!(!expected.answered(&NodeId::from("a")));
    }
}
