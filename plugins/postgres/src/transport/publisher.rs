//! The way out.

use switchboard_plugin::{
    Batch, Config, Failure, OpenFailure, PublishFailure, Publisher, TransportInfo, node,
    postgres::{Client, Notice},
    warn,
};

use super::{
    fleeting,
    kept::Delivery,
    letters,
    outcome::{Trouble, open_failure},
    tables::{Cleaning, Creation, Tables},
};
use crate::{options::Options, wire::letter::Writer};

/// Writes batches to Postgres: one transaction each.
pub struct Out {
    client: Client,
    writer: Writer,
    tables: Tables,
    creation: Creation,
    cleaning: Cleaning,
    /// With `durable`.
    kept: Option<Delivery>,
    /// What the operator was told last of the tables.
    told: Option<String>,
}

/// What the host is told of a batch.
#[derive(Default)]
struct Report {
    accepted: usize,
    offsets: Vec<String>,
    failure: Option<Failure>,
    has_no_table: bool,
}

impl Publisher for Out {
    fn open(config: Config) -> Result<(Self, TransportInfo), OpenFailure> {
        let options = Options::read(&config)?;
        let client = Client::open(&options.connection).map_err(open_failure)?;
        let tables = Tables::of(&options.table);
        let is_durable = options.durable.is_some();
        let phase = f64::from(node::random_bytes(1).first().copied().unwrap_or(0)) / 256.0;
        let out = Self {
            client,
            writer: Writer::new(
                &options.channel_prefix,
                options.payload_threshold,
                is_durable,
            ),
            creation: Creation::new(&tables, options.create_table, is_durable),
            cleaning: Cleaning::new(
                &tables,
                options.cleanup_interval_ms,
                options.max_age_ms(),
                is_durable,
                (node::now_ms(), phase),
            ),
            kept: is_durable.then(|| Delivery::new(tables.clone(), config.node)),
            tables,
            told: None,
        };
        Ok((out, TransportInfo::default()))
    }

    fn publish(&mut self, batch: Batch, first: u64) -> Result<Vec<String>, PublishFailure> {
        self.create_tables();
        let (notices, unwritable) = letters::write(&self.writer, batch.iter(), first);
        let mut report = self.send(notices, first);
        // Not with what is left of the first attempt: that is written anew, which costs little when
        // a table was just created.
        if report.has_no_table && self.creation.is_gone() && self.create_tables() {
            let skipped = report.accepted;
            let left = batch.iter().skip(skipped);
            let (notices, _) = letters::write(&self.writer, left, first + skipped as u64);
            let again = self.send(notices, first + skipped as u64);
            report.offsets.extend(again.offsets);
            report = Report {
                accepted: skipped + again.accepted,
                offsets: report.offsets,
                ..again
            };
        }
        drop(batch);
        self.clean();
        match report.failure.or(unwritable.map(Failure::Rejected)) {
            None => Ok(report.offsets),
            Some(reason) => Err(PublishFailure {
                accepted: report.accepted as u32,
                offsets: report.offsets,
                reason,
            }),
        }
    }

    fn close(self) {
        self.client.close();
    }
}

impl Out {
    fn send(&mut self, notices: Vec<Notice>, first: u64) -> Report {
        let client = &self.client;
        let batch = |statements: &[_]| client.batch(statements);
        let Some(kept) = &mut self.kept else {
            let sent = fleeting::send(&self.tables, notices, batch);
            if let Some((count, why)) = sent.in_doubt {
                warn(&format!(
                    "{count} messages may not have been sent and are not sent again: the \
                     connection to Postgres was lost before it had answered ({why})"
                ));
            }
            return Report {
                accepted: sent.accepted,
                offsets: Vec::new(),
                failure: sent.failure,
                has_no_table: sent.has_no_table,
            };
        };
        let sent = kept.send(notices, first, node::now_ms(), batch);
        Report {
            accepted: sent.offsets.len(),
            offsets: sent.offsets,
            failure: sent.failure,
            has_no_table: sent.has_no_table,
        }
    }

    /// Sees to it that there are tables, as far as that can be done now. What needs none must not
    /// wait for it.
    fn create_tables(&mut self) -> bool {
        match self.creation.create(&self.client, node::now_ms()) {
            Ok(()) => {
                self.told = None;
                true
            }
            // The batch finds out for itself.
            Err(Trouble::Away(_) | Trouble::InDoubt(_)) => false,
            Err(other) => {
                let why = other.why();
                let waits = match self.kept {
                    Some(_) => "nothing is sent until there is one",
                    None => "what is binary or long cannot be sent",
                };
                self.tell(format!(
                    "a table is missing and cannot be created, so {waits}: {why}. Create {} as the \
                     README says, or let this server's role do so",
                    self.tables.attachments
                ));
                false
            }
        }
    }

    fn clean(&mut self) {
        let client = &self.client;
        let cleaned = self
            .cleaning
            .step(node::now_ms(), |statements| client.batch(statements));
        match cleaned {
            Ok(()) | Err(Trouble::Away(_) | Trouble::InDoubt(_) | Trouble::NoTable(_)) => {}
            Err(other) => {
                let why = other.why();
                self.tell(format!(
                    "old rows of the table {} cannot be deleted: {why}",
                    self.tables.attachments
                ));
            }
        }
    }

    /// Once, until something else is to be told.
    fn tell(&mut self, what: String) {
        if self.told.as_ref() != Some(&what) {
            warn(&what);
            self.told = Some(what);
        }
    }
}
