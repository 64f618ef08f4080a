//! The bus for guests: `switchboard:bus`.

use std::time::Duration;

use bytes::Bytes;
use wasmtime::component::Resource;

use super::{Bus, BusEvent};
use crate::{
    bindings::switchboard::bus::bus::{self, Error, Event, Frame},
    capabilities::HasCapabilities,
    runtime::GuestState,
};

/// What one `next` may be asked for, whatever the guest says.
const MAX_EVENTS: usize = 4096;
const MAX_BYTES: usize = 16 << 20;
/// How long one `next` may wait. Longer waits are made of several.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// A guest's right to send on a bus.
pub struct SenderHandle(Bus);

/// A guest's hold on the frames of the others.
pub struct SubscriptionHandle(Bus);

impl<X: HasCapabilities> bus::Host for GuestState<X> {}

impl<X: HasCapabilities> bus::HostSender for GuestState<X> {
    async fn open(
        &mut self,
        connection: String,
    ) -> wasmtime::Result<Result<Resource<SenderHandle>, Error>> {
        Ok(match self.ext.capabilities().granted.bus(&connection) {
            Ok(bus) => Ok(self.table.push(SenderHandle(bus))?),
            Err(refused) => Err(Error::Denied(refused.to_string())),
        })
    }

    async fn send(
        &mut self,
        sender: Resource<SenderHandle>,
        frames: Vec<Vec<u8>>,
    ) -> wasmtime::Result<Result<(), Error>> {
        let SenderHandle(bus) = self.table.get(&sender)?;
        let frames = frames.into_iter().map(Bytes::from).collect();
        Ok(match bus.reserve(frames).await {
            Ok(staged) => {
                self.ext.capabilities().effects.stage(staged);
                Ok(())
            }
            Err(error) => Err(Error::from(&error)),
        })
    }

    async fn close(&mut self, sender: Resource<SenderHandle>) -> wasmtime::Result<()> {
        // The handle stays valid until it is dropped; the membership is the host's anyway.
        self.table.get(&sender)?;
        Ok(())
    }

    async fn drop(&mut self, sender: Resource<SenderHandle>) -> wasmtime::Result<()> {
        self.table.delete(sender)?;
        Ok(())
    }
}

impl<X: HasCapabilities> bus::HostSubscription for GuestState<X> {
    async fn open(
        &mut self,
        connection: String,
    ) -> wasmtime::Result<Result<Resource<SubscriptionHandle>, Error>> {
        if !self.ext.capabilities().may_subscribe {
            let why = "only a plugin's subscriber may take events from a bus";
            return Ok(Err(Error::Denied(why.to_owned())));
        }
        Ok(match self.ext.capabilities().granted.bus(&connection) {
            Ok(bus) => {
                bus.subscribe();
                Ok(self.table.push(SubscriptionHandle(bus))?)
            }
            Err(refused) => Err(Error::Denied(refused.to_string())),
        })
    }

    async fn next(
        &mut self,
        subscription: Resource<SubscriptionHandle>,
        timeout_ms: u32,
        max_events: u32,
        max_bytes: u32,
    ) -> wasmtime::Result<Result<Vec<Event>, Error>> {
        let SubscriptionHandle(bus) = self.table.get(&subscription)?;
        let capabilities = self.ext.capabilities();
        capabilities.effects.took_from(bus);
        let timeout = Duration::from_millis(timeout_ms.into()).min(MAX_WAIT);
        let max_events = (max_events as usize).clamp(1, MAX_EVENTS);
        let max_bytes = (max_bytes as usize).min(MAX_BYTES);
        let wake = &capabilities.wake;
        let taken = tokio::select! {
            biased;
            taken = bus.next(timeout, max_events, max_bytes) => taken,
            () = wake.wanted() => return Ok(Ok(Vec::new())),
        };
        Ok(match taken {
            Ok(events) => Ok(events.into_iter().map(Event::from).collect()),
            Err(error) => Err(Error::from(&error)),
        })
    }

    async fn close(&mut self, subscription: Resource<SubscriptionHandle>) -> wasmtime::Result<()> {
        self.table.get(&subscription)?;
        Ok(())
    }

    async fn drop(&mut self, subscription: Resource<SubscriptionHandle>) -> wasmtime::Result<()> {
        self.table.delete(subscription)?;
        Ok(())
    }
}

impl From<BusEvent> for Event {
    fn from(event: BusEvent) -> Self {
        match event {
            BusEvent::Frame { sender, data } => Self::Frame(Frame {
                sender: sender.to_string(),
                data: Vec::from(data),
            }),
            BusEvent::Joined(node) => Self::Joined(node.to_string()),
            BusEvent::Left(node) => Self::Left(node.to_string()),
            BusEvent::Lagged(missed) => Self::Lagged(missed),
        }
    }
}
