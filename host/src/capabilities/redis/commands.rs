//! The commands that plugins may be granted, and where their keys and channels are. What is not
//! listed is not offered: connection state, administration, and whatever a later Redis brings.

use crate::suggest;

/// Most arguments of one command.
pub(super) const MAX_ARGS: usize = 1 << 20;
/// The longest that Redis may be told to wait.
const MAX_BLOCK_MS: f64 = 60_000.0;

/// Where the keys of a command are; its name (and that of a subcommand) is at 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keys {
    /// It has none.
    None,
    /// From the first index, this many.
    Some(usize, usize),
    /// From the index to the end, less so many at the end, one in so many.
    Rest(usize, usize, usize),
    /// Their number is at the index, they follow.
    Counted(usize),
    /// The destination is at 1, the number of the others at 2.
    StoreCounted,
    /// After `STREAMS`, the first half of the rest.
    Streams,
    /// A channel at 1.
    Channel,
    /// Channels from 2 to the end; none means all.
    Channels,
    /// A pattern of channels at 2; none means all.
    ChannelPattern,
}

/// How a command is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// At once, with a short reply.
    Quick,
    /// At once, but the reply may be long: such pipelines go over a connection of their own.
    Long,
    /// Waits: only for readers. The wait stands where [`Wait`] says.
    Waits(Wait),
    /// Like `Quick`; in a cluster all nodes are asked and the numbers added.
    Summed,
    /// A script, which may reach keys and channels that it does not name.
    Script,
}

/// Where a blocking command says how long it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Milliseconds after the word `BLOCK`.
    Block,
    /// Seconds, in the last argument.
    Last,
    /// Seconds, in the first argument.
    First,
}

/// One command.
#[derive(Debug)]
pub(super) struct Spec {
    /// In capitals, a subcommand after a blank.
    pub(super) name: &'static str,
    keys: Keys,
    pub(super) kind: Kind,
}

/// What a command touches.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Touched<'a> {
    pub(super) keys: Vec<&'a [u8]>,
    pub(super) channels: Vec<&'a [u8]>,
    /// It can see all channels.
    pub(super) all_channels: bool,
}

macro_rules! specs {
    ($($keys:expr, $kind:expr => $($name:literal)+;)+) => {
        &[$($(Spec { name: $name, keys: $keys, kind: $kind },)+)+]
    };
}

use Keys::{Channel, ChannelPattern, Channels, Counted, Rest, StoreCounted, Streams};
use Kind::{Long, Quick, Script, Summed, Waits};

