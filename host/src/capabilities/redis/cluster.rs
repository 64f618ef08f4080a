//! What this process knows of a Redis Cluster: who owns which slots, and when to ask again.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Mutex as AsyncMutex, watch},
    time::{Instant, timeout},
};

use super::{pipeline::Router, slots::SlotMap, trouble::Trouble, url::Address};

/// The map is not asked for more often than this.
const MIN_AGE: Duration = Duration::from_millis(100);
/// How long one node may take to tell it, connection included: the next one may be better.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// How long all of them may take together.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(3);

/// The nodes of a cluster.
pub(super) struct Cluster {
    seeds: Vec<Address>,
    /// The map, once known; those who follow it are told of changes.
    map: watch::Sender<Option<Arc<SlotMap>>>,
    /// Slots that have moved since, as nodes said.
    moved: Mutex<BTreeMap<u16, Address>>,
    /// Something happened that does not fit the map.
    is_doubtful: AtomicBool,
    /// Held by the one who asks; holds when that was.
    asking: AsyncMutex<Option<Instant>>,
}

/// The map with what has moved since.
pub(super) struct Slots {
    map: Arc<SlotMap>,
    moved: BTreeMap<u16, Address>,
}

impl Slots {
    pub(super) fn owner(&self, slot: u16) -> Option<&Address> {
        self.moved.get(&slot).or_else(|| self.map.owner(slot))
    }

    pub(super) fn masters(&self) -> std::collections::BTreeSet<&Address> {
        self.map.masters()
    }

    pub(super) fn nodes(&self) -> std::collections::BTreeSet<&Address> {
        self.map.nodes()
    }
}

impl Cluster {
    pub(super) fn new(seeds: Vec<Address>) -> Self {
        Self {
            seeds,
            map: watch::Sender::new(None),
            moved: Mutex::default(),
            is_doubtful: AtomicBool::new(true),
            asking: AsyncMutex::new(None),
        }
    }

    /// Who owns what; asks when the last answer is in doubt.
    ///
    /// # Errors
    /// No node told, and nothing is known from before.
    pub(super) async fn slots(&self, router: &Router) -> Result<Slots, Trouble> {
        if self.is_doubtful.load(Ordering::Acquire) {
            self.refresh(router).await?;
        }
        match self.map.borrow().clone() {
            Some(map) => Ok(Slots {
                map,
                moved: self.lock().clone(),
            }),
            None => Err(Trouble::away("no node of the cluster was reached yet")),
        }
    }

    /// Where changes of the map are told.
    pub(super) fn changes(&self) -> watch::Receiver<Option<Arc<SlotMap>>> {
        self.map.subscribe()
    }

    /// What was said last may not hold any more: the next one who needs it asks.
    pub(super) fn doubt(&self) {
        self.is_doubtful.store(true, Ordering::Release);
    }

    /// This node cannot be reached: it may not own what it is said to own.
    pub(super) fn doubt_node(&self, node: &Address) {
        self.lock().retain(|_, to| to != node);
        self.doubt();
    }

    /// A node said where a slot is now.
    pub(super) fn moved(&self, slot: Option<u16>, to: Address) {
        if let Some(slot) = slot {
            self.lock().insert(slot, to);
        }
        self.doubt();
    }

    async fn refresh(&self, router: &Router) -> Result<(), Trouble> {
        let mut asked = self.asking.lock().await;
        let is_fresh = asked.is_some_and(|at| at.elapsed() < MIN_AGE);
        if is_fresh || !self.is_doubtful.load(Ordering::Acquire) {
            return Ok(());
        }
        // Before the question, so that what happens meanwhile is not forgotten.
        self.is_doubtful.store(false, Ordering::Release);
        let result = timeout(REFRESH_TIMEOUT, self.ask_around(router)).await;
        *asked = Some(Instant::now());
        let trouble = match result {
            Ok(Ok(map)) => {
                self.learn(map, router);
                return Ok(());
            }
            Ok(Err(trouble)) => trouble,
            Err(_) => Trouble::away("no node of the cluster answers in time"),
        };
        self.doubt();
        match self.map.borrow().is_some() {
            // What was true a moment ago may still serve.
            true => Ok(()),
            false => Err(trouble),
        }
    }

    fn learn(&self, map: SlotMap, router: &Router) {
        let (nodes, masters) = (map.nodes(), map.masters());
        // What a node said by `MOVED` may be newer than what another knows; it is kept until the
        // map agrees, or knows no such master.
        self.lock()
            .retain(|slot, to| map.owner(*slot) != Some(to) && masters.contains(to));
        let moved = self.lock().values().cloned().collect::<Vec<_>>();
        router.keep_only(|node| {
            nodes.contains(node) || self.seeds.contains(node) || moved.contains(node)
        });
        drop((nodes, masters));
        let map = Arc::new(map);
        self.map.send_if_modified(|known| {
            let is_new = known.as_ref() != Some(&map);
            if is_new {
                *known = Some(map);
            }
            is_new
        });
    }

    /// Asks one node after the other, those first that are connected.
    async fn ask_around(&self, router: &Router) -> Result<SlotMap, Trouble> {
        let mut nodes: Vec<Address> = match &*self.map.borrow() {
            Some(map) => map.masters().into_iter().cloned().collect(),
            None => Vec::new(),
        };
        for seed in &self.seeds {
            if !nodes.contains(seed) {
                nodes.push(seed.clone());
            }
        }
        nodes.sort_by_key(|node| !router.is_up(node));
        let mut last = Trouble::away("the cluster has no nodes");
        for node in &nodes {
            match timeout(ASK_TIMEOUT, router.ask(node, &["CLUSTER", "SLOTS"])).await {
                Ok(Ok(frame)) => {
                    if let Some(map) = SlotMap::read(&frame, node) {
                        return Ok(map);
                    }
                    let text = frame.error().map(|text| String::from_utf8_lossy(text));
                    let text = text.unwrap_or("it has no slots yet".into());
                    last = Trouble::away(format!("the node tells no slots: {text}")).at(node);
                }
                Ok(Err(trouble)) => last = trouble,
                Err(_) => last = Trouble::away("the node does not answer in time").at(node),
            }
        }
        Err(last)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u16, Address>> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
