//! The way out.

use switchboard_plugin::{
    Batch, Config, Failure, Membership, OpenFailure, PublishFailure, Publisher, TransportInfo,
    node,
    redis::Client,
    redis_outcome::{open_failure, subscribers},
    warn,
    wire::pubsub,
};

use super::{delivery::Delivery, letters::Letters};
use crate::options::Options;

/// Writes batches to Redis: one pipeline each, one command for each message.
pub struct Out {
    client: Client,
    letters: Letters,
    delivery: Delivery,
    channel_prefix: String,
    is_sharded: bool,
}

impl Publisher for Out {
    fn open(config: Config) -> Result<(Self, TransportInfo), OpenFailure> {
        let options = Options::read(&config)?;
        let client = Client::open(&options.connection).map_err(open_failure)?;
        let letters = Letters::new(&options);
        let out = Self {
            client,
            delivery: Delivery::new(letters.streams().clone(), config.node, options.max_len),
            letters,
            channel_prefix: options.channel_prefix,
            is_sharded: options.is_sharded,
        };
        let info = TransportInfo {
            // Node's servers send no heartbeats on this wire.
            membership: Membership::Counted,
            // They could not answer either of these, but would be waited for. Without them the
            // host asks in a form that they know.
            rooms_query: false,
            custom_query: false,
            reports_leaving: false,
        };
        Ok((out, info))
    }

    fn publish(&mut self, messages: Batch, first: u64) -> Result<Vec<String>, PublishFailure> {
        // All of it before anything is sent: should one message be the death of this instance,
        // none is out.
        let (mut batch, unwritable) = self.letters.write(messages.iter());
        // Large, and not needed while Redis is waited for.
        drop(messages);
        let client = &self.client;
        let report = self
            .delivery
            .send(&mut batch, first, node::now_ms, |commands| {
                client.pipeline(commands)
            });
        self.letters.take_back(batch);
        for warning in report.warnings {
            warn(&warning);
        }
        let reason = report.failure.or(unwritable.map(Failure::Rejected));
        match reason {
            None => Ok(report.offsets),
            Some(reason) => Err(PublishFailure {
                accepted: report.offsets.len() as u32,
                offsets: report.offsets,
                reason,
            }),
        }
    }

    fn count_nodes(&mut self, namespace: String) -> Result<Option<u32>, Failure> {
        let channel = pubsub::public_channel(&self.channel_prefix, &namespace);
        subscribers(&self.client, &channel, self.is_sharded)
    }

    fn close(self) {
        self.client.close();
    }
}
