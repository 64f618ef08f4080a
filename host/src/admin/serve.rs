//! One connection: requests are read, carried out and answered, one after the other.

use std::{io, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixStream, unix::OwnedWriteHalf},
    sync::mpsc,
    time::timeout,
};

use super::{
    operate::Operate,
    protocol::{Answer, ErrorKind, Failure, MAX_REQUEST_BYTES, Request},
    socket::MAX_CONNECTIONS,
};
use crate::socket_place::check_peer;

/// How long a connection may be silent before it is closed. A program that watches asks more often.
const IDLE: Duration = Duration::from_secs(300);

/// How long a line of an answer may take to be taken.
const WRITE: Duration = Duration::from_secs(10);

/// Steps of a switch that may wait to be written.
const MAX_STEPS: usize = 64;

/// The longest time for which rates are measured.
const MAX_SAMPLE: Duration = Duration::from_secs(10);

/// Serves a connection until its other end closes it, is silent for too long or talks nonsense.
pub(super) async fn serve(stream: UnixStream, server: Arc<dyn Operate>) {
    if let Err(why) = check_peer(&stream) {
        tracing::warn!("the admin socket was used by a stranger: {why}");
        return;
    }
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        // One byte more, to tell the longest line from one that is too long.
        let mut limited = (&mut read).take(MAX_REQUEST_BYTES as u64 + 1);
        match timeout(IDLE, limited.read_until(b'\n', &mut line)).await {
            Ok(Ok(1..)) => {}
            _ => return,
        }
        let (answer, is_last) = match line.last() {
            Some(b'\n') => match answer(&line, &*server, &mut write).await {
                Ok(answer) => (answer, false),
                Err(_) => return,
            },
            _ if line.len() > MAX_REQUEST_BYTES => (too_long(), true),
            _ => return,
        };
        if send(&mut write, &answer).await.is_err() || is_last {
            return;
        }
    }
}

/// Says that there are too many connections, if that can be said at once, and closes this one.
pub(super) fn refuse(stream: &UnixStream) {
    let message = format!("{MAX_CONNECTIONS} are connected already: try again in a moment");
    let answer = Answer::Error(Failure::new(ErrorKind::Busy, message));
    if let Ok(line) = line(&answer) {
        // It fits what the kernel takes from a connection that is new.
        let _ = stream.try_write(&line);
    }
}

/// Carries a request out. What is told on the way is written at once.
async fn answer(
    line: &[u8],
    server: &dyn Operate,
    write: &mut OwnedWriteHalf,
) -> io::Result<Answer> {
    let result = match Request::read(line) {
        Ok(Request::Status { sample_ms }) => {
            let sample = Duration::from_millis(sample_ms.into()).min(MAX_SAMPLE);
            server
                .status(sample)
                .await
                .and_then(|status| value(&status))
        }
        Ok(Request::Plugins) => server.plugins().await.and_then(|plugins| value(&plugins)),
        Ok(Request::Switch { transport, force }) => {
            let (steps, mut told) = mpsc::channel(MAX_STEPS);
            let mut switching = server.switch(transport, force, steps);
            loop {
                tokio::select! {
                    biased;
                    Some(step) = told.recv() => {
                        if let Ok(step) = value(&step) {
                            send(write, &Answer::Progress(step)).await?;
                        }
                    }
                    switched = &mut switching => break switched.and_then(|it| value(&it)),
                }
            }
        }
        Ok(Request::Abort) => server.abort().await.and_then(|aborted| value(&aborted)),
        Err(failure) => Err(failure),
    };
    Ok(result.map_or_else(Answer::Error, Answer::Done))
}

fn value(result: &impl serde::Serialize) -> Result<Value, Failure> {
    serde_json::to_value(result)
        .map_err(|error| Failure::new(ErrorKind::Failed, format!("cannot be written: {error}")))
}

fn too_long() -> Answer {
    let message = format!("a request has at most {MAX_REQUEST_BYTES} bytes");
    Answer::Error(Failure::new(ErrorKind::BadRequest, message))
}

fn line(answer: &Answer) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    Ok(line)
}

async fn send(write: &mut OwnedWriteHalf, answer: &Answer) -> io::Result<()> {
    let line = line(answer)?;
    timeout(WRITE, write.write_all(&line))
        .await
        .map_err(io::Error::from)?
}
