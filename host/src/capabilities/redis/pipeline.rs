//! Pipelines: commands to the servers that they are meant for, replies back in their order.
//!
//! A standalone server gets a pipeline as it is. In a cluster it is split by the owner of each key
//! or channel; the parts travel together, each in order. What a node sends on (`MOVED`, `ASK`)
//! follows in the next round, in order again.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::{Bytes, BytesMut};
use futures_util::future::join_all;

use super::{
    RedisError,
    abandoned::{Abandoned, UnderWay},
    batch::Batch,
    cluster::Cluster,
    commands::{Kind, Spec},
    connect::Connector,
    grants::RedisPermit,
    lane::{Lane, Outcome, Rest},
    options::RedisOptions,
    place::Place,
    slots::Redirect,
    status::Health,
    trouble::Trouble,
    url::Address,
    wire::{self, Frame, Value},
};

/// Longer pipelines go over a connection of their own, so that short ones need not wait for them.
const LARGE_BYTES: usize = 256 << 10;
/// How often a command is sent on to another node before it is given back.
const MAX_ROUNDS: usize = 5;
/// Errors of Redis that pass: the command was not executed.
const PASSING: [&str; 8] = [
    "LOADING",
    "READONLY",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "NOREPLICAS",
    "MISCONF",
    "OOM",
];

/// What a command came to. See `wit/redis/redis.wit`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    Nil,
    Integer(i64),
    Bulk(Bytes),
    Status(Bytes),
    Error(Bytes),
    Array(Vec<Node>),
    NotExecuted(String),
    Unknown(String),
}

/// One value in an array; what an inner array holds follows it.
pub(crate) type Node = Value;

/// The connections to all servers of one `[connections.redis.NAME]`, made when they are needed.
pub(super) struct Router {
    pub(super) connector: Arc<Connector>,
    pub(super) options: RedisOptions,
    pub(super) health: Arc<Health>,
    pub(super) backend: Backend,
    lanes: Mutex<HashMap<(Address, Lanes), Arc<Lane>>>,
    abandoned: Abandoned,
}

/// One server, or a cluster.
pub(super) enum Backend {
    Single(Place),
    Cluster(Cluster),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Lanes {
    Short,
    Long,
}

/// One part of a pipeline.
struct Part {
    to: Address,
    /// Places in the pipeline, in order.
    indices: Vec<usize>,
    /// Each command goes after an `ASKING`.
    asking: bool,
}

impl Router {
    pub(super) fn new(
        connector: Arc<Connector>,
        options: RedisOptions,
        health: Arc<Health>,
        backend: Backend,
    ) -> Self {
        Self {
            connector,
            options,
            health,
            backend,
            lanes: Mutex::default(),
            abandoned: Abandoned::default(),
        }
    }

    /// Executes commands; see `pipeline` in `wit/redis/redis.wit`. Dropped half-way, what was sent
    /// is executed all the same, and before anything else that the plugin sends.
    ///
    /// # Errors
    /// Nothing was executed: not granted, too large, or nothing could be sent.
    pub(super) async fn pipeline(
        &self,
        permit: &RedisPermit,
        commands: Vec<u8>,
    ) -> Result<Vec<Reply>, RedisError> {
        let batch = Batch::check(commands, permit, self.options.max_pending_bytes)?;
        if batch.len() == 0 {
            return Ok(Vec::new());
        }
        self.abandoned.settled(permit.plugin()).await;
        let (caller, under_way) = self.abandoned.begin(permit.plugin());
        let replies = match &self.backend {
            Backend::Single(_) => self.single(batch, under_way).await,
            Backend::Cluster(cluster) => self.spread(cluster, &batch, under_way).await,
        };
        caller.done();
        replies
    }

