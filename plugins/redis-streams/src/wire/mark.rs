//! What our entries carry beside Node's fields: who wrote an entry, and the number of the message
//! among all that this server has handed out.
//!
//! A message has one mark for ever, whoever writes it, how often, and under which instance of the
//! plugin. So an entry that is there twice, because nobody could find out what had become of it, is
//! known. Along a stream the numbers of a server grow, but for those of one batch: in Redis Cluster
//! one of them may be sent on to another node while the others go in.

use std::collections::HashMap;

use switchboard_plugin::wire::MAX_NODE_ID_BYTES;

/// The field's name.
pub const FIELD: &[u8] = b"n";

/// Messages of one batch, as the contract has it (`publish` in `transport.wit`). One message is
/// never further ahead of another that is not settled.
pub const MAX_BATCH: u64 = 512;

/// Servers and streams that one [`Seen`] knows in each of its two halves.
const MAX_SERVERS: usize = 10_000;

/// The mark of an entry, `<node id>-<number>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark<'a> {
    /// Which server wrote it. Its id is a new one each time that it starts; it may hold `-`.
    pub node: &'a str,
    /// The message's number.
    pub number: u64,
}

impl<'a> Mark<'a> {
    /// Puts the mark where another text was.
    pub fn write(self, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(self.node.as_bytes());
        out.push(b'-');
        out.extend_from_slice(itoa::Buffer::new().format(self.number).as_bytes());
    }

    /// Reads a mark. None: it is no such mark, so the entry has none.
    pub fn read(text: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (node, number) = text.rsplit_once('-')?;
        if !(1..=MAX_NODE_ID_BYTES).contains(&node.len()) || number.starts_with('+') {
            return None;
        }
        Some(Self {
            node,
            number: number.parse().ok()?,
        })
    }
}

/// The last numbers of each server in each stream. Bounded: of more than 10,000 servers, those that
/// were silent for longest are forgotten.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    recent: Half,
    older: Half,
}

impl Seen {
    /// Whether this entry was there before; if not, it is from now on. `stream` tells streams apart
    /// and counts from 0.
    pub fn is_repeated(&mut self, stream: usize, mark: Mark<'_>) -> bool {
        if let Some(window) = self.recent.get_mut(stream, mark.node) {
            return !window.take(mark.number);
        }
        let known = self.older.remove(stream, mark.node);
        if self.recent.len >= MAX_SERVERS {
            self.older = std::mem::take(&mut self.recent);
        }
        let is_new = known.is_none();
        let mut window = known.unwrap_or_else(|| Window::at(mark.number));
        let is_repeated = !is_new && !window.take(mark.number);
        self.recent.insert(stream, mark.node, window);
        is_repeated
    }
}

/// Servers by stream and id.
#[derive(Debug, Clone, Default)]
struct Half {
    streams: Vec<HashMap<String, Window>>,
    len: usize,
}

impl Half {
    fn get_mut(&mut self, stream: usize, node: &str) -> Option<&mut Window> {
        self.streams.get_mut(stream)?.get_mut(node)
    }

    fn remove(&mut self, stream: usize, node: &str) -> Option<Window> {
        let window = self.streams.get_mut(stream)?.remove(node)?;
        self.len -= 1;
        Some(window)
    }

    /// Adds a server that is not there.
    fn insert(&mut self, stream: usize, node: &str, window: Window) {
        if self.streams.len() <= stream {
            self.streams.resize_with(stream + 1, HashMap::new);
        }
        if let Some(servers) = self.streams.get_mut(stream) {
            servers.insert(node.to_owned(), window);
            self.len += 1;
        }
    }
}

/// Which of the last [`MAX_BATCH`] numbers were there. What is older was there as well: nothing is
/// overtaken by more than one batch.
#[derive(Debug, Clone)]
struct Window {
    highest: u64,
    /// One bit for each number, at the place of its remainder.
    taken: [u64; WORDS],
}

const WORDS: usize = (MAX_BATCH / 64) as usize;

impl Window {
    fn at(number: u64) -> Self {
        let mut window = Self {
            highest: number,
            taken: [0; WORDS],
        };
        window.mark(number);
        window
    }

    /// Whether the number is new.
    fn take(&mut self, number: u64) -> bool {
        if number > self.highest {
            // Their places are those of numbers that leave the window.
            let passed = (number - self.highest).min(MAX_BATCH);
            for behind in 0..passed {
                let (word, bit) = place(number - behind);
                if let Some(word) = self.taken.get_mut(word) {
                    *word &= !bit;
                }
            }
            self.highest = number;
            return self.mark(number);
        }
        self.highest - number < MAX_BATCH && self.mark(number)
    }

