//! The commands of one call as the plugin has written them: read, checked, and sent on as they are. One
//! connection is shared by all plugins, so what Redis would read differently must not reach it.

use bytes::{Bytes, BytesMut};

use super::{
    RedisError,
    commands::{self, Kind, MAX_ARGS, Spec, Wait},
    grants::RedisPermit,
    slots::slot_of,
};

/// Most commands of one call.
const MAX_COMMANDS: usize = 1 << 16;

/// Commands that may be sent.
#[derive(Debug)]
pub(super) struct Batch {
    bytes: Bytes,
    commands: Vec<Checked>,
}

#[derive(Debug)]
struct Checked {
    /// Where it ends in the bytes.
    end: usize,
    spec: &'static Spec,
    /// Of what decides where it goes in a cluster, if anything does.
    slot: Option<u16>,
}

/// What was found out about the command before. Most commands of a call do the same at the same place, and
/// what they may is asked once.
struct Known<'a> {
    name: &'a [u8],
    place: &'a [u8],
    spec: &'static Spec,
    slot: Option<u16>,
}

impl Batch {
    /// Reads and checks commands.
    ///
    /// # Errors
    /// What is wrong with the first that cannot be executed.
    pub(super) fn check(
        bytes: Vec<u8>,
        permit: &RedisPermit,
        limit: usize,
    ) -> Result<Self, RedisError> {
        if bytes.len() > limit {
            return Err(RedisError::TooLarge { limit });
        }
        let mut commands: Vec<Checked> = Vec::new();
        let mut known: Option<Known<'_>> = None;
        let mut args = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            if commands.len() == MAX_COMMANDS {
                return Err(RedisError::TooMany {
                    limit: MAX_COMMANDS,
                });
            }
            let begins = bytes.len() - rest.len();
            let Some(after) = read(rest, &mut args) else {
                return Err(RedisError::Denied(format!(
                    "what begins at byte {begins} is no command as the Redis protocol writes it, an \
                     array of bulk strings"
                )));
            };
            rest = after;
            let same = known.as_ref().filter(|known| {
                let [name, place, ..] = args.as_slice() else {
                    return false;
                };
                known.name == *name && known.place == *place
            });
            let (spec, slot) = match same {
                Some(known) => (known.spec, known.slot),
                None => {
                    let (spec, slot) = examine(&args, permit).map_err(RedisError::Denied)?;
                    known = match args.as_slice() {
                        [name, place, ..] if spec.is_about_the_first() => Some(Known {
                            name,
                            place,
                            spec,
                            slot,
                        }),
                        _ => None,
                    };
                    (spec, slot)
                }
            };
            commands.push(Checked {
                end: bytes.len() - rest.len(),
                spec,
                slot,
            });
        }
        Ok(Self {
            bytes: Bytes::from(bytes),
            commands,
        })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.commands.len()
    }

    pub(super) fn spec(&self, index: usize) -> Option<&'static Spec> {
        self.commands.get(index).map(|command| command.spec)
    }

    /// Which slot of a cluster it belongs to; none: any node can execute it.
    pub(super) fn slot(&self, index: usize) -> Option<u16> {
        self.commands.get(index)?.slot
    }

    pub(super) fn specs(&self) -> impl Iterator<Item = &'static Spec> {
        self.commands.iter().map(|command| command.spec)
    }

    /// One command, as it is to be sent.
    pub(super) fn command(&self, index: usize) -> &[u8] {
        let end = |index: usize| self.commands.get(index).map(|command| command.end);
        let begin = index.checked_sub(1).map_or(Some(0), end);
        let range = begin.zip(end(index)).map(|(begin, end)| begin..end);
        range
            .and_then(|range| self.bytes.get(range))
            .unwrap_or_default()
    }

    /// All of them, as they are to be sent.
    pub(super) fn into_bytes(self) -> BytesMut {
        BytesMut::from(self.bytes)
    }
}

/// May the plugin execute this command, and where does it belong?
fn examine(args: &[&[u8]], permit: &RedisPermit) -> Result<(&'static Spec, Option<u16>), String> {
    let spec = commands::find(args)?;
    if waits(spec, args) {
        return Err(format!("{} waits: it needs a `reader`", spec.name));
    }
    permit.check_command(spec, args)?;
    let touched = spec.touched(args);
    let place = touched.and_then(|touched| {
        let mut places = touched.keys.into_iter().chain(touched.channels);
        places.next()
    });
    Ok((spec, place.map(slot_of)))
}

/// Would it hold up what is behind it?
fn waits(spec: &Spec, args: &[&[u8]]) -> bool {
    match spec.kind {
        Kind::Waits(Wait::Block) => {
            let mut before_keys = args
                .iter()
                .take_while(|arg| !arg.eq_ignore_ascii_case(b"STREAMS"));
            before_keys.any(|arg| arg.eq_ignore_ascii_case(b"BLOCK"))
        }
        Kind::Waits(_) => true,
        _ => false,
    }
}

/// One command alone: for readers.
///
/// # Errors
/// It is none, or more than one.
pub(super) fn single(bytes: &[u8]) -> Result<Vec<Vec<u8>>, RedisError> {
    let mut args = Vec::new();
    match read(bytes, &mut args) {
        Some([]) => Ok(args.into_iter().map(<[u8]>::to_vec).collect()),
        _ => Err(RedisError::Denied(
            "this is not one command as the Redis protocol writes it, an array of bulk strings"
                .to_owned(),
        )),
    }
}

