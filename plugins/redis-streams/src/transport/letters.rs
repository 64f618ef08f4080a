//! Messages as commands: XADD for what is kept, PUBLISH or SPUBLISH for the rest.
//!
//! A command for an entry has thirteen arguments or more, most of them the same each time. They are
//! kept from batch to batch and filled in anew, so that a message costs few allocations.

use switchboard_plugin::{
    MessageRef,
    redis::Command,
    wire::{Format, Rejected, envelope, is_answer, pubsub},
};

use crate::{
    options::Options,
    wire::{
        entry::{self, DATA, NSP, TYPE, UID, Written},
        is_kept, mark,
        names::Streams,
    },
};

/// Most commands that are kept for later: as many as a batch has messages.
const MAX_SPARE: usize = 512;

// Places of what changes from one entry to the next. The mark is the last argument.
const STREAM_AT: usize = 1;
const UID_AT: usize = 4;
const NSP_AT: usize = 6;
const TYPE_AT: usize = 8;
const DATA_AT: usize = 10;
/// How many arguments a command for an entry with data has.
const ENTRY_ARGS: usize = 13;
/// Where a command says how long its stream may be, if it does.
const TRIM_AT: usize = 2;
const MAX_LEN: &[u8] = b"MAXLEN";
const TRIM_ARGS: usize = 3;

/// A batch, ready to be sent.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// One for each message. Where an entry's mark belongs, at the end, there is none yet.
    pub(super) commands: Vec<Command>,
    /// To which stream each of them adds; none: it publishes.
    pub(super) streams: Vec<Option<usize>>,
}

/// Writes batches.
#[derive(Debug)]
pub(super) struct Letters {
    streams: Streams,
    channel_prefix: String,
    is_sharded: bool,
    max_len: String,
    only_plaintext: bool,
    spare: Vec<Command>,
}