static SPECS: &[Spec] = specs! {
    Channel, Quick => "PUBLISH" "SPUBLISH";
    Channels, Summed => "PUBSUB NUMSUB" "PUBSUB SHARDNUMSUB";
    ChannelPattern, Quick => "PUBSUB CHANNELS" "PUBSUB SHARDCHANNELS";
    Keys::None, Quick => "PING" "ECHO" "TIME" "ROLE" "PUBSUB NUMPAT" "LASTSAVE";
    Keys::Some(1, 1), Quick =>
        "GET" "SET" "SETNX" "SETEX" "PSETEX" "GETDEL" "GETEX" "GETSET" "APPEND" "STRLEN"
        "GETRANGE" "SETRANGE" "INCR" "INCRBY" "INCRBYFLOAT" "DECR" "DECRBY" "GETBIT" "SETBIT"
        "BITCOUNT" "BITPOS" "BITFIELD" "EXPIRE" "PEXPIRE" "EXPIREAT" "PEXPIREAT" "EXPIRETIME"
        "PEXPIRETIME" "TTL" "PTTL" "PERSIST" "TYPE" "DUMP" "RESTORE"
        "HGET" "HSET" "HSETNX" "HMGET" "HMSET" "HDEL" "HEXISTS" "HINCRBY" "HINCRBYFLOAT" "HLEN"
        "HSTRLEN" "HRANDFIELD"
        "LPUSH" "RPUSH" "LPUSHX" "RPUSHX" "LPOP" "RPOP" "LLEN" "LINDEX" "LINSERT" "LSET" "LREM"
        "LTRIM" "LPOS"
        "SADD" "SREM" "SCARD" "SISMEMBER" "SMISMEMBER" "SPOP" "SRANDMEMBER"
        "ZADD" "ZREM" "ZCARD" "ZCOUNT" "ZSCORE" "ZMSCORE" "ZINCRBY" "ZRANK" "ZREVRANK" "ZLEXCOUNT"
        "ZPOPMIN" "ZPOPMAX" "ZREMRANGEBYRANK" "ZREMRANGEBYSCORE" "ZREMRANGEBYLEX" "ZRANDMEMBER"
        "PFADD" "XADD" "XLEN" "XDEL" "XTRIM" "XACK" "XCLAIM" "XAUTOCLAIM" "XPENDING" "XSETID";
    Keys::Some(1, 1), Long =>
        "HGETALL" "HKEYS" "HVALS" "HSCAN" "LRANGE" "SMEMBERS" "SSCAN" "ZSCAN" "SORT_RO"
        "ZRANGE" "ZREVRANGE" "ZRANGEBYSCORE" "ZREVRANGEBYSCORE" "ZRANGEBYLEX" "ZREVRANGEBYLEX"
        "XRANGE" "XREVRANGE";
    Keys::Some(1, 2), Quick =>
        "RENAME" "RENAMENX" "COPY" "LMOVE" "RPOPLPUSH" "SMOVE" "ZRANGESTORE" "LCS";
    Keys::Some(2, 1), Quick =>
        "XGROUP CREATE" "XGROUP DESTROY" "XGROUP SETID" "XGROUP CREATECONSUMER"
        "XGROUP DELCONSUMER" "XINFO STREAM" "XINFO GROUPS" "XINFO CONSUMERS"
        "OBJECT ENCODING" "OBJECT FREQ" "OBJECT IDLETIME" "OBJECT REFCOUNT" "MEMORY USAGE";
    Rest(1, 0, 1), Quick => "DEL" "UNLINK" "EXISTS" "TOUCH" "PFCOUNT" "PFMERGE";
    Rest(1, 0, 1), Long =>
        "MGET" "SINTER" "SUNION" "SDIFF" "SINTERSTORE" "SUNIONSTORE" "SDIFFSTORE";
    Rest(1, 0, 2), Quick => "MSET" "MSETNX";
    Rest(2, 0, 1), Quick => "BITOP";
    Counted(1), Long => "ZUNION" "ZINTER" "ZDIFF" "ZINTERCARD" "SINTERCARD" "LMPOP" "ZMPOP";
    StoreCounted, Quick => "ZUNIONSTORE" "ZINTERSTORE" "ZDIFFSTORE";
    Counted(2), Script => "EVAL" "EVALSHA" "EVAL_RO" "EVALSHA_RO" "FCALL" "FCALL_RO";
    Streams, Waits(Wait::Block) => "XREAD" "XREADGROUP";
    Rest(1, 1, 1), Waits(Wait::Last) => "BLPOP" "BRPOP" "BZPOPMIN" "BZPOPMAX";
    Keys::Some(1, 2), Waits(Wait::Last) => "BLMOVE" "BRPOPLPUSH";
    Counted(2), Waits(Wait::First) => "BLMPOP" "BZMPOP";
};

/// What a plugin gets that asks for a connection and no more: Pub/Sub.
pub(super) const PUBSUB: [&str; 4] = ["PUBLISH", "SPUBLISH", "PUBSUB NUMSUB", "PUBSUB SHARDNUMSUB"];

/// The command of this name.
pub(super) fn named(name: &str) -> Option<&'static Spec> {
    SPECS
        .iter()
        .find(|spec| spec.name.eq_ignore_ascii_case(name))
}

/// The listed name that was most likely meant.
pub(super) fn hint(name: &str) -> String {
    match suggest::nearest(name, SPECS.iter().map(|spec| spec.name)) {
        Some(near) => format!("; did you mean `{near}`?"),
        None => String::new(),
    }
}

/// Is this the first word of commands with subcommands?
pub(super) fn is_container(name: &str) -> bool {
    SPECS.iter().any(|spec| {
        let first = spec.name.split_once(' ').map(|(first, _)| first);
        first.is_some_and(|first| first.eq_ignore_ascii_case(name))
    })
}