    async fn single(&self, batch: Batch, under_way: UnderWay) -> Result<Vec<Reply>, RedisError> {
        let count = batch.len();
        let lanes = size(batch.specs());
        let out = batch.into_bytes();
        // All lanes of a single server lead to the same place: the address is only a key.
        let lane = self.lane(&Address::Unix("".into()), lanes.or_for(out.len()));
        let Outcome { frames, rest } = lane.run(out, count, Some(under_way)).await;
        if let Some(Rest::Unsent(trouble)) = &rest {
            return Err(unavailable(trouble));
        }
        let mut replies: Vec<_> = frames.into_iter().map(reply).collect();
        if let Some(Rest::InDoubt(trouble)) = rest {
            replies.resize(count, Reply::Unknown(trouble.public));
        }
        Ok(replies)
    }

    async fn spread(
        &self,
        cluster: &Cluster,
        batch: &Batch,
        under_way: UnderWay,
    ) -> Result<Vec<Reply>, RedisError> {
        let mut replies: Vec<Option<Reply>> = vec![None; batch.len()];
        let mut todo: Vec<usize> = (0..batch.len()).collect();
        let mut asked: BTreeMap<usize, Address> = BTreeMap::new();
        for _ in 0..MAX_ROUNDS {
            let parts = match self.parts(cluster, batch, &todo, &asked).await {
                Ok(parts) => parts,
                Err(trouble) => {
                    let why = trouble.public;
                    if replies.iter().all(Option::is_none) {
                        return Err(RedisError::Unavailable(why));
                    }
                    fill(&mut replies, &todo, || Reply::NotExecuted(why.clone()));
                    break;
                }
            };
            asked.clear();
            todo.clear();
            let runs = parts
                .iter()
                .map(|part| self.run_part(part, batch, &under_way));
            let outcomes = join_all(runs).await;
            let mut moved = Vec::new();
            for (part, Outcome { frames, rest }) in parts.iter().zip(outcomes) {
                let answered = frames.len();
                for (index, frame) in part.indices.iter().zip(frames) {
                    let redirect = frame.error().and_then(|e| Redirect::read(e, &part.to));
                    match redirect {
                        Some(redirect) => {
                            todo.push(*index);
                            match redirect {
                                Redirect::Moved(to) => moved.push((*index, to)),
                                Redirect::Ask(to) => {
                                    asked.insert(*index, to);
                                }
                            }
                        }
                        None => add(&mut replies, *index, reply(frame)),
                    }
                }
                let left = part.indices.get(answered..).unwrap_or_default();
                match &rest {
                    None => {}
                    Some(Rest::Unsent(trouble)) => {
                        cluster.doubt_node(&part.to);
                        let why = &trouble.public;
                        fill(&mut replies, left, || Reply::NotExecuted(why.clone()));
                    }
                    Some(Rest::InDoubt(trouble)) => {
                        cluster.doubt_node(&part.to);
                        let why = &trouble.public;
                        fill(&mut replies, left, || Reply::Unknown(why.clone()));
                    }
                }
            }
            for (index, to) in moved {
                cluster.moved(batch.slot(index), to);
            }
            todo.sort_unstable();
            todo.dedup();
            if todo.is_empty() {
                break;
            }
        }
        let is_nothing_done = replies
            .iter()
            .all(|reply| matches!(reply, None | Some(Reply::NotExecuted(_))));
        if is_nothing_done {
            let why = replies.into_iter().flatten().find_map(|reply| match reply {
                Reply::NotExecuted(why) => Some(why),
                _ => None,
            });
            return Err(RedisError::Unavailable(why.unwrap_or_else(too_often)));
        }
        let replies = replies.into_iter();
        Ok(replies
            .map(|reply| reply.unwrap_or_else(|| Reply::NotExecuted(too_often())))
            .collect())
    }

