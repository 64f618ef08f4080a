//! How many entries one `XREAD` asks for: more while the reader is behind, fewer when they are
//! large.

/// The most entries of one read. Redis serves nobody else while it writes them.
const MAX_COUNT: usize = 2048;
/// About the most bytes of one read.
const MAX_READ_BYTES: usize = 1 << 20;

/// The `COUNT` of the next read.
#[derive(Debug)]
pub(super) struct Pace {
    asked: usize,
    next: usize,
}

impl Pace {
    /// Begins with as many as the plugin asked for.
    pub(super) fn new(asked: u32) -> Self {
        let asked = usize::try_from(asked).unwrap_or(MAX_COUNT);
        let asked = asked.clamp(1, MAX_COUNT);
        Self { asked, next: asked }
    }

    pub(super) fn count(&self) -> usize {
        self.next
    }

    /// A read brought so many entries with so many bytes.
    pub(super) fn brought(&mut self, entries: usize, bytes: usize) {
        let wanted = match entries >= self.next {
            // There is more.
            true => self.next.saturating_mul(2).min(MAX_COUNT),
            false => self.asked,
        };
        // Of those that came the next ones have no reason to be much larger.
        let average = bytes.checked_div(entries).unwrap_or(0).max(1);
        self.next = wanted.min(MAX_READ_BYTES / average).max(1);
    }

    /// A read was over the limit after so many entries.
    pub(super) fn exceeded(&mut self, entries: usize) {
        self.next = (entries / 2).clamp(1, self.next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_grows_while_replies_are_full_and_falls_back_to_what_was_asked() {
        let mut pace = Pace::new(100);
        let mut counts = Vec::new();
        for _ in 0..7 {
            counts.push(pace.count());
            pace.brought(pace.count(), pace.count() * 64);
        }
        assert_eq!(counts, [100, 200, 400, 800, 1600, 2048, 2048]);
        pace.brought(2047, 2047 * 64);
        assert_eq!(pace.count(), 100);
        pace.brought(0, 0);
        assert_eq!(pace.count(), 100);
    }

    #[test]
    fn large_entries_are_read_a_few_at_a_time() {
        let mut pace = Pace::new(1000);
        pace.brought(3, 3 << 18);
        assert_eq!(pace.count(), 4, "of a quarter of a mebibyte each");
        pace.brought(4, 400);
        assert_eq!(pace.count(), 8, "as soon as they are small again");
        pace.brought(8, 8 << 30);
        assert_eq!(pace.count(), 1, "never none");
        let mut pace = Pace::new(1000);
        pace.exceeded(7);
        assert_eq!(pace.count(), 3);
        pace.exceeded(0);
        assert_eq!(pace.count(), 1);
    }
}