/// Finds the command that the arguments are.
///
/// # Errors
/// It is not offered: for the plugin.
pub(super) fn find<A: AsRef<[u8]>>(args: &[A]) -> Result<&'static Spec, String> {
    let word = |index: usize| {
        args.get(index)
            .map(|arg| String::from_utf8_lossy(arg.as_ref()))
    };
    let Some(first) = word(0) else {
        return Err("a command without a name".to_owned());
    };
    if args.len() > MAX_ARGS {
        return Err(format!("{first} with more than {MAX_ARGS} arguments"));
    }
    if let Some(spec) = named(&first).filter(|spec| !spec.name.contains(' ')) {
        return Ok(spec);
    }
    if is_container(&first)
        && let Some(second) = word(1)
        && let Some(spec) = named(&format!("{first} {second}"))
    {
        return Ok(spec);
    }
    // Any bytes at all, so they are cut before they get into a log.
    let shown: String = first.chars().take(32).collect();
    Err(format!(
        "the command {shown:?} is not offered to plugins{}",
        hint(&shown)
    ))
}

impl Spec {
    /// What the command touches. None: the arguments do not fit it.
    pub(super) fn touched<'a, A: AsRef<[u8]>>(&self, args: &'a [A]) -> Option<Touched<'a>> {
        let mut touched = Touched::default();
        let arg = |index: usize| args.get(index).map(AsRef::as_ref);
        let range = |from: usize, count: usize| -> Option<Vec<&'a [u8]>> {
            let args = args.get(from..from.checked_add(count)?)?;
            Some(args.iter().map(AsRef::as_ref).collect())
        };
        match self.keys {
            Keys::None => {}
            Keys::Some(from, count) => touched.keys = range(from, count)?,
            Rest(from, less, step) => {
                let keys = args.get(from..args.len().checked_sub(less)?)?;
                touched.keys = keys.iter().step_by(step).map(AsRef::as_ref).collect();
            }
            Counted(at) => touched.keys = range(at + 1, number(arg(at)?)?)?,
            StoreCounted => {
                touched.keys = range(3, number(arg(2)?)?)?;
                touched.keys.push(arg(1)?);
            }
            Streams => {
                let is_word = |arg: &A| arg.as_ref().eq_ignore_ascii_case(b"STREAMS");
                let from = args.iter().position(is_word)? + 1;
                let rest = args.len() - from;
                if rest == 0 || !rest.is_multiple_of(2) {
                    return None;
                }
                touched.keys = range(from, rest / 2)?;
            }
            Channel => touched.channels = range(1, 1)?,
            Channels => touched.channels = range(2, args.len().checked_sub(2)?)?,
            ChannelPattern => touched.all_channels = true,
        }
        Some(touched)
    }

    /// Does it touch what its first argument names, and nothing else?
    pub(super) fn is_about_the_first(&self) -> bool {
        let is_plain = matches!(self.kind, Quick | Long);
        is_plain && matches!(self.keys, Keys::Some(1, 1) | Channel)
    }

    /// For how many milliseconds a blocking command waits. None: it does not say, or for too long.
    pub(super) fn wait_ms<A: AsRef<[u8]>>(&self, args: &[A]) -> Option<u32> {
        let Waits(wait) = self.kind else { return None };
        let number = |arg: &A| std::str::from_utf8(arg.as_ref()).ok()?.parse::<f64>().ok();
        let millis = match wait {
            Wait::Last => number(args.last()?)? * 1000.0,
            Wait::First => number(args.get(1)?)? * 1000.0,
            Wait::Block => {
                let is = |word: &[u8]| {
                    args.iter()
                        .position(|arg| arg.as_ref().eq_ignore_ascii_case(word))
                };
                let at = is(b"BLOCK")?;
                // Behind that word stand keys and ids.
                if at > is(b"STREAMS")? {
                    return None;
                }
                number(args.get(at + 1)?)?
            }
        };
        let is_allowed = millis > 0.0 && millis <= MAX_BLOCK_MS;
        // In range, so nothing is cut off but a fraction.
        is_allowed.then_some(millis.ceil() as u32)
    }
}

