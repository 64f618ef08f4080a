//! TCP for guests: `switchboard:tcp`.

use std::{sync::Arc, time::Duration};

use wasmtime::component::Resource;

use super::{Socket, Tcp, TcpError, TcpPermit, flow};
use crate::{
    bindings::switchboard::tcp::tcp::{self, Encryption, Error, Link, Received},
    capabilities::HasCapabilities,
    runtime::GuestState,
};

/// What one `read` may be asked for, whatever the guest says.
const MAX_BYTES: usize = 16 << 20;
/// How long one call may wait. Longer waits are made of several.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// A guest's hold on a socket.
pub struct SocketHandle {
    tcp: Tcp,
    permit: Arc<TcpPermit>,
    socket: Socket,
    /// Its number as an owner; none before it has asked to be connected.
    owner: Option<u64>,
}

impl Drop for SocketHandle {
    fn drop(&mut self) {
        self.socket.release(self.owner);
    }
}

impl<X: HasCapabilities> tcp::Host for GuestState<X> {}

impl<X: HasCapabilities> tcp::HostSocket for GuestState<X> {
    async fn open(
        &mut self,
        connection: String,
        name: String,
    ) -> wasmtime::Result<Result<Resource<SocketHandle>, Error>> {
        let capabilities = self.ext.capabilities();
        let role = capabilities.role;
        let (tcp, permit) = match capabilities.granted.tcp(&connection) {
            Ok(granted) => granted,
            Err(refused) => return Ok(Err(Error::Denied(refused))),
        };
        Ok(match tcp.socket(&permit, role, &name) {
            Ok(socket) => Ok(self.table.push(SocketHandle {
                tcp,
                permit,
                socket,
                owner: None,
            })?),
            Err(error) => Err(Error::from(&error)),
        })
    }

    async fn connect(
        &mut self,
        socket: Resource<SocketHandle>,
        endpoint: Option<String>,
        timeout_ms: u32,
    ) -> wasmtime::Result<Result<Option<Link>, Error>> {
        let wake = Arc::clone(&self.ext.capabilities().wake);
        let handle = self.table.get_mut(&socket)?;
        let endpoint = endpoint.map(|text| handle.tcp.endpoint(&handle.permit, &text));
        let endpoint = match endpoint.transpose() {
            Ok(endpoint) => endpoint,
            Err(error) => return Ok(Err(Error::from(&error))),
        };
        let SocketHandle { socket, owner, .. } = handle;
        let linked = tokio::select! {
            biased;
            linked = socket.connect(owner, endpoint.as_ref(), wait(timeout_ms)) => linked,
            () = wake.wanted() => return Ok(Ok(None)),
        };
        Ok(match linked {
            Ok(linked) => Ok(linked.map(|linked| Link {
                note: linked.note.map(|note| note.to_vec()),
                is_first: linked.is_first,
                encryption: match linked.flow.is_encrypted() {
                    None => Encryption::None,
                    Some(false) => Encryption::ToBeStarted,
                    Some(true) => Encryption::Tls,
                },
            })),
            Err(error) => Err(Error::from(&error)),
        })
    }

    async fn start_tls(
        &mut self,
        socket: Resource<SocketHandle>,
        timeout_ms: u32,
    ) -> wasmtime::Result<Result<(), Error>> {
        let handle = self.table.get(&socket)?;
        let flow = match handle.socket.flow(handle.owner) {
            Ok(flow) => flow,
            Err(error) => return Ok(Err(Error::from(&error))),
        };
        let started = flow.start_tls(wait(timeout_ms)).await;
        Ok(started.map_err(|error| Error::from(&error)))
    }

    async fn read(
        &mut self,
        socket: Resource<SocketHandle>,
        max_bytes: u32,
        timeout_ms: u32,
    ) -> wasmtime::Result<Result<Received, Error>> {
        let handle = self.table.get(&socket)?;
        let flow = match handle.socket.flow(handle.owner) {
            Ok(flow) => flow,
            Err(error) => return Ok(Err(Error::from(&error))),
        };
        let capabilities = self.ext.capabilities();
        capabilities.effects.took_bytes_from(&flow);
        let max_bytes = (max_bytes as usize).clamp(1, MAX_BYTES);
        let received = tokio::select! {
            biased;
            received = flow.read(max_bytes, wait(timeout_ms)) => received,
            () = capabilities.wake.wanted() => Ok(flow::Received::Nothing),
        };
        Ok(match received {
            Ok(flow::Received::Bytes(bytes)) => Ok(Received::Bytes(bytes)),
            Ok(flow::Received::Nothing) => Ok(Received::Nothing),
            Ok(flow::Received::End) => Ok(Received::End),
            Err(error) => Err(Error::from(&error)),
        })
    }

    async fn consume(
        &mut self,
        socket: Resource<SocketHandle>,
        bytes: u32,
    ) -> wasmtime::Result<()> {
        let handle = self.table.get(&socket)?;
        // Without a connection there is nothing to be consumed.
        if let Ok(flow) = handle.socket.flow(handle.owner) {
            self.ext.capabilities().effects.took_bytes_from(&flow);
            flow.consume(bytes as usize);
        }
        Ok(())
    }

    async fn keep(
        &mut self,
        socket: Resource<SocketHandle>,
        note: Vec<u8>,
    ) -> wasmtime::Result<Result<(), Error>> {
        let handle = self.table.get(&socket)?;
        let kept = match handle.socket.flow(handle.owner) {
            Ok(flow) => {
                self.ext.capabilities().effects.took_bytes_from(&flow);
                flow.keep(note)
            }
            Err(error) => Err(error),
        };
        Ok(kept.map_err(|error| Error::from(&error)))
    }

    async fn write(
        &mut self,
        socket: Resource<SocketHandle>,
        data: Vec<u8>,
        timeout_ms: u32,
    ) -> wasmtime::Result<Result<(), Error>> {
        let handle = self.table.get(&socket)?;
        let written = match handle.socket.flow(handle.owner) {
            Ok(flow) => flow.write(&data, wait(timeout_ms)).await,
            Err(error) => Err(error),
        };
        Ok(written.map_err(|error| Error::from(&error)))
    }

    async fn finish(&mut self, socket: Resource<SocketHandle>) -> wasmtime::Result<()> {
        let handle = self.table.get(&socket)?;
        if let Ok(flow) = handle.socket.flow(handle.owner) {
            flow.finish();
        }
        Ok(())
    }

    async fn close(&mut self, socket: Resource<SocketHandle>) -> wasmtime::Result<()> {
        let handle = self.table.get(&socket)?;
        handle.socket.close(handle.owner);
        Ok(())
    }

    async fn drop(&mut self, socket: Resource<SocketHandle>) -> wasmtime::Result<()> {
        self.table.delete(socket)?;
        Ok(())
    }
}

fn wait(timeout_ms: u32) -> Duration {
    Duration::from_millis(timeout_ms.into()).min(MAX_WAIT)
}

impl From<&TcpError> for Error {
    fn from(error: &TcpError) -> Self {
        match error {
            TcpError::TooLarge { limit } => {
                Self::TooLarge(u32::try_from(*limit).unwrap_or(u32::MAX))
            }
            TcpError::Unavailable(why) => Self::Unavailable(why.clone()),
            TcpError::Denied(why) | TcpError::Config(why) => Self::Denied(why.clone()),
        }
    }
}
