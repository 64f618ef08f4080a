//! What the server does for other servers: records their events and answers in the way that the
//! event's name says. The same as `tests/node/server/handlers.mjs`.

use std::time::Duration;

use socketioxide::extract::Data;
use switchboard::{Answer, Board, IntoReply, NoAnswer, NodeId, Operators};

use super::{handlers::NAMESPACES, records::Records};
use crate::{
    protocol::ServerEvent,
    value::{Arg, Args},
};

/// Limit for what another server can make this one answer.
const MAX_ANSWER_BYTES: u64 = 64 * 1024 * 1024;
/// The byte that a binary answer is made of.
const FILLING: u8 = 7;

/// Registers everything in all static namespaces.
pub(crate) fn register(board: &Board, name: &str, records: &Records) {
    for namespace in NAMESPACES {
        let on = Events {
            servers: board.of(namespace),
            records: records.clone(),
        };
        let called = name.to_owned();
        on.event("note", |_| async {});
        on.event("silent", |_| async { NoAnswer });
        on.event("question", {
            let called = called.clone();
            move |args| {
                let answer = signed(&called, args);
                async { answer }
            }
        });
        on.event("slow", move |args| {
            let pause = Duration::from_millis(number(&args));
            let answer = signed(&called, args);
            async move {
                tokio::time::sleep(pause).await;
                answer
            }
        });
        on.event("large", |args| async move {
            Answer(Arg::Text("x".repeat(size(&args))))
        });
        on.event("binary", |args| async move {
            Answer(Arg::Bytes(vec![FILLING; size(&args)]))
        });
        on.event("broken", |_| async { Err::<(), _>("it is broken") });
        on.event("panicking", |args| async move {
            if !args.as_slice().is_empty() {
                // Without the hook, which with RUST_BACKTRACE keeps a thread for seconds to find the
                // names of functions, longer than others wait for a sign of life.
                std::panic::resume_unwind(Box::new("told to panic"));
            }
        });

        let node = board.node().to_string();
        on.servers.custom_hook(move |Data(data): Data<Arg>| {
            let answer = answer([("from", Arg::Text(node.clone())), ("data", data)]);
            async { answer }
        });
    }
}

struct Events {
    servers: Operators,
    records: Records,
}

impl Events {
    fn event<Then, Running>(&self, event: &'static str, then: Then)
    where
        Then: Fn(Args) -> Running + Send + Sync + 'static,
        Running: Future<Output: IntoReply> + Send + 'static,
    {
        let (records, nsp) = (self.records.clone(), self.servers.namespace().to_owned());
        self.servers
            .on(event, move |Data(args): Data<Args>, from: NodeId| {
                let from = from.to_string();
                records.push(
                    &nsp,
                    ServerEvent {
                        event: event.to_owned(),
                        args: args.to_json(),
                        from: (!from.is_empty()).then_some(from),
                    },
                );
                then(args)
            });
    }
}

fn signed(name: &str, args: Args) -> Answer<Arg> {
    let args = Arg::List(args.into());
    answer([("from", Arg::Text(name.to_owned())), ("args", args)])
}

fn answer<const N: usize>(entries: [(&str, Arg); N]) -> Answer<Arg> {
    let entries = entries.map(|(key, value)| (key.to_owned(), value));
    Answer(Arg::Object(entries.into()))
}

fn number(args: &Args) -> u64 {
    match args.as_slice().first() {
        Some(Arg::Number(number)) => number.as_u64().unwrap_or_default(),
        _ => 0,
    }
}

fn size(args: &Args) -> usize {
    usize::try_from(number(args).min(MAX_ANSWER_BYTES)).unwrap_or_default()
}