/// Reads one command and returns what stands behind it. None: it is not written as Redis expects it, to
/// the letter.
fn read<'a>(bytes: &'a [u8], args: &mut Vec<&'a [u8]>) -> Option<&'a [u8]> {
    args.clear();
    let (count, mut rest) = head(b'*', bytes)?;
    if count > MAX_ARGS {
        return None;
    }
    for _ in 0..count {
        let (len, body) = head(b'$', rest)?;
        let (arg, after) = body.split_at_checked(len)?;
        rest = after.strip_prefix(b"\r\n")?;
        args.push(arg);
    }
    Some(rest)
}

/// A kind, a length without sign or leading zeros, and the end of the line.
fn head(kind: u8, bytes: &[u8]) -> Option<(usize, &[u8])> {
    let digits = bytes.strip_prefix(&[kind])?;
    let mut number: usize = 0;
    let mut count = 0;
    for digit in digits.iter().take_while(|byte| byte.is_ascii_digit()) {
        number = number
            .checked_mul(10)?
            .checked_add(usize::from(digit - b'0'))?;
        count += 1;
    }
    let is_canonical = match digits.first()? {
        b'0' => count == 1,
        _ => count > 0,
    };
    let rest = digits.get(count..)?.strip_prefix(b"\r\n")?;
    is_canonical.then_some((number, rest))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::capabilities::redis::tests::{permit, written};

    fn check(bytes: &[u8], rights: &str) -> Result<Batch, RedisError> {
        Batch::check(bytes.to_vec(), &permit(rights), 1 << 20)
    }

    #[test]
    fn commands_are_found_and_leave_as_they_came() {
        let commands = [
            "PUBLISH a 1",
            "publish a 2",
            "PUBLISH b 3",
            "PUBSUB NUMSUB b c",
        ];
        let bytes = written(&commands);
        let batch = check(&bytes, "").unwrap();
        let names: Vec<_> = batch.specs().map(|spec| spec.name).collect();
        assert_eq!(names, ["PUBLISH", "PUBLISH", "PUBLISH", "PUBSUB NUMSUB"]);
        for (index, command) in commands.iter().enumerate() {
            assert_eq!(batch.command(index), written(&[command]));
        }
        assert!(batch.command(4).is_empty() && batch.spec(4).is_none());
        let slots: Vec<_> = (0..4).map(|index| batch.slot(index)).collect();
        let [a, b] = [slot_of(b"a"), slot_of(b"b")].map(Some);
        assert_eq!(slots, [a, a, b, b]);
        assert_eq!(batch.into_bytes(), bytes);
    }

    #[test]
    fn every_command_of_a_call_is_checked_also_after_one_like_it() {
        let rights = "commands = ['PUBLISH', 'SET', 'COPY']\nkeys = ['k']\nchannels = ['c']";
        for (commands, allowed) in [
            (["PUBLISH c 1", "PUBLISH c 2"], true),
            (["PUBLISH c 1", "PUBLISH d 2"], false),
            (["SET k 1", "SET k 2"], true),
            (["SET k 1", "SET l 2"], false),
            (["SET k 1", "GET k"], false),
            (["PUBLISH c 1", "PUBLISH c"], true),
            (["PUBLISH c 1", "PUBLISH"], false),
            // Two keys: what holds for the first does not hold for both.
            (["COPY k k", "COPY k l"], false),
        ] {
            let checked = check(&written(&commands), rights);
            assert_eq!(checked.is_ok(), allowed, "{commands:?}: {checked:?}");
        }
    }

    #[test]
    fn what_redis_might_read_otherwise_is_refused() {
        for bytes in [
            "PING\r\n",
            "*1\r\n$4\r\nPING",
            "*1\r\n$4\r\nPING\n\n",
            "*1\r\n$4\r\nPINGxx",
            "*1\r\n$04\r\nPING\r\n",
            "*+1\r\n$4\r\nPING\r\n",
            "*01\r\n$4\r\nPING\r\n",
            "*1\n$4\nPING\n",
            "*2\r\n$4\r\nPING\r\n",
            "*0\r\n",
            "*\r\n",
            "*-1\r\n",
            "*1\r\n$-1\r\n",
            "*1\r\n:1\r\n",
            "*1\r\n$99999999999999999999\r\nPING\r\n",
            "*18446744073709551615\r\n$4\r\nPING\r\n",
            "*1\r\n$4\r\nPING\r\nx",
        ] {
            let refused = check(bytes.as_bytes(), "commands = ['*']\nkeys = ['*']");
            assert!(matches!(refused, Err(RedisError::Denied(_))), "{bytes:?}");
            assert!(
                single(bytes.as_bytes()).is_err() || bytes == "*0\r\n",
                "{bytes:?}"
            );
        }
        assert!(check(b"", "").unwrap().len() == 0);
    }

    #[test]
    fn too_many_commands_are_refused() {
        let one = written(&["PUBLISH c 1"]);
        let refused = check(&one.repeat(MAX_COMMANDS + 1)[..], "");
        assert!(
            matches!(
                refused,
                Err(RedisError::TooLarge { .. } | RedisError::TooMany { .. })
            ),
            "{refused:?}"
        );
        let many = one.repeat(MAX_COMMANDS + 1);
        let refused = Batch::check(many, &permit(""), usize::MAX);
        assert!(
            matches!(refused, Err(RedisError::TooMany { .. })),
            "{refused:?}"
        );
    }
}
