//! Reading lines from a process, whatever it writes: no line takes more than a limit.

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// A longer line is handed out in pieces of this size. Answers with a thousand events fit easily.
const MAX_LINE_BYTES: u64 = 64 * 1024 * 1024;

/// The next line without its end; none when the stream has ended or cannot be read any more.
pub(crate) async fn next_line(stream: &mut (impl AsyncBufRead + Unpin)) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    match stream
        .take(MAX_LINE_BYTES)
        .read_until(b'\n', &mut line)
        .await
    {
        Ok(0) | Err(_) => return None,
        Ok(_) => {}
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    Some(line)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::next_line;

    #[tokio::test]
    async fn lines_come_without_their_ends_and_the_last_needs_none() {
        let mut stream = &b"one\n\nthree"[..];
        assert_eq!(next_line(&mut stream).await.unwrap(), b"one");
        assert_eq!(next_line(&mut stream).await.unwrap(), b"");
        assert_eq!(next_line(&mut stream).await.unwrap(), b"three");
        assert_eq!(next_line(&mut stream).await, None);
    }
}
