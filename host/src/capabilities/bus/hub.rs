//! The process that serves the bus: accepts members, and moves frames between their connections
//! and the log ([`super::log`]), where all decisions are made.
//!
//! Each connection is one task that reads and writes; the log is behind a lock that is held for
//! the frames of one read at most. Between a member's socket and another's there is no queue and
//! no other task, so a frame costs two wake-ups and no copy.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    net::UnixStream,
    sync::Notify,
    task::{JoinHandle, JoinSet},
    time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until, timeout},
};

use super::{
    BusOptions,
    frame::{BadFrame, CutCode, Frame, MAX_MEMBERS},
    log::{ConnectionId, Gathered, Log, Wakers},
    wire::{FrameReader, WriteBatch},
};
use crate::socket_place::{Served, check_peer};

/// How long a new connection has for its first word.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection that ends has to take the reason.
const CUT_TIMEOUT: Duration = Duration::from_secs(1);
/// Connections, those that have not said hello included.
const MAX_CONNECTIONS: usize = MAX_MEMBERS + 64;
/// Time between two warnings that there are too many: whoever opens them may open thousands.
const FULL_WARNING_PAUSE: Duration = Duration::from_secs(1);
/// Pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often it is checked that the socket is still at its path.
const PLACE_CHECK: Duration = Duration::from_secs(2);
/// How often waits are looked at, as a part of the stall timeout.
const TICKS_PER_STALL: u32 = 8;

/// A hub at work. Dropped, it ends as a killed process does.
pub(super) struct Hub {
    task: JoinHandle<()>,
    leave: Arc<Notify>,
}

impl Hub {
    pub(super) fn start(
        served: Served,
        id: Arc<str>,
        incarnation: u64,
        options: &BusOptions,
    ) -> Self {
        let mut log = Log::new(id, incarnation, options.stall_timeout, options.rejoin_grace);
        if served.after_another {
            log.await_strangers();
        }
        let log = Arc::new(SharedLog(Mutex::new(log)));
        let leave = Arc::<Notify>::default();
        let tick = (options.stall_timeout / TICKS_PER_STALL).max(Duration::from_millis(1));
        let task = tokio::spawn(run(served, log, Arc::clone(&leave), tick));
        Self { task, leave }
    }

