//! Ports for servers that must have the same one again after they were killed. The kernel's free
//! ports (port 0) will not do for that: while the server is away, the port may be given to another
//! one, or to an outgoing connection, even one that tries to reach the server and so reaches itself.

use std::{
    env,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process,
    sync::atomic::{AtomicU16, Ordering},
};

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
    _claim: File,
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
        is_free(number).then_some(Self {
            number,
            _claim: claim,
        })
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

/// Servers that know nothing of our claims may listen as well.
fn is_free(number: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::TcpListener;

    use tempfile::TempDir;

    use super::{FIRST, Port};

    #[test]
    fn nobody_gets_a_port_that_another_one_has() {
        let folder = TempDir::new().unwrap();
        let free = (FIRST..).find_map(|number| Port::try_claim(folder.path(), number));
        let port = free.unwrap();
        assert!(Port::try_claim(folder.path(), port.number()).is_none());
        TcpListener::bind(port.addr()).unwrap();
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
    fn claims_differ() {
        let [first, second] = [Port::claim().unwrap(), Port::claim().unwrap()];
        assert_ne!(first.number(), second.number());
    }
}
