//! Publications as the commands that publish them.

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
            let more = self.bytes.len().saturating_mul(self.expected);
            self.bytes.reserve(more.min(MAX_EXPECTED_BYTES));
        }
        self.ends.push(self.bytes.len());
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn each(&self) -> Vec<&[u8]> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        let command = |(begin, end): (usize, &usize)| self.bytes.get(begin..*end);
        begins.zip(&self.ends).filter_map(command).collect()
    }

    /// Publishes all of them, or `some`, in order and in one round trip.
    pub(super) fn publish(&self, client: &Client, some: &[&[u8]]) -> Result<Vec<Reply>, Error> {
        match some.len() == self.len() {
            true => client.pipeline_written(&self.bytes),
            false => client.pipeline_written(&some.concat()),
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
            assert_eq!(commands.each(), expected);
            assert_eq!(commands.bytes, expected.concat());
            assert_eq!(commands.len(), 3);
        }
    }
}
