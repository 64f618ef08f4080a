//! Redis, as the host offers it: the WIT interface `redis`, with what it has in one piece for the border
//! (commands, payloads, fields) taken apart. A [`Reader`] takes a command as [`write_command`] writes it.

use crate::bindings::switchboard::redis::redis as border;
pub use border::{
    Error, Event, Kind, Lag, Messages, Node, Reader, Reply, StreamEntry, StreamStart, Subscription,
};

/// A command: its name, and the arguments.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Command {
    /// The name first, in any case.
    pub args: Vec<Vec<u8>>,
}

/// The right to execute commands on one connection.
#[derive(Debug)]
pub struct Client(border::Client);

impl Client {
    /// Opens a connection that the operator configured. Does not wait for it.
    ///
    /// # Errors
    /// When it is not granted.
    #[cfg(target_family = "wasm")]
    pub fn open(connection: &str) -> Result<Self, Error> {
        border::Client::open(connection).map(Self)
    }

    /// There is no host.
    #[cfg(not(target_family = "wasm"))]
    #[allow(missing_docs, clippy::missing_errors_doc)]
    pub fn open(_connection: &str) -> Result<Self, Error> {
        Err(Error::Unavailable(
            "a native test has no host and no `redis`: test what needs it with `switchboard check`"
                .to_owned(),
        ))
    }

    /// Executes commands in order, in one round trip, and returns as many replies, in order.
    ///
    /// # Errors
    /// Nothing was executed.
    pub fn pipeline(&self, commands: &[Command]) -> Result<Vec<Reply>, Error> {
        let args = commands.iter().flat_map(|command| &command.args);
        let bytes: usize = args.map(|arg| arg.len() + MAX_HEAD_BYTES).sum();
        let mut written = Vec::with_capacity(bytes + commands.len() * MAX_HEAD_BYTES);
        for Command { args } in commands {
            write_command(args, &mut written);
        }
        self.pipeline_written(&written)
    }

    /// The same with commands that are written already, see [`write_command`]: without a list for each,
    /// where there are many.
    ///
    /// # Errors
    /// As [`pipeline`](Self::pipeline).
    pub fn pipeline_written(&self, commands: &[u8]) -> Result<Vec<Reply>, Error> {
        self.0.pipeline(commands)
    }

    /// Says that nothing more will be done through this.
    pub fn close(&self) {
        self.0.close();
    }
}

/// More than what stands around an argument, or before the first.
const MAX_HEAD_BYTES: usize = 16;

/// Writes a command behind others, as Redis' protocol has it: an array of bulk strings.
pub fn write_command<A: AsRef<[u8]>>(args: &[A], out: &mut Vec<u8>) {
    let bytes: usize = args
        .iter()
        .map(|arg| arg.as_ref().len() + MAX_HEAD_BYTES)
        .sum();
    out.reserve(bytes + MAX_HEAD_BYTES);
    write_head(b'*', args.len(), out);
    for arg in args {
        let arg = arg.as_ref();
        write_head(b'$', arg.len(), out);
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

fn write_head(kind: u8, number: usize, out: &mut Vec<u8>) {
    // Most arguments are short, and there are many of them.
    if number < 10 {
        out.extend_from_slice(&[kind, b'0' + number as u8, b'\r', b'\n']);
        return;
    }
    out.push(kind);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    out.extend_from_slice(b"\r\n");
}

impl Messages {
    /// What was published, oldest first.
    pub fn each(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.payloads[..];
        self.lengths.iter().map_while(move |length| {
            let (payload, after) = rest.split_at_checked(*length as usize)?;
            rest = after;
            Some(payload)
        })
    }
}

impl StreamEntry {
    /// Names and values in their order.
    pub fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let (count, mut rest) = head(b'*', &self.fields).unwrap_or_default();
        (0..count / 2).map_while(move |_| Some((bulk(&mut rest)?, bulk(&mut rest)?)))
    }
}

/// Takes a bulk string off the front.
fn bulk<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, body) = head(b'$', rest)?;
    let (value, after) = body.split_at_checked(len)?;
    *rest = after.get(2..)?;
    Some(value)
}

/// A kind and a number, and what stands behind their line.
fn head(kind: u8, bytes: &[u8]) -> Option<(usize, &[u8])> {
    let line = bytes.strip_prefix(&[kind])?;
    let mut number: usize = 0;
    let mut digits = 0;
    for digit in line.iter().take_while(|byte| byte.is_ascii_digit()) {
        number = number
            .checked_mul(10)?
            .checked_add(usize::from(digit - b'0'))?;
        digits += 1;
    }
    (digits > 0).then_some((number, line.get(digits + 2..)?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_written_as_redis_reads_it() {
        let mut out = Vec::new();
        write_command(&["PUBLISH", "news", "hello, world"], &mut out);
        write_command(&[b"".as_slice()], &mut out);
        let expected =
            "*3\r\n$7\r\nPUBLISH\r\n$4\r\nnews\r\n$12\r\nhello, world\r\n*1\r\n$0\r\n\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn payloads_and_fields_are_taken_apart() {
        let messages = |payloads: &[u8], lengths: &[u32]| Messages {
            kind: Kind::Channel,
            channel: "c".to_owned(),
            pattern: None,
            payloads: payloads.to_vec(),
            lengths: lengths.to_vec(),
        };
        let taken = |messages: &Messages| messages.each().map(<[u8]>::to_vec).collect::<Vec<_>>();
        assert_eq!(
            taken(&messages(b"abbb", &[1, 0, 3])),
            [b"a".to_vec(), vec![], b"bbb".to_vec()]
        );
        assert_eq!(taken(&messages(b"ab", &[1, 2])), [b"a"]);

        let entry = |fields: &str| StreamEntry {
            stream: "s".to_owned(),
            id: "1-0".to_owned(),
            fields: fields.as_bytes().to_vec(),
        };
        let taken = |fields: &str| {
            let entry = entry(fields);
            let pairs = entry.pairs();
            let pairs = pairs.map(|(name, value)| (name.to_vec(), value.to_vec()));
            pairs.collect::<Vec<_>>()
        };
        let two = "*4\r\n$1\r\na\r\n$0\r\n\r\n$1\r\na\r\n$2\r\n\r\n\r\n";
        let expected = [(b"a".to_vec(), vec![]), (b"a".to_vec(), b"\r\n".to_vec())];
        assert_eq!(taken(two), expected);
        // The host sends nothing of the kind; and it would not be the end of an instance.
        for strange in [
            "",
            "*",
            "*4",
            "*2\r\n",
            "*2\r\n$9\r\na",
            "*2\r\n$1\r\na\r\n:1\r\n",
            "*99999999999999999999\r\n",
        ] {
            assert_eq!(taken(strange), [], "{strange:?}");
        }
    }
}
