//! The result of a question to many: what came, and who did not answer.

use super::{
    message::{Body, NodeId},
    requests::Answers,
};

/// What arrived in time, and who did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partial<T> {
    /// What arrived.
    pub items: Vec<T>,
    /// The nodes that did not answer before the deadline, or left before they had.
    pub missing: Vec<NodeId>,
    /// How many more did not answer whose names are not known: over a transport that counts its
    /// nodes, some never say who they are.
    pub missing_unknown: usize,
}

impl<T> Partial<T> {
    /// Everybody has answered.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.missing_unknown == 0
    }

    /// The same with every item changed; who is missing stays.
    pub fn map<U>(self, item: impl FnMut(T) -> U) -> Partial<U> {
        Partial {
            items: self.items.into_iter().map(item).collect(),
            missing: self.missing,
            missing_unknown: self.missing_unknown,
        }
    }

    pub(super) fn of(answers: Answers, mut item: impl FnMut(NodeId, Body) -> T) -> Self {
        let Answers {
            items,
            missing,
            missing_unknown,
        } = answers;
        Partial {
            items,
            missing,
            missing_unknown,
        }
        .map(|(node, body)| item(node, body))
    }
}