fn number(arg: &[u8]) -> Option<usize> {
    std::str::from_utf8(arg).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::HashSet;

    use super::*;

    fn args(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn keys_and_channels_are_found() {
        for (text, keys, channels) in [
            ("set k v", "k", ""),
            ("DEL a b c", "a b c", ""),
            ("MSET a 1 b 2", "a b", ""),
            ("RENAME a b", "a b", ""),
            ("ZUNIONSTORE d 2 a b WEIGHTS 1 2", "a b d", ""),
            ("ZUNION 2 a b WITHSCORES", "a b", ""),
            ("EVAL script 1 k x", "k", ""),
            ("XREAD COUNT 5 BLOCK 7 STREAMS a b 0 1", "a b", ""),
            ("XREADGROUP GROUP g c STREAMS a >", "a", ""),
            ("BLPOP a b 5", "a b", ""),
            ("BLMOVE a b LEFT RIGHT 5", "a b", ""),
            ("BLMPOP 5 2 a b LEFT", "a b", ""),
            ("XGROUP CREATE k g $", "k", ""),
            ("BITOP AND d a b", "d a b", ""),
            ("publish c hello", "", "c"),
            ("PUBSUB NUMSUB a b", "", "a b"),
            ("PING", "", ""),
        ] {
            let args = args(text);
            let touched = find(&args).unwrap().touched(&args).unwrap();
            let join = |parts: &[&[u8]]| String::from_utf8(parts.join(&b' ')).unwrap();
            assert_eq!(join(&touched.keys), keys, "keys of {text}");
            assert_eq!(join(&touched.channels), channels, "channels of {text}");
        }
    }

    #[test]
    fn arguments_that_do_not_fit_touch_nothing_known() {
        for text in [
            "SET",
            "ZUNION 3 a b",
            "ZUNION x a",
            "EVAL s 18446744073709551615 k",
            "XREAD STREAMS a",
            "XREAD COUNT 1",
            "XGROUP CREATE",
        ] {
            let args = args(text);
            let touched = find(&args).map(|spec| spec.touched(&args).is_some());
            assert_ne!(touched, Ok(true), "{text}");
        }
    }

    #[test]
    fn what_changes_the_connection_or_the_server_is_not_offered() {
        for text in [
            "CONFIG GET x",
            "SHUTDOWN",
            "FLUSHALL",
            "FLUSHDB",
            "DEBUG SLEEP",
            "SUBSCRIBE c",
            "PSUBSCRIBE c",
            "SSUBSCRIBE c",
            "UNSUBSCRIBE",
            "MULTI",
            "EXEC",
            "WATCH k",
            "SELECT 1",
            "AUTH p",
            "HELLO 3",
            "CLIENT KILL x",
            "CLUSTER SLOTS",
            "ACL LIST",
            "MONITOR",
            "KEYS *",
            "SCRIPT LOAD x",
            "FUNCTION LOAD x",
            "REPLICAOF h 1",
            "RESET",
            "QUIT",
            "WAIT 1 0",
            "MIGRATE h",
            "SWAPDB 0 1",
            "MOVE k 1",
            "SORT k STORE d",
            "PUBSUB",
            "PUBSUB HELP",
            "",
        ] {
            assert!(find(&args(text)).is_err(), "{text}");
        }
        let error = find(&["PUBLSH"]).unwrap_err();
        assert!(error.contains("did you mean `PUBLISH`"), "{error}");
    }

    #[test]
    fn a_blocking_command_must_say_for_how_long() {
        for (text, wait) in [
            ("XREAD BLOCK 5000 STREAMS a 0", Some(5000)),
            ("XREAD STREAMS BLOCK 5000", None),
            ("XREAD BLOCK 0 STREAMS a 0", None),
            ("XREAD BLOCK 60001 STREAMS a 0", None),
            ("BLPOP a 0.5", Some(500)),
            ("BLMPOP 2 1 a LEFT", Some(2000)),
            ("BLPOP a inf", None),
            ("GET a", None),
        ] {
            let args = args(text);
            assert_eq!(find(&args).unwrap().wait_ms(&args), wait, "{text}");
        }
    }

    #[test]
    fn no_command_is_listed_twice() {
        let mut seen = HashSet::new();
        assert!(SPECS.iter().all(|spec| seen.insert(spec.name)));
        assert!(PUBSUB.iter().all(|name| named(name).is_some()));
    }
}
