//! Which namespace uses which stream.

/// The names of a cluster's streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Streams {
    /// Those with a remainder from 0 on, then those with a negative one.
    names: Vec<String>,
    count: u32,
}

impl Streams {
    /// `name` and `count` are Node's options `streamName` and `streamCount`.
    pub fn new(name: &str, count: u32) -> Self {
        let names = match count {
            0 | 1 => vec![name.to_owned()],
            // The names that a negative remainder yields have two hyphens: Node's servers write
            // there, too, but do not read.
            count => (0..count)
                .map(|index| format!("{name}-{index}"))
                .chain((1..count).map(|index| format!("{name}--{index}")))
                .collect(),
        };
        Self {
            names,
            count: count.max(1),
        }
    }

    /// All names that somebody may write to: one, or twice as many as `streamCount` less one.
    pub fn all(&self) -> &[String] {
        &self.names
    }

    /// Where among [`Self::all`] the stream of a namespace stands.
    pub fn index(&self, namespace: &str) -> usize {
        let remainder = i64::from(hash(namespace)) % i64::from(self.count);
        let distance = remainder.unsigned_abs() as usize;
        match remainder {
            0.. => distance,
            _ => self.count as usize - 1 + distance,
        }
    }

    /// The name at an index that [`Self::index`] gave.
    pub fn name(&self, index: usize) -> &str {
        self.names.get(index).map_or("", String::as_str)
    }

    /// The stream of a namespace.
    pub fn of(&self, namespace: &str) -> &str {
        self.name(self.index(namespace))
    }
}

/// Java's hash of a text, over UTF-16 units.
fn hash(text: &str) -> i32 {
    text.encode_utf16().fold(0, |hash: i32, unit| {
        hash.wrapping_mul(31).wrapping_add(unit.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stream_has_the_plain_name_and_several_are_numbered_both_ways() {
        assert_eq!(Streams::new("io", 1).all(), ["io"]);
        let names = Streams::new("io", 3);
        assert_eq!(names.all(), ["io-0", "io-1", "io-2", "io--1", "io--2"]);
    }

    #[test]
    fn the_sign_of_the_hash_stays() {
        let names = Streams::new("io", 3);
        assert_eq!(hash("/my-namespace"), -1_403_629_527);
        assert_eq!(hash("/"), 47);
        assert_eq!(names.of("/"), "io-2");
        // -1403629527 is divisible by 3: minus nought is printed as 0.
        assert_eq!(names.of("/my-namespace"), "io-0");
        assert_eq!(names.of("/admin?x=1"), "io--1");
        let all = Streams::new("io", 32);
        for namespace in ["/", "/chat", "/my-namespace", "/admin?x=1", "/😀", ""] {
            assert!(!all.of(namespace).is_empty(), "{namespace}");
            assert_eq!(Streams::new("io", 1).of(namespace), "io");
        }
    }
}
