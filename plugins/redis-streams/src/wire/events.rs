//! Events of entries whose data is written as Node's adapter and ours write it: most of what arrives. What
//! is sent is copied as it stands, and options are read once for a run of events that have the same
//! ones. Everything else is decoded in full.

use std::sync::Arc;

use switchboard_plugin::{
    Said,
    types::{Body, Payload, Target},
    wire::{MAX_DEPTH, MAX_MESSAGE_BYTES, WireError, is_same, json},
};

use super::entry::{BROADCAST, Parts};

/// How the data begins before what is sent, and goes on behind it.
const BEGINNING: &str = r#"{"packet":{"type":2,"data":"#;
const MIDDLE: &str = r#"},"opts":"#;
/// Longer options are not worth being kept.
const MAX_KEPT_OPTS_BYTES: usize = 512;

/// Decodes entries that follow each other.
#[derive(Debug, Clone, Default)]
pub(super) struct Events {
    last: Option<LastOpts>,
}

/// The last options that ended an event, and what they are.
#[derive(Debug, Clone)]
struct LastOpts {
    text: String,
    target: Arc<Target>,
}

/// An event whose data is written as usual.
#[derive(Debug, Clone, Copy)]
struct Usual<'a> {
    /// What is sent.
    event: &'a str,
    /// The options, and what ends the data.
    opts: &'a str,
}

impl Events {
    /// As [`Parts::read_body`].
    ///
    /// # Errors
    /// When it is malformed.
    pub(super) fn read(&mut self, parts: &Parts<'_>) -> Result<Option<Said>, WireError> {
        let usual = Usual::of(parts);
        if let Some((usual, last)) = usual.zip(self.last.as_ref())
            && is_same(usual.opts.as_bytes(), last.text.as_bytes())
        {
            return Ok(Some(usual.with(&last.target)));
        }
        let body = parts.read_body()?;
        if let (Some(usual), Some(Body::Broadcast(event))) = (usual, &body) {
            self.keep(usual.opts, &event.target);
        }
        Ok(body.map(Said::Whole))
    }

    fn keep(&mut self, opts: &str, target: &Target) {
        if opts.len() > MAX_KEPT_OPTS_BYTES {
            return;
        }
        // What stands behind them may be the event's own.
        let mut reader = json::Reader::new(opts);
        if reader.skip(MAX_DEPTH).is_ok() && opts.get(reader.position()..) == Some("}") {
            self.last = Some(LastOpts {
                text: opts.to_owned(),
                target: Arc::new(target.clone()),
            });
        }
    }
}

impl<'a> Usual<'a> {
    /// None: it is another message, or written otherwise, or something is wrong with it.
    fn of(parts: &Parts<'a>) -> Option<Self> {
        if parts.kind != Some(BROADCAST) {
            return None;
        }
        let data = parts.data.filter(|data| data.len() <= MAX_MESSAGE_BYTES)?;
        let rest = std::str::from_utf8(data).ok()?.strip_prefix(BEGINNING)?;
        let mut reader = json::Reader::new(rest);
        let event = reader.skip(MAX_DEPTH).ok()?;
        let opts = rest.get(reader.position()..)?.strip_prefix(MIDDLE)?;
        event.starts_with('[').then_some(Self { event, opts })
    }

    fn with(&self, target: &Arc<Target>) -> Said {
        Said::Event {
            target: Arc::clone(target),
            data: Payload {
                json: self.event.to_owned(),
                attachments: None,
            },
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const DATA: &str = concat!(
        r#"{"packet":{"type":2,"data":["e",{"k":[1,"é"]}]},"#,
        r#""opts":{"rooms":["r"],"except":[],"flags":{}}}"#
    );

    fn parts(data: &[u8]) -> Parts<'_> {
        Parts {
            kind: Some(BROADCAST),
            data: Some(data),
            ..Parts::default()
        }
    }

    #[test]
    fn what_is_read_the_usual_way_is_what_is_read_any_way() {
        let mut known = Events::default();
        known.read(&parts(DATA.as_bytes())).unwrap();
        let last = known.last.clone().unwrap();
        let mut quickly = 0;
        let mut check = |data: &[u8]| {
            let parts = parts(data);
            quickly += usize::from(Usual::of(&parts).is_some_and(|usual| usual.opts == last.text));
            let shown = |read: Result<Option<Body>, WireError>| format!("{read:?}");
            let read = known.clone().read(&parts);
            let read = read.map(|said| said.map(Body::from));
            assert_eq!(shown(read), shown(parts.read_body()));
        };
        let data = DATA.as_bytes();
        for at in 0..data.len() {
            for byte in 0..=255 {
                let mut data = data.to_vec();
                data[at] = byte;
                check(&data);
            }
            check(&data[..at]);
            check(&[&data[..at], b" ", &data[at..]].concat());
        }
        assert!(quickly > data.len(), "other letters in texts, at least");
    }

    #[test]
    fn options_are_not_kept_with_what_stands_behind_them() {
        let mut events = Events::default();
        for end in [
            r#","requestId":"q"}"#,
            r#","packet":{"type":2,"data":[9]}}"#,
        ] {
            let data = DATA.strip_suffix('}').unwrap().to_owned() + end;
            assert!(events.read(&parts(data.as_bytes())).is_ok());
            assert!(events.last.is_none(), "{data}");
        }
    }
}
