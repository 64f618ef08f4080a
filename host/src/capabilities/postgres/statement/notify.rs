//! Notifications, with rows that they refer to.

use tokio_postgres::types::Type;

use super::{
    Compiled, Param, Reads, invalid,
    names::{check_channel, literal, quoted, quoted_table},
};
use crate::capabilities::postgres::PostgresError;

/// Longest payload of a notification, in bytes.
const MAX_PAYLOAD_BYTES: usize = 7999;
/// Digits of the longest id.
const MAX_ID_BYTES: usize = 19;
/// What a notice counts beside its texts.
const NOTICE_BYTES: usize = 16;
/// First half of the key of the lock that writers of an ordered table take; the second is the
/// table's own number. Advisory locks share one space with all other users of the database.
const LOCK_CLASS: i32 = 0x5377_6274;

/// Sends notices in order; the bodies of some become rows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Notify {
    pub(crate) store: Option<Store>,
    pub(crate) notices: Vec<Notice>,
}

/// Where bodies go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Store {
    pub(crate) table: String,
    pub(crate) body: String,
    pub(crate) id: String,
    pub(crate) ordered: bool,
}

/// One notification.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Notice {
    pub(crate) channel: String,
    /// All of it, or what comes before the id.
    pub(crate) payload: String,
    /// If it refers to a new row.
    pub(crate) row: Option<Row>,
}

/// The row of a notice.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    /// What comes after the id in the payload.
    pub(crate) after: String,
    pub(crate) body: Vec<u8>,
}

impl Notify {
    pub(super) fn bytes(&self) -> usize {
        let sizes = self.notices.iter().map(|notice| {
            let row = notice.row.as_ref();
            let row = row.map_or(0, |row| row.after.len() + row.body.len());
            NOTICE_BYTES + notice.channel.len() + notice.payload.len() + row
        });
        sizes.sum()
    }