impl Letters {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            streams: Streams::new(&options.stream_name, options.stream_count),
            channel_prefix: options.channel_prefix.clone(),
            is_sharded: options.is_sharded,
            max_len: options.max_len.to_string(),
            only_plaintext: options.only_plaintext,
            spare: Vec::new(),
        }
    }

    pub(super) fn streams(&self) -> &Streams {
        &self.streams
    }

    /// The messages as commands, up to the first that can never be written, and why it cannot.
    pub(super) fn write<'m>(
        &mut self,
        messages: impl IntoIterator<Item: Into<MessageRef<'m>>>,
    ) -> (Batch, Option<String>) {
        let mut batch = Batch::default();
        let unwritable = messages.into_iter().find_map(|message| {
            let (command, stream) = match self.letter(message.into()) {
                Ok(letter) => letter,
                Err(why) => return Some(why.to_string()),
            };
            batch.commands.push(command);
            batch.streams.push(stream);
            None
        });
        self.trim(&mut batch);
        (batch, unwritable)
    }

    fn letter(&mut self, message: MessageRef<'_>) -> Result<(Command, Option<usize>), Rejected> {
        if is_kept(message.body) {
            let written = entry::write(message, self.only_plaintext)?;
            let stream = self.streams.index(message.namespace);
            return Ok((self.entry(stream, message, written), Some(stream)));
        }
        let namespace = message.namespace;
        let channel = match message.recipient {
            Some(asker) if is_answer(message.body) => {
                pubsub::private_channel(&self.channel_prefix, namespace, asker)
            }
            _ => pubsub::public_channel(&self.channel_prefix, namespace),
        };
        let publish: &[u8] = match self.is_sharded {
            true => b"SPUBLISH",
            false => b"PUBLISH",
        };
        // Node takes nothing but msgpack there.
        let payload = envelope::write_as(message, Format::Msgpack)?;
        let args = vec![publish.to_vec(), channel.into_bytes(), payload];
        Ok((Command { args }, None))
    }

    fn entry(&mut self, stream: usize, message: MessageRef<'_>, written: Written) -> Command {
        let mut command = match self.spare.pop() {
            Some(command) => command,
            None => Self::blank(),
        };
        let name = self.streams.name(stream);
        for (at, value) in [
            (STREAM_AT, name.as_bytes()),
            (UID_AT, message.sender.as_bytes()),
            (NSP_AT, message.namespace.as_bytes()),
            (TYPE_AT, written.kind.as_bytes()),
        ] {
            if let Some(arg) = command.args.get_mut(at) {
                arg.clear();
                arg.extend_from_slice(value);
            }
        }
        match (written.data, command.args.get_mut(DATA_AT)) {
            (Some(data), Some(arg)) => *arg = data,
            _ => drop(command.args.drain(DATA_AT - 1..=DATA_AT)),
        }
        command
    }

    fn blank() -> Command {
        let args: [&[u8]; ENTRY_ARGS] = [
            b"XADD",
            b"",
            b"*",
            UID,
            b"",
            NSP,
            b"",
            TYPE,
            b"",
            DATA,
            b"",
            mark::FIELD,
            b"",
        ];
        Command {
            args: args.map(<[u8]>::to_vec).into(),
        }
    }

    /// The last entry of the batch in each stream trims it: each time would cost Redis a tenth more.
    fn trim(&self, batch: &mut Batch) {
        let mut is_trimmed = vec![false; self.streams.all().len()];
        let entries = batch.commands.iter_mut().zip(&batch.streams).rev();
        for (command, stream) in entries {
            let stream = stream.and_then(|stream| is_trimmed.get_mut(stream));
            if stream.is_some_and(|is_trimmed| !std::mem::replace(is_trimmed, true)) {
                let trim: [&[u8]; TRIM_ARGS] = [MAX_LEN, b"~", self.max_len.as_bytes()];
                let at = TRIM_AT..TRIM_AT;
                command.args.splice(at, trim.map(<[u8]>::to_vec));
            }
        }
    }

    /// Keeps the commands of a batch that was sent.
    pub(super) fn take_back(&mut self, batch: Batch) {
        for (mut command, stream) in batch.commands.into_iter().zip(batch.streams) {
            if self.spare.len() >= MAX_SPARE {
                break;
            }
            if stream.is_none() {
                continue;
            }
            if command.args.get(TRIM_AT).is_some_and(|arg| arg == MAX_LEN) {
                command.args.drain(TRIM_AT..TRIM_AT + TRIM_ARGS);
            }
            if command.args.len() == ENTRY_ARGS {
                // It may be large.
                if let Some(data) = command.args.get_mut(DATA_AT) {
                    *data = Vec::new();
                }
                self.spare.push(command);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use switchboard_plugin::{
        Config,
        redis::write_command,
        types::{Body, Broadcast, CountAnswer, Message, Payload, Target},
    };

    use super::*;

    fn letters(options: &str) -> Letters {
        let config = Config {
            node: "me".to_owned(),
            options: options.to_owned(),
            wants_offsets: false,
        };
        Letters::new(&Options::read(&config).unwrap())
    }

    fn message(namespace: &str, body: Body) -> Message {
        Message {
            namespace: namespace.to_owned(),
            sender: "me".to_owned(),
            recipient: None,
            body,
        }
    }

    fn event(json: &str) -> Body {
        Body::Broadcast(Broadcast {
            target: Target {
                rooms: Vec::new(),
                except: None,
                volatile: false,
                other_flags: None,
            },
            data: Payload {
                json: json.to_owned(),
                attachments: None,
            },
            packet_id: None,
            request: None,
        })
    }

    fn answer() -> Message {
        let body = Body::ClientCount(CountAnswer {
            request: "q".to_owned(),
            clients: 1,
        });
        Message {
            recipient: Some("you".to_owned()),
            ..message("/", body)
        }
    }

    fn text(command: &Command) -> String {
        let args = command.args.iter();
        args.map(|arg| String::from_utf8_lossy(arg))
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn an_event_becomes_the_command_that_node_sends_with_room_for_a_mark() {
        let (batch, _) = letters(r#"{"maxLen":99}"#).write(&[message("/", event("[\"x\"]"))]);
        assert_eq!(
            text(&batch.commands[0]),
            "XADD socket.io MAXLEN ~ 99 * uid me nsp / type 3 data \
             {\"packet\":{\"type\":2,\"data\":[\"x\"]},\"opts\":{\"rooms\":[],\"except\":[],\
             \"flags\":{}}} n "
        );
        assert_eq!(batch.streams, [Some(0)]);
        let (batch, _) = letters("{}").write(&[message("/", Body::AdapterClose)]);
        assert_eq!(
            text(&batch.commands[0]),
            "XADD socket.io MAXLEN ~ 10000 * uid me nsp / type 13 n "
        );
    }

    #[test]
    fn heartbeats_and_answers_are_published_as_msgpack() {
        for (options, publish) in [
            ("{}", "PUBLISH"),
            (r#"{"useShardedPubSub":true}"#, "SPUBLISH"),
        ] {
            let batch = [message("/", Body::Heartbeat), answer()];
            let (batch, _) = letters(options).write(&batch);
            let channels = ["socket.io#/#", "socket.io#/#you#"];
            for (command, channel) in batch.commands.iter().zip(channels) {
                assert_eq!(command.args[0], publish.as_bytes());
                assert_eq!(command.args[1], channel.as_bytes());
                assert!((0x80..0x90).contains(&command.args[2][0]), "a msgpack map");
            }
            assert_eq!(batch.streams, [None, None]);
        }
    }

    #[test]
    fn each_stream_is_trimmed_once_in_a_batch_by_its_last_entry() {
        let options = r#"{"streamCount":3,"streamName":"st","maxLen":99}"#;
        let batch = [
            message("/", event("[1]")),
            message("/", event("[2]")),
            message("/admin?x=1", event("[3]")),
            answer(),
            message("/", Body::AdapterClose),
            message("/admin?x=1", Body::Heartbeat),
        ];
        let mut letters = letters(options);
        for _ in 0..2 {
            let (batch, _) = letters.write(&batch);
            let trims = |command: &Command| text(command).contains(" MAXLEN ~ 99 * ");
            let trimmed: Vec<_> = batch.commands.iter().map(trims).collect();
            assert_eq!(trimmed, [false, false, true, false, true, false]);
            letters.take_back(batch);
        }
    }

    #[test]
    fn each_namespace_has_its_stream() {
        let batch = ["/", "/admin?x=1"].map(|namespace| message(namespace, event("[1]")));
        let (batch, _) = letters(r#"{"streamCount":3,"streamName":"st"}"#).write(&batch);
        assert_eq!(batch.commands[0].args[STREAM_AT], b"st-2");
        assert_eq!(batch.commands[1].args[STREAM_AT], b"st--1");
        assert_eq!(batch.streams, [Some(2), Some(3)]);
    }

    #[test]
    fn commands_that_are_used_again_say_nothing_of_what_they_said_before() {
        let mut letters = letters("{}");
        let messages = [
            message("/a/long/namespace", event("[\"something longer\"]")),
            message("/", Body::AdapterClose),
            answer(),
            message("/", event("[1]")),
        ];
        let (first, _) = letters.write(&messages);
        let expected: Vec<_> = first.commands.iter().map(text).collect();
        letters.take_back(first);
        assert_eq!(letters.spare.len(), 2, "those that are whole entries");
        let data = letters.spare.iter().map(|command| &command.args[DATA_AT]);
        assert!(
            data.map(Vec::capacity).all(|bytes| bytes == 0),
            "it may be large"
        );
        let (again, _) = letters.write(&messages);
        assert_eq!(
            again.commands.iter().map(text).collect::<Vec<_>>(),
            expected
        );
        for _ in 0..3 {
            let batch = vec![message("/", event("[1]")); 400];
            let (batch, _) = letters.write(&batch);
            letters.take_back(batch);
        }
        let more = vec![message("/", event("[1]")); 2 * MAX_SPARE];
        let (batch, _) = letters.write(&more);
        letters.take_back(batch);
        assert_eq!(letters.spare.len(), MAX_SPARE);
    }

    #[test]
    fn a_message_that_cannot_be_written_ends_the_batch_before_it() {
        let mut broken = event("[1");
        if let Body::Broadcast(broadcast) = &mut broken {
            broadcast.data.attachments = Some(vec![vec![1]]);
        }
        let batch = [event("[1]"), broken, event("[2]")].map(|body| message("/", body));
        let (batch, unwritable) = letters("{}").write(&batch);
        assert_eq!(
            (batch.commands.len(), batch.streams.len()),
            (1, 1),
            "the second can never go, the third waits"
        );
        assert!(unwritable.unwrap().contains("cannot be encoded"));
    }

    #[test]
    fn what_this_node_has_written_is_known_by_how_it_begins() {
        let mut letters = letters("{}");
        let bodies = [Body::Heartbeat, event("[\"x\"]"), Body::AdapterClose];
        let messages = bodies.map(|body| message("/", body));
        let (batch, unwritable) = letters.write(&messages);
        assert_eq!(unwritable, None);
        let mut entries = 0;
        for (mut command, stream) in batch.commands.into_iter().zip(batch.streams) {
            if stream.is_none() {
                continue;
            }
            entries += 1;
            // What stands behind `*` is what Redis gives back.
            let id = command.args.iter().position(|arg| arg == b"*");
            let fields = command.args.split_off(id.unwrap() + 1);
            let mut written = Vec::new();
            write_command(&fields, &mut written);
            let is_own = |node: &str| {
                let beginnings = entry::own_beginnings(node);
                beginnings.iter().any(|it| written.starts_with(it))
            };
            assert!(is_own("me") && !is_own("m") && !is_own("you"), "{fields:?}");
        }
        assert_eq!(entries, 2, "one with data, and one without");
    }
}
