//! The way out.

use switchboard_plugin::{
    Batch, Config, Failure, Membership, MessageRef, OpenFailure, PublishFailure, Publisher,
    TransportInfo,
    redis::{Client, Error, Reply, write_command},
    redis_outcome::{open_failure, subscribers},
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

/// What a command has beside the channel and the payload, and a little more.
const COMMAND_BYTES: usize = 64;

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
        let (publications, unwritable) = publications(&self.encoder, batch.iter());
        // Large, and not needed while Redis is waited for.
        drop(batch);
        let (client, is_sharded) = (&self.client, self.encoder.is_sharded());
        let fates = self.ahead.send(&publications, |publications| {
            publish(client, is_sharded, publications)
        });
        if let Some((count, why)) = doubts(&fates) {
            warn(&format!(
                "{count} messages may not have been sent and are not sent again: the connection \
                 to Redis was lost before it had answered ({why})"
            ));
        }
        let failure = first_failure(&fates)
            .or_else(|| unwritable.map(|why| (publications.len(), Failure::Rejected(why))));
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

/// What is to be published for the messages, up to the first that can never be written, and why it cannot.
fn publications<'m>(
    encoder: &Encoder,
    batch: impl IntoIterator<Item: Into<MessageRef<'m>>>,
) -> (Vec<Publication>, Option<String>) {
    let mut publications = Vec::new();
    let unwritable = batch
        .into_iter()
        .find_map(|message| encoder.encode(message, &mut publications).err());
    (publications, unwritable.map(|why| why.to_string()))
}

/// Publishes in order, in one round trip.
pub(super) fn publish(
    client: &Client,
    is_sharded: bool,
    publications: &[Publication],
) -> Result<Vec<Reply>, Error> {
    client.pipeline_written(&written(is_sharded, publications))
}

fn written(is_sharded: bool, publications: &[Publication]) -> Vec<u8> {
    let publish: &[u8] = match is_sharded {
        true => b"SPUBLISH",
        false => b"PUBLISH",
    };
    let bytes = publications
        .iter()
        .map(|publication| publication.channel.len() + publication.payload.len() + COMMAND_BYTES);
    let mut commands = Vec::with_capacity(bytes.sum());
    for Publication { channel, payload } in publications {
        write_command(&[publish, channel.as_bytes(), payload], &mut commands);
    }
    commands
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use switchboard_plugin::types::{Body, Broadcast, Message, Payload, Target};

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
            let (publications, unwritable) = publications(&encoder, &batch);
            assert_eq!((publications.len(), unwritable), (2, None));
            let mut expected = Vec::new();
            for (publication, event) in publications.iter().zip([b'a', b'b']) {
                assert_eq!(publication.channel, "io#/#");
                assert!(publication.payload.contains(&event), "{publication:?}");
                let args = [name.as_bytes(), b"io#/#", &publication.payload];
                write_command(&args, &mut expected);
            }
            assert_eq!(written(encoder.is_sharded(), &publications), expected);
        }
    }

    #[test]
    fn a_message_that_cannot_be_written_ends_the_batch_before_it() {
        let wire = Wire::Classic {
            specific_responses: false,
        };
        let batch = [broadcast("[1]"), broadcast("[1"), broadcast("[2]")];
        let (publications, unwritable) = publications(&Encoder::new("io", wire), &batch);
        assert_eq!(
            publications.len(),
            1,
            "the second can never go, the third waits"
        );
        assert!(unwritable.unwrap().contains("cannot be encoded"));
    }
}
