//! Publications as the commands that publish them.

use std::borrow::Cow;

use switchboard_plugin::redis::{Client, Error, Reply, write_command};

use crate::wire::Publication;

/// No more room than this is made for commands that are still to come.
const MAX_EXPECTED_BYTES: usize = 1024 * 1024;

/// Commands as Redis reads them, one behind the other: there are many of them, and none has memory of its
/// own.
#[derive(Debug)]
pub(super) struct Commands {
    name: &'static [u8],
    expected: usize,
    bytes: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
}

impl Commands {
    /// None yet, and probably so many soon.
    pub(super) fn new(is_sharded: bool, expected: usize) -> Self {
        Self {
            name: if is_sharded { b"SPUBLISH" } else { b"PUBLISH" },
            expected,
            bytes: Vec::new(),
            ends: Vec::with_capacity(expected),
        }
    }

    pub(super) fn push(&mut self, Publication { channel, payload }: &Publication) {
        write_command(&[self.name, channel.as_bytes(), payload], &mut self.bytes);
        if self.ends.is_empty() {
            // Those that follow are mostly like the first.
            let others = self.expected.saturating_sub(1);
            let more = self.bytes.len().saturating_mul(others);
            self.bytes.reserve_exact(more.min(MAX_EXPECTED_BYTES));
        }
        self.ends.push(self.bytes.len());
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn each(&self) -> Vec<&[u8]> {
        let mut rest = &self.bytes[..];
        let mut begin = 0;
        let each = self.ends.iter().map(|&end| {
            let (command, more) = rest.split_at(end - begin);
            (rest, begin) = (more, end);
            command
        });
        each.collect()
    }

    /// Publishes all of them, or `some`, in order and in one round trip.
    pub(super) fn publish(&self, client: &Client, some: &[&[u8]]) -> Result<Vec<Reply>, Error> {
        client.pipeline_written(&self.written(some))
    }

    /// Only a part of them has to be copied.
    fn written(&self, some: &[&[u8]]) -> Cow<'_, [u8]> {
        match some.len() == self.len() {
            true => Cow::Borrowed(&self.bytes),
            false => Cow::Owned(some.concat()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_written_as_redis_reads_it() {
        for (is_sharded, name) in [(false, b"PUBLISH".as_slice()), (true, b"SPUBLISH")] {
            let mut commands = Commands::new(is_sharded, 3);
            let mut expected = Vec::new();
            for payload in ["a", "", "long"] {
                let payload = payload.repeat(1000).into_bytes();
                let mut command = Vec::new();
                write_command(&[name, b"io#/#", &payload], &mut command);
                expected.push(command);
                let channel = "io#/#".to_owned();
                commands.push(&Publication { channel, payload });
            }
            let each = commands.each();
            assert_eq!(each, expected);
            assert_eq!(*commands.written(&each), expected.concat());
            assert_eq!(*commands.written(&each[1..]), expected[1..].concat());
            assert_eq!(
                *commands.written(&[each[0], each[2]]),
                [each[0], each[2]].concat()
            );
        }
    }

    #[test]
    fn there_is_room_for_what_is_expected_and_no_more() {
        let publication = Publication {
            channel: "c".to_owned(),
            payload: vec![0; 10_000],
        };
        for (expected, at_least, below) in [(1, 10_000, 11_000), (4, 40_000, 41_000)] {
            let mut commands = Commands::new(false, expected);
            commands.push(&publication);
            let room = commands.bytes.capacity();
            assert!((at_least..below).contains(&room), "{room} for {expected}");
        }
    }
}
