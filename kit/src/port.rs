//! Ports for servers that must have the same one again after they were killed. The kernel's free
//! ports (port 0) will not do for that: while the server is away, the port may be given to another
//! one, or to an outgoing connection, even one that tries to reach the server and so reaches itself.

use std::{
    env,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process,
    sync::atomic::{AtomicU16, Ordering},
};

use tokio::net::TcpSocket;

use crate::Error;

/// Below the range from which Linux takes ports for outgoing connections.
const FIRST: u16 = 20_000;
/// How many ports there are for all tests that run at the same time on a machine.
const COUNT: u16 = 10_000;

/// A port of 127.0.0.1 that no other test gets while this value lives, in whatever process.
#[derive(Debug)]
pub struct Port {
    number: u16,
    /// Locked; the lock ends with the process at the latest. The file stays: if it were removed,
    /// two tests could lock two files of the same name.
    claim: File,
}

impl Drop for Port {
    /// A process that is being started may have a copy of the file, and would keep the lock.
    fn drop(&mut self) {
        // Then it ends with the last copy.
        let _ = self.claim.unlock();
    }
}

impl Port {
    /// Claims a port on which nobody listens.
    ///
    /// # Errors
    /// [`Error::Setup`] if there is none.
    pub fn claim() -> Result<Self, Error> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let folder = env::temp_dir().join("switchboard-test-ports");
        fs::create_dir_all(&folder)
            .map_err(Error::system(format!("cannot make {}", folder.display())))?;
        // Processes begin at different places, so that they seldom try the same ports.
        let start = u16::try_from(process::id() * 37 % u32::from(COUNT)).unwrap_or(0);
        for _ in 0..COUNT {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let number = FIRST + start.wrapping_add(step) % COUNT;
            if let Some(port) = Self::try_claim(&folder, number) {
                return Ok(port);
            }
        }
        Err(Error::Setup {
            what: format!(
                "none of the ports from {FIRST} to {} is free",
                FIRST + COUNT - 1
            ),
            fix: format!(
                "see what listens there: ss -ltn; or who owns {}",
                folder.display()
            ),
        })
    }

    fn try_claim(folder: &Path, number: u16) -> Option<Self> {
        // Another user's file cannot be opened: then the port may be in use as well.
        let claim = File::create(folder.join(number.to_string())).ok()?;
        claim.try_lock().ok()?;
        let port = Self { number, claim };
        is_free(port.addr()).then_some(port)
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Its address.
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }
}

/// Servers that know nothing of our claims may listen as well. To ask, we only bind: a process that
/// is started at the same time, in another thread, has a copy of what is open here until it runs its
/// program. A copy of a listener would keep the port from who claims it; this one does not.
fn is_free(addr: SocketAddr) -> bool {
    let bound = TcpSocket::new_v4().and_then(|socket| {
        socket.set_reuseaddr(true)?;
        socket.bind(addr)
    });
    bound.is_ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{
        net::{Ipv4Addr, TcpListener},
        process::Command,
        thread::{self, ScopedJoinHandle},
    };

    use tempfile::TempDir;

    use super::{COUNT, FIRST, Port};

    #[test]
    fn nobody_gets_a_port_that_another_one_has() {
        let folder = TempDir::new().unwrap();
        let free = (FIRST..).find_map(|number| Port::try_claim(folder.path(), number));
        let port = free.unwrap();
        assert!(Port::try_claim(folder.path(), port.number()).is_none());
        let number = port.number();
        drop(port);
        assert!(Port::try_claim(folder.path(), number).is_some());
    }

    #[test]
    fn a_port_where_a_stranger_listens_is_not_taken() {
        let folder = TempDir::new().unwrap();
        let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = stranger.local_addr().unwrap().port();
        assert!(Port::try_claim(folder.path(), number).is_none());
    }

    #[test]
    fn processes_that_are_being_started_keep_neither_a_claim_nor_its_port() {
        let folder = TempDir::new().unwrap();
        thread::scope(|scope| {
            let starting = [(); 4].map(|()| {
                scope.spawn(|| {
                    for _ in 0..200 {
                        Command::new("true").status().unwrap();
                    }
                })
            });
            let mut numbers = (FIRST..FIRST + COUNT).cycle();
            while !starting.iter().all(ScopedJoinHandle::is_finished) {
                let free = numbers.find_map(|number| Port::try_claim(folder.path(), number));
                let port = free.unwrap();
                let number = port.number();
                drop(port);
                let again = Port::try_claim(folder.path(), number);
                assert!(again.is_some(), "the claim of {number} is kept");
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, number));
                assert!(listener.is_ok(), "the port {number} is kept: {listener:?}");
            }
        });
    }

    #[test]
    fn claims_differ() {
        let [first, second] = [Port::claim().unwrap(), Port::claim().unwrap()];
        assert_ne!(first.number(), second.number());
    }
}
