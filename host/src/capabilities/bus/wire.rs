//! Frames over a stream: a reader that cuts them out of one buffer without copying payloads, and a
//! batch that is written with as few system calls as it takes.

use std::{collections::VecDeque, io, io::IoSlice};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::frame::{self, BadFrame, Data, Frame, HEADER_BYTES};

/// What one read asks for. Frames that arrive together share this buffer until the last of them
/// is gone.
const READ_BUFFER_BYTES: usize = 64 << 10;
/// With less room than this, a new buffer is better than many short reads.
const MIN_READ_BYTES: usize = 8 << 10;
/// What is gathered before it is written. A larger frame goes alone.
const MAX_BATCH_BYTES: usize = 256 << 10;
/// Pieces of one write.
const MAX_PIECES: usize = 64;
/// Payloads up to this length are copied beside their neighbours: that costs less than a piece of
/// their own does in the kernel.
const COPY_BYTES: usize = 1 << 10;

/// Cuts frames out of what arrives.
pub(super) struct FrameReader {
    buffer: BytesMut,
    max_payload: usize,
}

impl FrameReader {
    /// Takes frames with payloads up to this many bytes.
    pub(super) fn new(max_payload: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            max_payload,
        }
    }

    pub(super) fn set_max_payload(&mut self, max_payload: usize) {
        self.max_payload = max_payload;
    }

    /// The next frame that has arrived whole.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, BadFrame> {
        let Some(header) = self.buffer.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let len = frame::frame_len(header, self.max_payload)?;
        if self.buffer.len() < len {
            self.buffer.reserve(len - self.buffer.len());
            return Ok(None);
        }
        frame::decode(self.buffer.split_to(len).freeze()).map(Some)
    }

    /// Waits for more bytes; false at the end of the stream. Loses nothing when dropped.
    pub(super) async fn fill<R: AsyncRead + Unpin>(&mut self, from: &mut R) -> io::Result<bool> {
        // In the middle of a long frame the room is what that frame still needs, however little.
        let spare = self.buffer.capacity() - self.buffer.len();
        if spare < MIN_READ_BYTES && (spare == 0 || self.buffer.len() < READ_BUFFER_BYTES) {
            self.buffer.reserve(READ_BUFFER_BYTES);
        }
        Ok(from.read_buf(&mut self.buffer).await? > 0)
    }
}

/// Frames that are written together.
pub(super) struct WriteBatch {
    pieces: VecDeque<Bytes>,
    /// The end of the batch, as long as it is made of short things.
    short: BytesMut,
    bytes: usize,
}

impl WriteBatch {
    pub(super) fn new() -> Self {
        Self {
            pieces: VecDeque::new(),
            short: BytesMut::new(),
            bytes: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Write it before adding more.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= MAX_BATCH_BYTES || self.pieces.len() + 2 >= MAX_PIECES
    }

    /// Adds a frame.
    pub(super) fn push(&mut self, frame: &Frame) {
        let before = self.short.len();
        frame::encode(frame, &mut self.short);
        self.bytes += self.short.len() - before;
    }

    /// Adds a frame that is passed on.
    pub(super) fn push_data(&mut self, data: &Data) {
        self.push_bytes(&data.whole);
    }

    /// Adds a frame of this process.
    pub(super) fn push_payload(&mut self, sender: &str, seq: u64, payload: &Bytes) {
        let before = self.short.len();
        frame::encode_data_head(sender, seq, payload.len(), &mut self.short);
        self.bytes += self.short.len() - before;
        self.push_bytes(payload);
    }

    fn push_bytes(&mut self, bytes: &Bytes) {
        self.bytes += bytes.len();
        if bytes.len() <= COPY_BYTES {
            self.short.extend_from_slice(bytes);
        } else {
            self.end_short();
            self.pieces.push_back(bytes.clone());
        }
    }

    fn end_short(&mut self) {
        if !self.short.is_empty() {
            self.pieces.push_back(self.short.split().freeze());
        }
    }

    /// Writes all of it. Dropped half-way, the stream is of no more use.
    pub(super) async fn write_to<W: AsyncWrite + Unpin>(&mut self, to: &mut W) -> io::Result<()> {
        self.end_short();
        while !self.pieces.is_empty() {
            let mut slices = [IoSlice::new(&[]); MAX_PIECES];
            let mut used = 0;
            for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
                *slice = IoSlice::new(piece);
                used += 1;
            }
            let written = to
                .write_vectored(slices.get(..used).unwrap_or_default())
                .await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.advance(written);
        }
        self.bytes = 0;
        Ok(())
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(first) = self.pieces.front_mut() {
            if written < first.len() {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn frames_of_all_sizes_arrive_as_they_were_sent() {
        let (mut left, mut right) = tokio::io::duplex(5000);
        let sizes = [0, 1, COPY_BYTES, COPY_BYTES + 1, 100_000, 0, 3_000_000, 7];
        let payload = |size: usize| Bytes::from(vec![size as u8; size]);
        let write = async {
            let mut batch = WriteBatch::new();
            let mut seq = 0;
            for _ in 0..20 {
                for size in sizes {
                    seq += 1;
                    batch.push_payload("me", seq, &payload(size));
                    batch.push(&Frame::Ack { count: seq });
                    if batch.is_full() {
                        batch.write_to(&mut left).await.unwrap();
                    }
                }
            }
            batch.write_to(&mut left).await.unwrap();
            drop(left);
        };
        let read = async {
            let mut reader = FrameReader::new(3_000_000);
            let mut seq = 0;
            while reader.fill(&mut right).await.unwrap() {
                while let Some(frame) = reader.next().unwrap() {
                    match frame {
                        Frame::Data(data) => {
                            assert_eq!(data.seq, seq + 1);
                            assert_eq!(data.payload(), payload(sizes[seq as usize % sizes.len()]));
                        }
                        Frame::Ack { count } => seq = count,
                        other => panic!("{other:?}"),
                    }
                }
            }
            assert_eq!(seq, 20 * sizes.len() as u64);
        };
        tokio::join!(write, read);
    }

    #[tokio::test]
    async fn a_frame_over_the_limit_is_refused_before_it_is_read() {
        let mut reader = FrameReader::new(10);
        let mut batch = WriteBatch::new();
        batch.push_payload("me", 1, &Bytes::from(vec![0; 1000]));
        let mut bytes = Vec::new();
        batch.write_to(&mut bytes).await.unwrap();
        let mut start = bytes.get(..HEADER_BYTES).unwrap();
        assert!(reader.fill(&mut start).await.unwrap());
        assert!(reader.next().is_err());
    }
}