    /// Has it ended by itself?
    pub(super) fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Tells the members to look for another hub, and ends.
    pub(super) async fn leave(mut self) {
        self.leave.notify_one();
        // It is bounded by CUT_TIMEOUT; if it panicked that has been reported already.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct SharedLog(Mutex<Log>);

impl SharedLog {
    fn lock(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Silences the log before the connections go, one after the other: who is left for a moment must
/// not be told that the others have left.
struct Silence(Arc<SharedLog>);

impl Drop for Silence {
    fn drop(&mut self) {
        self.0.lock().silence();
    }
}

async fn run(served: Served, log: Arc<SharedLog>, leave: Arc<Notify>, period: Duration) {
    let mut connections = JoinSet::new();
    let _silence = Silence(Arc::clone(&log));
    let mut next: ConnectionId = 0;
    let mut tick = interval_at(Instant::now() + period, period);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut place_check = interval_at(Instant::now() + PLACE_CHECK, PLACE_CHECK);
    place_check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let grace_until = log.lock().grace_until();
    let mut in_grace = true;
    let mut warned = None;
    let (code, why) = loop {
        tokio::select! {
            accepted = served.listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < MAX_CONNECTIONS => {
                    if let Err(error) = check_peer(&stream) {
                        tracing::warn!("the bus refused a connection: {error}");
                        continue;
                    }
                    next += 1;
                    connections.spawn(serve(stream, next, Arc::clone(&log)));
                }
                Ok(_) => {
                    if is_due(&mut warned, Instant::now()) {
                        tracing::warn!(
                            "the bus refused a connection: there are {MAX_CONNECTIONS} already"
                        );
                    }
                }
                Err(error) => {
                    // Out of file descriptors, most likely: others may free some.
                    tracing::warn!("the bus cannot accept a connection: {error}");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = leave.notified() => {
                break (CutCode::Leaving, "the process that served the bus leaves it");
            }
            () = sleep_until(grace_until), if in_grace => {
                in_grace = false;
                log.lock().tick(period, Instant::now());
            }
            _ = tick.tick() => {
                for id in log.lock().tick(period, Instant::now()) {
                    tracing::warn!(
                        member = %id,
                        "a member of the bus took nothing for too long and was cut off; it will \
                         miss frames"
                    );
                }
            }
            _ = place_check.tick() => {
                if !served.is_in_place() {
                    tracing::warn!("the socket of the bus was removed; it is made again");
                    break (CutCode::Moved, "the socket of the bus was removed");
                }
            }
        }
    };
    log.lock().cut_all(code, why);
    let all = async { while connections.join_next().await.is_some() {} };
    // Who does not listen finds out by the end of the connection.
    let _ = timeout(CUT_TIMEOUT, all).await;
    connections.shutdown().await;
    drop(served);
}

/// Whether it is time to warn again; then it counts as done.
fn is_due(warned: &mut Option<Instant>, now: Instant) -> bool {
    let is_due = warned.is_none_or(|last| now - last >= FULL_WARNING_PAUSE);
    if is_due {
        *warned = Some(now);
    }
    is_due
}

/// Removes the connection from the log when its task ends, however it ends.
struct Entered<'a> {
    log: &'a SharedLog,
    connection: ConnectionId,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.log.lock().forget(self.connection);
    }
}

/// One connection, from its acceptance to its end.
async fn serve(mut stream: UnixStream, connection: ConnectionId, log: Arc<SharedLog>) {
    let wakers = log.lock().connect(connection);
    let _entered = Entered {
        log: &log,
        connection,
    };
    let (mut read, mut write) = stream.split();
    let writing = write_all(&mut write, connection, &log, &wakers);
    tokio::pin!(writing);
    let end = tokio::select! {
        end = read_all(&mut read, connection, &log) => end,
        () = &mut writing => return,
        () = wakers.cut.notified() => End::Cut,
    };
    match end {
        End::Gone => return,
        End::Bad(BadFrame(why)) => {
            tracing::warn!("a connection to the bus was cut: {why}");
            log.lock().cut(connection, CutCode::Refused, why);
        }
        End::Cut => {}
    }
    // The frame in progress has to be finished before the reason can follow.
    let _ = timeout(CUT_TIMEOUT, writing).await;
}

enum End {
    /// The member left or died.
    Gone,
    /// It broke the rules.
    Bad(BadFrame),
    /// The hub has cut it.
    Cut,
}

async fn read_all(
    read: &mut (impl tokio::io::AsyncRead + Unpin),
    connection: ConnectionId,
    log: &SharedLog,
) -> End {
    // Nothing but a hello comes before the hello, and that has a limit of its own.
    let mut reader = FrameReader::new(0);
    let first = async {
        loop {
            match reader.next() {
                Ok(Some(Frame::Hello(hello))) => return Ok(Some(hello)),
                Ok(Some(_)) => {
                    return Err(BadFrame("it did not begin with hello".to_owned()));
                }
                Ok(None) => {}
                Err(bad) => return Err(bad),
            }
            match reader.fill(read).await {
                Ok(true) => {}
                Ok(false) | Err(_) => return Ok(None),
            }
        }
    };
    let hello = match timeout(HELLO_TIMEOUT, first).await {
        Ok(Ok(Some(hello))) => hello,
        Ok(Ok(None)) => return End::Gone,
        Ok(Err(bad)) => return End::Bad(bad),
        Err(_) => return End::Bad(BadFrame("it said nothing".to_owned())),
    };
    if let Err(bad) = log.lock().hello(connection, &hello, Instant::now()) {
        return End::Bad(bad);
    }
    tracing::debug!(member = %hello.id, "a member joined the bus");
    reader.set_max_payload(hello.max_frame_bytes);
    loop {
        match apply(&mut reader, connection, log) {
            Ok(false) => {}
            Ok(true) => return End::Gone,
            Err(bad) => return End::Bad(bad),
        }
        match reader.fill(read).await {
            Ok(true) => {}
            Ok(false) => return End::Gone,
            Err(error) => {
                if error.kind() != io::ErrorKind::ConnectionReset {
                    tracing::debug!(member = %hello.id, "a connection to the bus broke: {error}");
                }
                return End::Gone;
            }
        }
    }
}

/// Enters everything that has arrived whole. True: the member said goodbye.
fn apply(
    reader: &mut FrameReader,
    connection: ConnectionId,
    log: &SharedLog,
) -> Result<bool, BadFrame> {
    let Some(mut frame) = reader.next()? else {
        return Ok(false);
    };
    let now = Instant::now();
    let mut has_data = false;
    let mut log = log.lock();
    let end = loop {
        let done = match frame {
            Frame::Data(data) => {
                has_data = true;
                log.data(connection, data, now)
            }
            Frame::Ack { count } => log.ack(connection, count, now),
            Frame::Bye => {
                log.leave(connection, now);
                break Ok(true);
            }
            other => Err(BadFrame(format!("a member may not send {other:?}"))),
        };
        if let Err(bad) = done {
            break Err(bad);
        }
        match reader.next() {
            Ok(Some(next)) => frame = next,
            Ok(None) => break Ok(false),
            Err(bad) => break Err(bad),
        }
    };
    if has_data {
        log.wake_writers();
    }
    end
}

/// Writes what there is to write, until the connection is cut or breaks.
async fn write_all(
    write: &mut (impl tokio::io::AsyncWrite + Unpin),
    connection: ConnectionId,
    log: &SharedLog,
    wakers: &Wakers,
) {
    let mut batch = WriteBatch::new();
    loop {
        let gathered = log.lock().gather(connection, &mut batch);
        if batch.is_empty() {
            if gathered == Gathered::Last {
                return;
            }
            wakers.write.notified().await;
        } else if batch.write_to(write).await.is_err() || gathered == Gathered::Last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_connections_is_warned_of_once_a_second() {
        let start = Instant::now();
        let mut warned = None;
        let lines = (0..3000)
            .filter(|ms| is_due(&mut warned, start + Duration::from_millis(*ms)))
            .count();
        assert_eq!(lines, 3);
    }
}