    /// Whether it was not marked.
    fn mark(&mut self, number: u64) -> bool {
        let (word, bit) = place(number);
        let Some(word) = self.taken.get_mut(word) else {
            return false;
        };
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}

fn place(number: u64) -> (usize, u64) {
    let at = number % MAX_BATCH;
    ((at / 64) as usize, 1 << (at % 64))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn mark(node: &str, number: u64) -> Mark<'_> {
        Mark { node, number }
    }

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let mut text = b"before".to_vec();
        for (mark, expected) in [
            (mark("QWxhZGRpbjpvcGVu", 0), "QWxhZGRpbjpvcGVu-0"),
            // The number stands behind the last one.
            (mark("a-_b-7-", 7), "a-_b-7--7"),
            (mark("é", u64::MAX), "é-18446744073709551615"),
        ] {
            mark.write(&mut text);
            assert_eq!(String::from_utf8(text.clone()).unwrap(), expected);
            assert_eq!(Mark::read(&text), Some(mark));
        }
    }

    #[test]
    fn what_is_no_mark_is_none() {
        let long = format!("{}-1", "x".repeat(MAX_NODE_ID_BYTES + 1));
        for text in [
            "",
            "-",
            "-1",
            "node",
            "node-",
            "node-x",
            "node-+1",
            "node-18446744073709551616",
            &long,
        ] {
            assert_eq!(Mark::read(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Mark::read(b"n\xffde-1"), None);
    }

    #[test]
    fn an_entry_that_comes_again_is_known_in_its_stream_only() {
        let mut seen = Seen::default();
        let first =
            |seen: &mut Seen, stream, node, number| !seen.is_repeated(stream, mark(node, number));
        assert!(first(&mut seen, 0, "a", 1));
        assert!(first(&mut seen, 0, "a", 5), "gaps are no harm");
        assert!(!first(&mut seen, 0, "a", 5));
        assert!(!first(&mut seen, 0, "a", 1));
        assert!(first(&mut seen, 0, "a", 6));
        assert!(first(&mut seen, 3, "a", 6), "another stream");
        assert!(first(&mut seen, 0, "b", 1), "another server");
    }

    #[test]
    fn one_that_others_have_overtaken_is_no_repeated_one() {
        let mut seen = Seen::default();
        let first = |seen: &mut Seen, number| !seen.is_repeated(0, mark("a", number));
        for number in [1000, 1001 + MAX_BATCH - 2, 1002, 1001] {
            assert!(first(&mut seen, number), "{number}");
            assert!(!first(&mut seen, number), "{number}");
        }
        assert!(first(&mut seen, 1001 + MAX_BATCH));
        assert!(!first(&mut seen, 1001), "too old to be a new one");
        assert!(!first(&mut seen, 1002));
        assert!(first(&mut seen, 1003));
    }

    #[test]
    fn numbers_are_taken_once_however_they_jump() {
        let mut seen = Seen::default();
        let mut known = std::collections::HashSet::new();
        let mut state = 1u64;
        let mut highest = 0;
        for _ in 0..20_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            // Mostly a little ahead, sometimes far, often behind.
            let number = match state % 5 {
                0 => highest + 1,
                1 => highest + state / 8 % 7,
                2 if (state / 8).is_multiple_of(50) => highest + state / 512 % 2000,
                _ => highest.saturating_sub(state / 8 % (MAX_BATCH + 100)),
            };
            let is_old = highest.saturating_sub(number) >= MAX_BATCH;
            let expected = is_old || !known.insert(number);
            highest = highest.max(number);
            assert_eq!(seen.is_repeated(0, mark("a", number)), expected, "{number}");
        }
        assert!(highest > 10_000, "it got on");
    }

    #[test]
    fn those_that_were_silent_for_longest_are_forgotten() {
        let mut seen = Seen::default();
        assert!(!seen.is_repeated(0, mark("z", 9)));
        for node in 0..2 * MAX_SERVERS as u64 {
            assert!(!seen.is_repeated(0, mark(&node.to_string(), 1)));
            // It goes on writing all the time.
            assert!(!seen.is_repeated(0, mark("z", 10 + node)));
            assert!(seen.is_repeated(0, mark("z", 10 + node)));
        }
        assert!(seen.recent.len <= MAX_SERVERS && seen.older.len <= MAX_SERVERS);
        let held = |half: &Half| half.streams.iter().map(HashMap::len).sum::<usize>();
        assert_eq!(held(&seen.recent), seen.recent.len);
        assert_eq!(held(&seen.older), seen.older.len);
        let last = (2 * MAX_SERVERS - 1).to_string();
        assert!(seen.is_repeated(0, mark(&last, 1)));
        assert!(!seen.is_repeated(0, mark("0", 1)), "forgotten");
    }

    #[test]
    fn a_server_is_known_for_as_long_as_there_are_not_too_many_others() {
        let mut seen = Seen::default();
        assert!(!seen.is_repeated(0, mark("z", 5)));
        for node in 0..MAX_SERVERS {
            assert!(!seen.is_repeated(0, mark(&node.to_string(), 1)));
        }
        assert!(seen.recent.len < MAX_SERVERS, "it is among the older ones");
        assert!(seen.is_repeated(0, mark("z", 5)));
        assert!(!seen.is_repeated(0, mark("z", 6)));
    }
}
