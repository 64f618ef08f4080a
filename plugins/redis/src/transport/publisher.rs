//! The way out.

use switchboard_plugin::{
    Config, Failure, Membership, OpenFailure, PublishFailure, Publisher, TransportInfo,
    redis::{Client, Command},
    redis_outcome::{open_failure, subscribers},
    types::Message,
    warn,
};

use super::{
    ahead::Ahead,
    fate::{doubts, first_failure},
};
use crate::{
    options::Options,
    wire::{Encoder, Publication},
};

/// Writes batches to Redis: one pipeline each, one command for each message.
pub struct Out {
    client: Client,
    encoder: Encoder,
    ahead: Ahead,
}

impl Publisher for Out {
    fn open(config: Config) -> Result<(Self, TransportInfo), OpenFailure> {
        let options = Options::read(&config)?;
        let client = Client::open(&options.connection).map_err(open_failure)?;
        let encoder = Encoder::new(&options.prefix, options.wire);
        let info = TransportInfo {
            // Node's servers send no heartbeats on this wire.
            membership: Membership::Counted,
            rooms_query: encoder.has_rooms_query(),
            // They never answer ours, but would be waited for. Without it the host asks with a
            // server event, which they can answer.
            custom_query: false,
            reports_leaving: false,
        };
        let out = Self {
            client,
            encoder,
            ahead: Ahead::default(),
        };
        Ok((out, info))
    }

    fn publish(&mut self, batch: Vec<Message>, _first: u64) -> Result<Vec<String>, PublishFailure> {
        let (commands, unwritable) = commands(&self.encoder, &batch);
        // Large, and not needed while Redis is waited for.
        drop(batch);
        let client = &self.client;
        let fates = self
            .ahead
            .send(&commands, |commands| client.pipeline(commands));
        if let Some((count, why)) = doubts(&fates) {
            warn(&format!(
                "{count} messages may not have been sent and are not sent again: the connection \
                 to Redis was lost before it had answered ({why})"
            ));
        }
        let failure = first_failure(&fates)
            .or_else(|| unwritable.map(|why| (commands.len(), Failure::Rejected(why))));
        match failure {
            None => Ok(Vec::new()),
            Some((accepted, reason)) => Err(PublishFailure {
                accepted: accepted as u32,
                offsets: Vec::new(),
                reason,
            }),
        }
    }

    fn count_nodes(&mut self, namespace: String) -> Result<Option<u32>, Failure> {
        let channel = self.encoder.count_channel(&namespace);
        subscribers(&self.client, &channel, self.encoder.is_sharded())
    }

    fn close(self) {
        self.client.close();
    }
}

/// The messages as commands, up to the first that can never be written, and why it cannot.
fn commands(encoder: &Encoder, batch: &[Message]) -> (Vec<Command>, Option<String>) {
    let mut publications = Vec::with_capacity(batch.len());
    let unwritable = batch
        .iter()
        .find_map(|message| encoder.encode(message, &mut publications).err());
    let publish: &[u8] = match encoder.is_sharded() {
        true => b"SPUBLISH",
        false => b"PUBLISH",
    };
    let commands = publications
        .into_iter()
        .map(|publication| command(publish, publication))
        .collect();
    (commands, unwritable.map(|why| why.to_string()))
}

/// A publication as a command. Nothing of it is copied.
pub(super) fn command(publish: &[u8], publication: Publication) -> Command {
    Command {
        args: vec![
            publish.to_vec(),
            publication.channel.into_bytes(),
            publication.payload,
        ],
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use switchboard_plugin::types::{Body, Broadcast, Payload, Target};

    use super::*;
    use crate::wire::{SubscriptionMode, Wire};

    fn broadcast(json: &str) -> Message {
        Message {
            namespace: "/".to_owned(),
            sender: "me".to_owned(),
            recipient: None,
            body: Body::Broadcast(Broadcast {
                target: Target {
                    rooms: Vec::new(),
                    except: Vec::new(),
                    volatile: false,
                    other_flags: None,
                },
                data: Payload {
                    json: json.to_owned(),
                    attachments: Vec::new(),
                },
                packet_id: None,
                request: None,
            }),
        }
    }

    #[test]
    fn each_message_becomes_one_command_of_its_mode() {
        for (wire, name) in [
            (
                Wire::Classic {
                    specific_responses: false,
                },
                "PUBLISH",
            ),
            (Wire::Sharded(SubscriptionMode::Static), "SPUBLISH"),
        ] {
            let encoder = Encoder::new("io", wire);
            let (commands, unwritable) =
                commands(&encoder, &[broadcast("[\"a\"]"), broadcast("[\"b\"]")]);
            assert_eq!((commands.len(), unwritable), (2, None));
            for (command, event) in commands.iter().zip([b'a', b'b']) {
                let [publish, channel, payload] = command.args.as_slice() else {
                    panic!("{command:?}");
                };
                assert_eq!(publish, name.as_bytes());
                assert_eq!(channel, b"io#/#");
                assert!(payload.contains(&event), "{command:?}");
            }
        }
    }

    #[test]
    fn a_message_that_cannot_be_written_ends_the_batch_before_it() {
        let wire = Wire::Classic {
            specific_responses: false,
        };
        let batch = [broadcast("[1]"), broadcast("[1"), broadcast("[2]")];
        let (commands, unwritable) = commands(&Encoder::new("io", wire), &batch);
        assert_eq!(
            commands.len(),
            1,
            "the second can never go, the third waits"
        );
        assert!(unwritable.unwrap().contains("cannot be encoded"));
    }
}