    /// Says what goes where.
    async fn parts(
        &self,
        cluster: &Cluster,
        batch: &Batch,
        todo: &[usize],
        asked: &BTreeMap<usize, Address>,
    ) -> Result<Vec<Part>, Trouble> {
        let slots = cluster.slots(self).await?;
        let anyone = slots.masters().into_iter().next().cloned();
        let mut parts: BTreeMap<(&Address, bool), Vec<usize>> = BTreeMap::new();
        for index in todo {
            let Some(spec) = batch.spec(*index) else {
                continue;
            };
            if spec.kind == Kind::Summed {
                let nodes = match spec.name.contains("SHARD") {
                    // Replicas repeat what their masters count.
                    true => slots.masters(),
                    false => slots.nodes(),
                };
                for node in nodes {
                    parts.entry((node, false)).or_default().push(*index);
                }
                continue;
            }
            let (to, asking) = match (asked.get(index), batch.slot(*index)) {
                (Some(to), _) => (Some(to), true),
                (None, Some(slot)) => (slots.owner(slot), false),
                (None, None) => (anyone.as_ref(), false),
            };
            let to = to.ok_or_else(|| Trouble::away("no node of the cluster serves this slot"))?;
            parts.entry((to, asking)).or_default().push(*index);
        }
        Ok(parts
            .into_iter()
            .map(|((to, asking), indices)| Part {
                to: to.clone(),
                indices,
                asking,
            })
            .collect())
    }

    async fn run_part(&self, part: &Part, batch: &Batch, under_way: &UnderWay) -> Outcome {
        let under_way = Some(under_way.clone());
        let mut out = BytesMut::new();
        for index in &part.indices {
            if part.asking {
                wire::encode(&["ASKING"], &mut out);
            }
            out.extend_from_slice(batch.command(*index));
        }
        let specs = part.indices.iter().filter_map(|index| batch.spec(*index));
        let lane = self.lane(&part.to, size(specs).or_for(out.len()));
        if !part.asking {
            return lane.run(out, part.indices.len(), under_way).await;
        }
        let mut outcome = lane.run(out, part.indices.len() * 2, under_way).await;
        let mut is_asking = false;
        outcome.frames.retain(|_| {
            is_asking = !is_asking;
            !is_asking
        });
        outcome
    }

    /// A question of the host itself to one node.
    pub(super) async fn ask(&self, node: &Address, args: &[&str]) -> Result<Frame, Trouble> {
        let mut out = BytesMut::new();
        wire::encode(args, &mut out);
        let Outcome { frames, rest } = self.lane(node, Lanes::Short).ask(out, 1).await;
        match (frames.into_iter().next(), rest) {
            (Some(frame), _) => Ok(frame),
            (None, Some(Rest::Unsent(trouble) | Rest::InDoubt(trouble))) => Err(trouble),
            (None, None) => Err(Trouble::away("no reply")),
        }
    }

    fn lane(&self, node: &Address, lanes: Lanes) -> Arc<Lane> {
        let lane = self.lock().get(&(node.clone(), lanes)).map(Arc::clone);
        if let Some(lane) = lane {
            return lane;
        }
        let mut all = self.lock();
        let lane = all.entry((node.clone(), lanes)).or_insert_with(|| {
            let place = match &self.backend {
                Backend::Single(place) => place.clone(),
                Backend::Cluster(_) => Place::Fixed(node.clone()),
            };
            let connector = Arc::clone(&self.connector);
            let health = Arc::clone(&self.health);
            Arc::new(Lane::start(place, connector, &self.options, health))
        });
        Arc::clone(lane)
    }

    pub(super) fn is_up(&self, node: &Address) -> bool {
        let lanes = self.lock();
        let lane = lanes.get(&(node.clone(), Lanes::Short));
        lane.is_some_and(|lane| lane.is_up())
    }

    /// Forgets the connections to nodes that are not in use any more.
    pub(super) fn keep_only(&self, is_used: impl Fn(&Address) -> bool) {
        self.lock().retain(|(node, _), _| is_used(node));
    }

