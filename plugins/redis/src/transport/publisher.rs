//! The way out.

use switchboard_plugin::{
    Batch, Config, Failure, Membership, OpenFailure, PublishFailure, Publisher, TransportInfo,
    redis::Client,
    redis_outcome::{open_failure, subscribers},
    warn,
};

use super::{
    ahead::Ahead,
    commands::Commands,
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

    fn publish(&mut self, batch: Batch, _first: u64) -> Result<Vec<String>, PublishFailure> {
        let (commands, unwritable) = commands(&self.encoder, &batch);
        // Large, and not needed while Redis is waited for.
        drop(batch);
        let publish = |some: &[&[u8]]| commands.publish(&self.client, some);
        let fates = self.ahead.send(&commands.each(), publish);
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

/// The commands for the messages, up to the first that can never be written, and why it cannot.
fn commands(encoder: &Encoder, batch: &Batch) -> (Commands, Option<String>) {
    let mut commands = Commands::new(encoder.is_sharded(), batch.len());
    let mut publication = Publication::default();
    let unwritable = batch.iter().find_map(|message| {
        let written = encoder.encode(message, &mut publication);
        written.map(|()| commands.push(&publication)).err()
    });
    (commands, unwritable.map(|why| why.to_string()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use switchboard_plugin::{
        redis::write_command,
        types::{Body, Broadcast, Message, Payload, Target},
    };

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
            let batch = [broadcast("[\"a\"]"), broadcast("[\"b\"]")];
            let expected = batch.each_ref().map(|message| {
                let mut publication = Publication::default();
                encoder.encode(message, &mut publication).unwrap();
                assert_eq!(publication.channel, "io#/#");
                let mut command = Vec::new();
                let args = [name.as_bytes(), b"io#/#", &publication.payload];
                write_command(&args, &mut command);
                command
            });
            let (commands, unwritable) = commands(&encoder, &batch.into_iter().collect());
            assert_eq!(
                (commands.each(), unwritable),
                (expected.each_ref().map(|c| &c[..]).into(), None)
            );
        }
    }

    #[test]
    fn a_message_that_cannot_be_written_ends_the_batch_before_it() {
        let wire = Wire::Classic {
            specific_responses: false,
        };
        let batch = [broadcast("[1]"), broadcast("[1"), broadcast("[2]")];
        let batch = batch.into_iter().collect();
        let (commands, unwritable) = commands(&Encoder::new("io", wire), &batch);
        assert_eq!(
            commands.len(),
            1,
            "the second can never go, the third waits"
        );
        assert!(unwritable.unwrap().contains("cannot be encoded"));
    }
}
