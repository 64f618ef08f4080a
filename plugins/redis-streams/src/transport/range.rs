//! Reading a stream in pages, with XRANGE, or backwards with XREVRANGE.
//!
//! Pages begin with an entry that is known already, because Redis before 6.2 has no other ranges;
//! and if that entry is no longer there, the stream was trimmed up to here, or is another one.

use switchboard_plugin::{
    Failure,
    redis::{Command, Node, Reply},
};

/// About how many bytes a page has.
const PAGE_BYTES: usize = 1024 * 1024;
/// Most entries of a page.
const MAX_PAGE_ENTRIES: usize = 1000;
/// Fewest: the one that is known, and one more.
const MIN_PAGE_ENTRIES: usize = 2;
/// Entries of the first page, while their size is not known.
const FIRST_PAGE_ENTRIES: usize = 128;

/// The beginning of a stream.
pub(crate) const BEGINNING: &str = "-";
/// Its end.
pub(crate) const END: &str = "+";

/// An entry of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: String,
    /// Names and values.
    pub(crate) fields: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What one page holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// Without the one that was known.
    pub(crate) entries: Vec<Entry>,
    /// The entry that was known is gone: there may have been others between it and these.
    pub(crate) is_torn: bool,
    /// Nothing followed when it was read.
    pub(crate) is_last: bool,
}

/// How large pages are: as many entries as have about 1 MiB.
#[derive(Debug)]
pub(crate) struct Pager {
    entries: usize,
}

impl Default for Pager {
    fn default() -> Self {
        Self {
            entries: FIRST_PAGE_ENTRIES,
        }
    }
}

impl Pager {
    /// Reads a page that begins with the entry `from`, or with [`BEGINNING`].
    pub(crate) fn command(&self, stream: &str, from: &str) -> Command {
        self.range("XRANGE", stream, from, END)
    }

    /// Reads a page backwards: it begins with the entry `from`, or with [`END`].
    pub(crate) fn command_back(&self, stream: &str, from: &str) -> Command {
        self.range("XREVRANGE", stream, from, BEGINNING)
    }

    fn range(&self, name: &str, stream: &str, from: &str, to: &str) -> Command {
        let count = self.entries.to_string();
        let args = [name, stream, from, to, "COUNT", &count];
        Command {
            args: args.map(|arg| arg.as_bytes().to_vec()).into(),
        }
    }

    /// The page that is the reply to [`Self::command`] or [`Self::command_back`] with the same
    /// `from`.
    ///
    /// # Errors
    /// `Unavailable`: no answer; the next page will be smaller, as this one may have been too
    /// large. `Rejected`: Redis refuses, or answers something else.
    pub(crate) fn page(&mut self, from: &str, reply: Option<Reply>) -> Result<Page, Failure> {
        let nodes = match reply {
            Some(Reply::Array(nodes)) => nodes,
            Some(Reply::NotExecuted(why)) => return Err(Failure::Unavailable(why)),
            Some(Reply::Unknown(why)) => {
                self.entries = (self.entries / 4).max(MIN_PAGE_ENTRIES);
                return Err(Failure::Unavailable(why));
            }
            Some(Reply::Error(why)) => {
                return Err(Failure::Rejected(format!(
                    "Redis does not show its entries: {why}"
                )));
            }
            _ => return Err(odd()),
        };
        let mut entries = entries(nodes).ok_or_else(odd)?;
        let is_last = entries.len() < self.entries;
        self.adapt(&entries);
        let is_there = entries.first().is_some_and(|entry| entry.id == from);
        if is_there {
            entries.remove(0);
        }
        Ok(Page {
            entries,
            is_torn: !is_there && ![BEGINNING, END].contains(&from),
            is_last,
        })
    }

    fn adapt(&mut self, entries: &[Entry]) {
        let bytes: usize = entries.iter().map(Entry::bytes).sum();
        if let Some(average) = bytes.checked_div(entries.len()) {
            let count = PAGE_BYTES / average.max(1);
            self.entries = count.clamp(MIN_PAGE_ENTRIES, MAX_PAGE_ENTRIES);
        }
    }
}

impl Entry {
    fn bytes(&self) -> usize {
        let fields = self.fields.iter();
        fields.map(|(name, value)| name.len() + value.len()).sum()
    }
}

fn odd() -> Failure {
    Failure::Rejected("Redis answers with something else than entries".to_owned())
}