    pub(super) fn pending_bytes(&self) -> usize {
        self.lock().values().map(|lane| lane.pending_bytes()).sum()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(Address, Lanes), Arc<Lane>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which connection suits these commands, however long they are.
fn size(mut specs: impl Iterator<Item = &'static Spec>) -> Lanes {
    let is_long = |spec: &Spec| matches!(spec.kind, Kind::Long | Kind::Script | Kind::Waits(_));
    match specs.any(is_long) {
        true => Lanes::Long,
        false => Lanes::Short,
    }
}

impl Lanes {
    /// The one for so many bytes.
    fn or_for(self, bytes: usize) -> Self {
        match bytes > LARGE_BYTES {
            true => Self::Long,
            false => self,
        }
    }
}

fn too_often() -> String {
    "the nodes of the cluster do not agree on who serves this".to_owned()
}

pub(super) fn unavailable(trouble: &Trouble) -> RedisError {
    match trouble.may_pass {
        true => RedisError::Unavailable(trouble.public.clone()),
        false => RedisError::Denied(trouble.public.clone()),
    }
}

fn fill(replies: &mut [Option<Reply>], indices: &[usize], with: impl Fn() -> Reply) {
    for index in indices {
        if let Some(reply) = replies.get_mut(*index) {
            *reply = Some(with());
        }
    }
}

/// Takes a reply; the answers of several nodes to a summed command become one.
fn add(replies: &mut [Option<Reply>], index: usize, new: Reply) {
    let Some(reply) = replies.get_mut(index) else {
        return;
    };
    match (reply.as_mut(), &new) {
        (None, _) => *reply = Some(new),
        (Some(Reply::Array(sum)), Reply::Array(more)) => {
            for (sum, more) in sum.iter_mut().zip(more) {
                if let (Value::Integer(sum), Value::Integer(more)) = (sum, more) {
                    *sum = sum.saturating_add(*more);
                }
            }
        }
        // A count without one of the nodes is none.
        (Some(Reply::Array(_)), _) => *reply = Some(new),
        (Some(_), _) => {}
    }
}

/// A frame as a plugin gets it.
pub(super) fn reply(frame: Frame) -> Reply {
    let value = match frame {
        Frame::Array(values) => return Reply::Array(values),
        Frame::One(value) => value,
    };
    match value {
        Value::Nil => Reply::Nil,
        Value::Integer(number) => Reply::Integer(number),
        Value::Bulk(bytes) => Reply::Bulk(bytes),
        Value::Status(text) => Reply::Status(text),
        Value::Array(_) => Reply::Array(Vec::new()),
        Value::Error(text) => error_reply(text),
    }
}

fn error_reply(text: Bytes) -> Reply {
    let code = text.split(|byte| *byte == b' ').next().unwrap_or_default();
    if PASSING.iter().any(|passing| passing.as_bytes() == code) {
        return Reply::NotExecuted(String::from_utf8_lossy(&text).into_owned());
    }
    match code {
        // They hold addresses, which are not the plugin's business.
        b"MOVED" | b"ASK" => Reply::Error(Bytes::from_static(
            b"CLUSTER this connection is to one node of a Redis Cluster: configure it as `cluster`",
        )),
        _ => Reply::Error(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_several_nodes_are_added_and_one_that_failed_is_not_hidden() {
        let count = |number| {
            let channel = Value::Bulk(Bytes::from_static(b"c"));
            Reply::Array(vec![channel, Value::Integer(number)])
        };
        let mut replies = vec![None];
        add(&mut replies, 0, count(2));
        add(&mut replies, 0, count(3));
        assert_eq!(replies, [Some(count(5))]);
        let failed = Reply::NotExecuted("away".to_owned());
        add(&mut replies, 0, failed.clone());
        add(&mut replies, 0, count(1));
        assert_eq!(replies, [Some(failed)]);
    }

    #[test]
    fn errors_that_pass_are_told_from_those_that_stay() {
        let reply = |text: &'static str| error_reply(Bytes::from_static(text.as_bytes()));
        assert!(matches!(
            reply("LOADING Redis is loading"),
            Reply::NotExecuted(_)
        ));
        assert!(matches!(reply("WRONGTYPE no"), Reply::Error(_)));
        let Reply::Error(text) = reply("MOVED 1 10.0.0.1:6379") else {
            panic!("expected an error");
        };
        assert!(!text.windows(4).any(|part| part == b"10.0"), "{text:?}");
    }
}