    pub(super) fn compile(&self) -> Result<Compiled<'_>, PostgresError> {
        let mut last = "";
        for notice in &self.notices {
            if notice.channel != last || last.is_empty() {
                check_channel(&notice.channel)?;
                last = &notice.channel;
            }
            let row = notice.row.as_ref();
            let more = row.map_or(0, |row| row.after.len() + MAX_ID_BYTES);
            if notice.payload.len() + more > MAX_PAYLOAD_BYTES {
                return Err(PostgresError::TooLarge {
                    limit: MAX_PAYLOAD_BYTES,
                });
            }
        }
        if self.notices.iter().all(|notice| notice.row.is_none()) {
            return Ok(self.plain());
        }
        match &self.store {
            Some(store) => self.stored(store),
            None => invalid("a notice is stored, and `store` says nowhere"),
        }
    }

    /// The function is called for each element in turn; a scan of a function is never parallel.
    fn plain(&self) -> Compiled<'_> {
        if let [alone] = self.notices.as_slice() {
            return Compiled {
                text: "SELECT count(pg_notify($1::text, $2::text)), NULL::int8[]".to_owned(),
                params: vec![
                    (Box::new(alone.channel.as_str()) as Param<'_>, Type::TEXT),
                    (Box::new(alone.payload.as_str()), Type::TEXT),
                ],
                reads: Reads::CountAndIds,
            };
        }
        let channels: Vec<&str> = self.notices.iter().map(|n| n.channel.as_str()).collect();
        let payloads: Vec<&str> = self.notices.iter().map(|n| n.payload.as_str()).collect();
        Compiled {
            text: "SELECT count(pg_notify(c, p)), NULL::int8[] FROM (SELECT c, p FROM \
                   unnest($1::text[], $2::text[]) WITH ORDINALITY AS n(c, p, k) ORDER BY k) n"
                .to_owned(),
            params: vec![
                (Box::new(channels) as Param<'_>, Type::TEXT_ARRAY),
                (Box::new(payloads), Type::TEXT_ARRAY),
            ],
            reads: Reads::CountAndIds,
        }
    }

    /// One statement, so that the ids need not travel here and back. Ids are drawn in the order
    /// of the bodies, so the n-th smallest belongs to the n-th body. That the lock is held before
    /// an id is drawn follows from the join: no body comes out of it earlier.
    fn stored(&self, store: &Store) -> Result<Compiled<'_>, PostgresError> {
        let mut columns = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut bodies: Vec<&[u8]> = Vec::new();
        for notice in &self.notices {
            let mut number = None;
            let mut after = None;
            if let Some(row) = &notice.row {
                bodies.push(&row.body);
                number = i64::try_from(bodies.len()).ok();
                after = Some(row.after.as_str());
            }
            columns.0.push(notice.channel.as_str());
            columns.1.push(notice.payload.as_str());
            columns.2.push(after);
            columns.3.push(number);
        }
        let table = quoted_table(&store.table)?;
        let (body, id) = (quoted(&store.body)?, quoted(&store.id)?);
        let (lock, and_lock) = match store.ordered {
            false => (String::new(), ""),
            true => {
                let name = literal(&table)?;
                let lock = format!(
                    "l AS MATERIALIZED (SELECT pg_advisory_xact_lock({LOCK_CLASS}, \
                     {name}::regclass::oid::bigint::bit(32)::int)), "
                );
                (lock, "l, ")
            }
        };
        let text = format!(
            "WITH {lock}i AS (INSERT INTO {table} ({body}) SELECT b FROM {and_lock}\
             unnest($1::bytea[]) WITH ORDINALITY AS u(b, k) ORDER BY k \
             RETURNING {id}::bigint AS id), \
             r AS (SELECT id, row_number() OVER (ORDER BY id) AS k FROM i) \
             SELECT count(pg_notify(c, p)), array_agg(id) FILTER (WHERE id IS NOT NULL) FROM \
             (SELECT n.c, n.p || coalesce(r.id::text || n.a, '') AS p, r.id FROM \
             unnest($2::text[], $3::text[], $4::text[], $5::int8[]) \
             WITH ORDINALITY AS n(c, p, a, k, o) LEFT JOIN r USING (k) ORDER BY n.o) n"
        );
        Ok(Compiled {
            text,
            params: vec![
                (Box::new(bodies) as Param<'_>, Type::BYTEA_ARRAY),
                (Box::new(columns.0), Type::TEXT_ARRAY),
                (Box::new(columns.1), Type::TEXT_ARRAY),
                (Box::new(columns.2), Type::TEXT_ARRAY),
                (Box::new(columns.3), Type::INT8_ARRAY),
            ],
            reads: Reads::CountAndIds,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn notice(payload: usize, row: Option<usize>) -> Notify {
        let row = row.map(|after| Row {
            after: "x".repeat(after),
            body: Vec::new(),
        });
        Notify {
            store: None,
            notices: vec![Notice {
                channel: "c".to_owned(),
                payload: "x".repeat(payload),
                row,
            }],
        }
    }

    #[test]
    fn a_payload_that_postgres_would_refuse_is_found_before_it_is_sent() {
        let is_ok = |notify: Notify| notify.compile().is_ok();
        assert!(is_ok(notice(7999, None)));
        assert!(!is_ok(notice(8000, None)));
        let too_large = notice(7900, Some(81)).compile().err();
        assert_eq!(too_large, Some(PostgresError::TooLarge { limit: 7999 }));
        // Room for the longest id; but where does the body go?
        let nowhere = notice(7900, Some(80)).compile().err();
        assert!(
            matches!(nowhere, Some(PostgresError::Invalid(_))),
            "{nowhere:?}"
        );
    }

    #[test]
    fn an_empty_channel_is_found_wherever_it_stands() {
        let mut notify = notice(1, None);
        notify.notices[0].channel.clear();
        assert!(notify.compile().is_err());
    }
}
