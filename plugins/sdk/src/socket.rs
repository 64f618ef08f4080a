//! A byte stream as a plugin's code wants it, whatever is behind it: the host's `switchboard:tcp` in a
//! component, a real socket of the operating system in a native test.
//!
//! Write what speaks the protocol over `S: Socket`, and `cargo test` runs it against a real server
//! without any Wasm: see [`NativeSocket`].

pub use crate::tcp::{Encryption, Error, Link, Received};

/// One byte stream at a time; what the calls promise is written in the WIT package `switchboard:tcp`.
#[allow(clippy::missing_errors_doc)] // There.
pub trait Socket {
    /// Waits to be connected. None: not yet, call again.
    fn connect(&self, endpoint: Option<&str>, timeout_ms: u32) -> Result<Option<Link>, Error>;
    /// Encrypts the rest of the stream.
    fn start_tls(&self, timeout_ms: u32) -> Result<(), Error>;
    /// Waits for bytes.
    fn read(&self, max_bytes: u32, timeout_ms: u32) -> Result<Received, Error>;
    /// Of what was read, so many bytes more are done with.
    fn consume(&self, bytes: u32);
    /// From here a successor can go on.
    fn keep(&self, note: &[u8]) -> Result<(), Error>;
    /// Sends all of it, or nothing.
    fn write(&self, data: &[u8], timeout_ms: u32) -> Result<(), Error>;
    /// Ends the stream.
    fn close(&self);
}

impl Socket for crate::tcp::Socket {
    fn connect(&self, endpoint: Option<&str>, timeout_ms: u32) -> Result<Option<Link>, Error> {
        self.connect(endpoint, timeout_ms)
    }
    fn start_tls(&self, timeout_ms: u32) -> Result<(), Error> {
        self.start_tls(timeout_ms)
    }
    fn read(&self, max_bytes: u32, timeout_ms: u32) -> Result<Received, Error> {
        self.read(max_bytes, timeout_ms)
    }
    fn consume(&self, bytes: u32) {
        self.consume(bytes);
    }
    fn keep(&self, note: &[u8]) -> Result<(), Error> {
        self.keep(note)
    }
    fn write(&self, data: &[u8], timeout_ms: u32) -> Result<(), Error> {
        self.write(data, timeout_ms)
    }
    fn close(&self) {
        self.close();
    }
}

/// What went wrong, as text.
pub fn text(error: Error) -> String {
    match error {
        Error::Denied(why) | Error::Unavailable(why) => why,
        Error::TooLarge(limit) => format!("over the limit of {limit} bytes"),
    }
}

#[cfg(not(target_family = "wasm"))]
pub use native::NativeSocket;

#[cfg(not(target_family = "wasm"))]
mod native {
    use std::{
        cell::RefCell,
        io::{self, Read, Write},
        net::{SocketAddr, TcpStream},
        time::Duration,
    };

    use super::{Encryption, Error, Link, Received, Socket};

    /// A socket of the operating system, for native tests. It knows no TLS and no successors.
    #[derive(Debug)]
    pub struct NativeSocket {
        addr: SocketAddr,
        stream: RefCell<Option<TcpStream>>,
        connections: std::cell::Cell<u32>,
    }

    impl NativeSocket {
        /// It will be connected there.
        pub fn new(addr: SocketAddr) -> Self {
            Self {
                addr,
                stream: RefCell::new(None),
                connections: std::cell::Cell::default(),
            }
        }

        fn with<T>(&self, call: impl FnOnce(&mut TcpStream) -> io::Result<T>) -> Result<T, Error> {
            match self.stream.borrow_mut().as_mut() {
                Some(stream) => call(stream).map_err(unavailable),
                None => Err(Error::Unavailable("not connected".to_owned())),
            }
        }
    }

    fn unavailable(error: io::Error) -> Error {
        Error::Unavailable(error.to_string())
    }

    /// A timeout of zero is none to the operating system.
    fn wait(timeout_ms: u32) -> Duration {
        Duration::from_millis(timeout_ms.max(1).into())
    }

    impl Socket for NativeSocket {
        fn connect(&self, _: Option<&str>, timeout_ms: u32) -> Result<Option<Link>, Error> {
            if self.stream.borrow().is_none() {
                let stream = TcpStream::connect_timeout(&self.addr, wait(timeout_ms));
                *self.stream.borrow_mut() = Some(stream.map_err(unavailable)?);
                self.connections.set(self.connections.get() + 1);
            }
            Ok(Some(Link {
                note: None,
                is_first: self.connections.get() == 1,
                encryption: Encryption::None,
            }))
        }

        fn start_tls(&self, _: u32) -> Result<(), Error> {
            Err(Error::Denied("there is no TLS in native tests".to_owned()))
        }

        fn read(&self, max_bytes: u32, timeout_ms: u32) -> Result<Received, Error> {
            self.with(|stream| {
                stream.set_read_timeout(Some(wait(timeout_ms)))?;
                let mut bytes = vec![0; max_bytes.clamp(1, 1 << 20) as usize];
                match stream.read(&mut bytes) {
                    Ok(0) => Ok(Received::End),
                    Ok(count) => {
                        bytes.truncate(count);
                        Ok(Received::Bytes(bytes))
                    }
                    Err(error) => match error.kind() {
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                            Ok(Received::Nothing)
                        }
                        _ => Err(error),
                    },
                }
            })
        }

        fn consume(&self, _: u32) {}

        fn keep(&self, _: &[u8]) -> Result<(), Error> {
            Ok(())
        }

        fn write(&self, data: &[u8], timeout_ms: u32) -> Result<(), Error> {
            self.with(|stream| {
                stream.set_write_timeout(Some(wait(timeout_ms)))?;
                stream.write_all(data)
            })
        }

        fn close(&self) {
            *self.stream.borrow_mut() = None;
        }
    }
}
