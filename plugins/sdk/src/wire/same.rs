//! Comparing what is mostly the same.

/// Whether both are the same. A guest's `==` looks at one byte after the other; this at eight.
pub fn is_same(a: &[u8], b: &[u8]) -> bool {
    let (a_words, a_rest) = a.as_chunks::<8>();
    let (b_words, b_rest) = b.as_chunks::<8>();
    let same_words =
        |(a, b): (&[u8; 8], &[u8; 8])| u64::from_le_bytes(*a) == u64::from_le_bytes(*b);
    a.len() == b.len()
        && a_words.iter().zip(b_words).all(same_words)
        && a_rest.iter().zip(b_rest).all(|(a, b)| a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_that_differs_is_seen_wherever_it_stands() {
        for len in 0..40 {
            let a: Vec<u8> = (0..len).collect();
            assert!(is_same(&a, &a.clone()));
            assert!(!is_same(&a, &[&a[..], b"x"].concat()));
            for at in 0..a.len() {
                let mut b = a.clone();
                b[at] ^= 0x80;
                assert!(!is_same(&a, &b), "{at} of {len}");
                assert!(!is_same(&a, &a[..at]));
            }
        }
    }
}
