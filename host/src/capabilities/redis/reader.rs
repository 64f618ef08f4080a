//! Commands that wait, each on a connection of its own. A call can be interrupted at any time and
//! goes on with the next one: the command stays with Redis, and its reply with this connection.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::AsyncWriteExt,
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout_at},
};

use super::{
    RedisError, batch, commands,
    connect::Wire,
    grants::RedisPermit,
    pipeline::{Backend, Reply, Router, reply, unavailable},
    place::Place,
    slots::{Redirect, slot_of},
    trouble::Trouble,
    url::Address,
    wire,
};

/// How often a command is sent on to another node before it is given back.
const MAX_REDIRECTS: usize = 5;

type Args = Vec<Vec<u8>>;

/// A connection for one waiting command at a time. Closed when it is dropped.
pub struct Reader {
    router: Arc<Router>,
    pending: Option<Pending>,
    /// Idle, and the node that it leads to.
    idle: Option<(Wire, Option<Address>)>,
    _slot: OwnedSemaphorePermit,
}

/// A command that Redis has, or is about to get.
struct Pending {
    args: Args,
    wire: Wire,
    node: Option<Address>,
    /// What is not written yet.
    out: BytesMut,
    /// When Redis must have answered.
    deadline: Instant,
}

impl Reader {
    pub(super) fn new(router: Arc<Router>, slot: OwnedSemaphorePermit) -> Self {
        Self {
            router,
            pending: None,
            idle: None,
            _slot: slot,
        }
    }

    /// Executes a blocking command and waits up to `wait` for its reply; none: not yet, call again
    /// with the same command. Dropped half-way, the next call goes on with it.
    ///
    /// # Errors
    /// Not granted, or the connection failed; then the command may have been executed.
    pub(crate) async fn read(
        &mut self,
        permit: &RedisPermit,
        command: &[u8],
        wait: Duration,
    ) -> Result<Option<Reply>, RedisError> {
        let limit = self.router.options.max_pending_bytes;
        if command.len() > limit {
            return Err(RedisError::TooLarge { limit });
        }
        let args = batch::single(command)?;
        let spec = commands::find(&args).map_err(RedisError::Denied)?;
        let Some(wait_ms) = spec.wait_ms(&args) else {
            return Err(RedisError::Denied(format!(
                "{} is no command that waits for more than 0 and at most 60 s",
                spec.name
            )));
        };
        permit
            .check_command(spec, &args)
            .map_err(RedisError::Denied)?;
        let touched = spec.touched(&args);
        let slot = touched.and_then(|touched| touched.keys.first().map(|key| slot_of(key)));
        let patience = Duration::from_millis(wait_ms.into()) + self.router.options.command_timeout;
        let until = Instant::now() + wait;
        let result = match timeout_at(until, self.answer(&args, slot, patience)).await {
            Ok(result) => result.map(Some),
            Err(_) => Ok(None),
        };
        result.map_err(|trouble| {
            self.pending = None;
            self.idle = None;
            unavailable(&trouble)
        })
    }

    async fn answer(
        &mut self,
        args: &Args,
        slot: Option<u16>,
        patience: Duration,
    ) -> Result<Reply, Trouble> {
        for _ in 0..MAX_REDIRECTS {
            if self
                .pending
                .as_ref()
                .is_none_or(|pending| pending.args != *args)
            {
                // Another command in progress is given up with its connection.
                self.pending = None;
                self.send(args, slot, patience).await?;
            }
            let Some(pending) = &mut self.pending else {
                continue;
            };
            let frame = match timeout_at(pending.deadline, pending.answer()).await {
                Ok(frame) => frame?,
                Err(_) => return Err(Trouble::away("Redis does not answer in time")),
            };
            let Some(Pending { wire, node, .. }) = self.pending.take() else {
                continue;
            };
            if let (Some(error), Some(node), Backend::Cluster(cluster)) =
                (frame.error(), &node, &self.router.backend)
                && let Some(Redirect::Moved(to) | Redirect::Ask(to)) = Redirect::read(error, node)
            {
                cluster.moved(slot, to);
                continue;
            }
            return match reply(frame) {
                Reply::NotExecuted(why) => Err(Trouble::away(why)),
                Reply::Error(text) if text.starts_with(b"UNBLOCKED") => {
                    // The server is no longer the master.
                    Err(Trouble::away(String::from_utf8_lossy(&text)))
                }
                reply => {
                    self.idle = Some((wire, node));
                    Ok(reply)
                }
            };
        }
        Err(Trouble::away(
            "the nodes of the cluster do not agree on who serves this",
        ))
    }

    async fn send(
        &mut self,
        args: &Args,
        slot: Option<u16>,
        patience: Duration,
    ) -> Result<(), Trouble> {
        let place = match &self.router.backend {
            Backend::Single(place) => place.clone(),
            Backend::Cluster(cluster) => {
                let slots = cluster.slots(&self.router).await?;
                let owner = slot.and_then(|slot| slots.owner(slot).cloned());
                Place::Fixed(owner.ok_or_else(|| Trouble::away("no node serves this slot"))?)
            }
        };
        let node = match &place {
            Place::Fixed(node) => Some(node.clone()),
            Place::Sentinel(_) => None,
        };
        let idle = self.idle.take().filter(|(_, at)| *at == node);
        let wire = match idle {
            Some((wire, _)) => wire,
            None => match place.connect(&self.router.connector).await {
                Ok(wire) => wire,
                Err(trouble) => {
                    if let (Backend::Cluster(cluster), Some(node)) = (&self.router.backend, &node) {
                        cluster.doubt_node(node);
                    }
                    return Err(trouble);
                }
            },
        };
        let mut out = BytesMut::with_capacity(wire::encoded_len(args));
        wire::encode(args, &mut out);
        self.pending = Some(Pending {
            args: args.clone(),
            wire,
            node,
            out,
            deadline: Instant::now() + patience,
        });
        Ok(())
    }
}

impl Pending {
    /// Loses nothing when dropped: what is written leaves `out`, what is read stays in the buffer.
    async fn answer(&mut self) -> Result<wire::Frame, Trouble> {
        while !self.out.is_empty() {
            if self.wire.write.write_buf(&mut self.out).await? == 0 {
                return Err(Trouble::away("the connection takes no more"));
            }
        }
        self.wire.write.flush().await?;
        self.wire.read.frame().await
    }
}