/// Arrays of an id and an array of names and values each.
fn entries(nodes: Vec<Node>) -> Option<Vec<Entry>> {
    let mut nodes = nodes.into_iter();
    let mut entries = Vec::new();
    while let Some(node) = nodes.next() {
        let (Node::Array(2), Some(Node::Bulk(id)), Some(Node::Array(len))) =
            (node, nodes.next(), nodes.next())
        else {
            return None;
        };
        let mut fields = Vec::new();
        for _ in 0..len / 2 {
            let (Some(Node::Bulk(name)), Some(Node::Bulk(value))) = (nodes.next(), nodes.next())
            else {
                return None;
            };
            fields.push((name, value));
        }
        entries.push(Entry {
            id: String::from_utf8(id).ok()?,
            fields,
        });
    }
    Some(entries)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;

    /// What Redis answers to an XRANGE that finds these.
    pub(crate) fn reply(entries: &[Entry]) -> Reply {
        let mut nodes = Vec::new();
        for Entry { id, fields } in entries {
            nodes.push(Node::Array(2));
            nodes.push(Node::Bulk(id.clone().into_bytes()));
            nodes.push(Node::Array(2 * fields.len() as u32));
            for (name, value) in fields {
                nodes.push(Node::Bulk(name.clone()));
                nodes.push(Node::Bulk(value.clone()));
            }
        }
        Reply::Array(nodes)
    }

    fn entry(id: &str, bytes: usize) -> Entry {
        Entry {
            id: id.to_owned(),
            fields: vec![(b"data".to_vec(), vec![0; bytes])],
        }
    }

    fn ids(page: &Page) -> Vec<&str> {
        page.entries.iter().map(|entry| entry.id.as_str()).collect()
    }

    #[test]
    fn a_page_begins_behind_the_entry_that_is_known() {
        let found = reply(&[entry("1-0", 1), entry("1-1", 1)]);
        let page = Pager::default().page("1-0", Some(found.clone())).unwrap();
        assert_eq!(
            (ids(&page), page.is_torn, page.is_last),
            (vec!["1-1"], false, true)
        );
        let page = Pager::default().page("0-9", Some(found.clone())).unwrap();
        assert_eq!((ids(&page), page.is_torn), (vec!["1-0", "1-1"], true));
        for all in [BEGINNING, END] {
            let page = Pager::default().page(all, Some(found.clone())).unwrap();
            assert_eq!((ids(&page), page.is_torn), (vec!["1-0", "1-1"], false));
        }
        let page = Pager::default().page("1-0", Some(reply(&[]))).unwrap();
        assert!(page.is_torn && page.is_last, "the stream is gone");
    }

    #[test]
    fn pages_are_as_long_as_entries_are_short() {
        let mut pager = Pager::default();
        let full = |pager: &Pager, bytes| {
            let entries: Vec<_> = (0..pager.entries)
                .map(|n| entry(&format!("1-{n}"), bytes))
                .collect();
            reply(&entries)
        };
        let found = full(&pager, 100);
        assert!(!pager.page(BEGINNING, Some(found)).unwrap().is_last);
        assert_eq!(pager.entries, MAX_PAGE_ENTRIES);
        let found = full(&pager, 16 * 1024);
        pager.page(BEGINNING, Some(found)).unwrap();
        assert_eq!(pager.entries, 63);
        pager
            .page(BEGINNING, Some(reply(&[entry("1-0", 9 * PAGE_BYTES)])))
            .unwrap();
        assert_eq!(pager.entries, MIN_PAGE_ENTRIES, "it must get on");
        let command = pager.command("io", "1-0");
        assert_eq!(
            command.args,
            ["XRANGE", "io", "1-0", "+", "COUNT", "2"].map(|arg| arg.as_bytes().to_vec())
        );
        let command = pager.command_back("io", "+");
        assert_eq!(
            command.args,
            ["XREVRANGE", "io", "+", "-", "COUNT", "2"].map(|arg| arg.as_bytes().to_vec())
        );
    }

    #[test]
    fn a_page_that_did_not_come_is_smaller_the_next_time() {
        let mut pager = Pager::default();
        for expected in [32, 8, 2, 2] {
            let failed = pager.page("1-0", Some(Reply::Unknown("cut".into())));
            assert!(matches!(failed, Err(Failure::Unavailable(_))));
            assert_eq!(pager.entries, expected);
        }
        let failed = Pager::default().page("1-0", Some(Reply::NotExecuted("away".into())));
        assert!(matches!(failed, Err(Failure::Unavailable(_))));
    }

    #[test]
    fn what_is_no_list_of_entries_is_refused() {
        let bulk = || Node::Bulk(b"x".to_vec());
        for reply in [
            None,
            Some(Reply::Nil),
            Some(Reply::Error("WRONGTYPE".into())),
            Some(Reply::Array(vec![bulk()])),
            Some(Reply::Array(vec![Node::Array(2), bulk()])),
            Some(Reply::Array(vec![Node::Array(2), bulk(), Node::Nil])),
            Some(Reply::Array(vec![
                Node::Array(2),
                bulk(),
                Node::Array(2),
                bulk(),
            ])),
            Some(Reply::Array(vec![
                Node::Array(2),
                Node::Nil,
                Node::Array(0),
            ])),
            Some(Reply::Array(vec![
                Node::Array(2),
                Node::Bulk(vec![0xff]),
                Node::Array(0),
            ])),
        ] {
            let refused = Pager::default().page("1-0", reply.clone());
            assert!(matches!(refused, Err(Failure::Rejected(_))), "{reply:?}");
        }
    }
}
