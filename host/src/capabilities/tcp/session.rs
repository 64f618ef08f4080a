//! The task of one connection: bytes from the network to the [`Flow`] and back, TLS in the middle of
//! it, and its end.

use std::{io, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split},
    time::sleep,
};

use super::{
    connector::{Connector, Stream},
    endpoint::Endpoint,
    flow::Flow,
};

/// What one read asks for.
const READ_BYTES: usize = 64 << 10;
/// How long what was written may take to leave when nobody is interested any more.
pub(super) const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// What comes after a stream.
enum After {
    Nothing,
    /// The same one, encrypted.
    Tls(Box<dyn Stream>),
}

/// Runs until the connection is over, for whatever reason.
pub(super) async fn run(
    flow: &Flow,
    mut stream: Box<dyn Stream>,
    connector: &Connector,
    endpoint: &Endpoint,
) {
    while let After::Tls(plain) = exchange(flow, stream).await {
        if flow.has_unread() {
            // It would be taken for a part of what is vouched for by the certificate.
            flow.break_off("plain text came where TLS was to begin");
            return;
        }
        match connector.encrypt(plain, endpoint).await {
            Ok(encrypted) => stream = encrypted,
            Err(trouble) => {
                flow.break_off(&trouble.to_string());
                return;
            }
        }
        flow.encrypted();
    }
}

async fn exchange(flow: &Flow, stream: Box<dyn Stream>) -> After {
    let (mut incoming, mut outgoing) = split(stream);
    {
        let reading = read(flow, &mut incoming);
        let writing = write(flow, &mut outgoing);
        let tls = flow.tls_wanted();
        let given_up = async {
            flow.closing().await;
            sleep(CLOSE_GRACE).await;
        };
        let closing = flow.closing();
        tokio::pin!(reading, writing, tls, given_up, closing);
        let (mut is_read, mut is_written, mut is_closing) = (false, false, false);
        while !(is_written && (is_read || is_closing)) {
            let done = tokio::select! {
                read = &mut reading, if !is_read => {
                    is_read = true;
                    read.map(|()| flow.finished())
                }
                written = &mut writing, if !is_written => {
                    is_written = true;
                    written
                }
                () = &mut tls => break,
                () = &mut closing, if !is_closing => {
                    is_closing = true;
                    Ok(())
                }
                () = &mut given_up => return After::Nothing,
            };
            if let Err(error) = done {
                flow.break_off(&error.to_string());
                return After::Nothing;
            }
        }
        if is_written {
            return After::Nothing;
        }
    }
    After::Tls(incoming.unsplit(outgoing))
}

/// Until the peer has sent its last byte.
async fn read(flow: &Flow, half: &mut ReadHalf<Box<dyn Stream>>) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    loop {
        flow.room().await;
        if half.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        flow.arrived(&buffer);
        buffer.clear();
    }
}

/// Until the plugin has written its last byte.
async fn write(flow: &Flow, half: &mut WriteHalf<Box<dyn Stream>>) -> io::Result<()> {
    loop {
        let mut out: Bytes = match flow.next_out() {
            Some(out) => out,
            None if flow.more_out().await => continue,
            None => return half.shutdown().await,
        };
        while !out.is_empty() {
            let count = half.write_buf(&mut out).await?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            flow.sent(count);
        }
        half.flush().await?;
    }
}
