//! The hub dies, and nobody notices more than that.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use tokio::task::JoinHandle;

use super::{super::frame::Frame, *};

#[tokio::test]
async fn a_dead_hub_is_reported_and_nobody_else() {
    let site = Site::new();
    let ids = ["a", "b", "c"];
    let mut buses = site.start_all(&ids).await;
    for bus in &buses {
        take(bus, 2).await;
    }
    let at = hub(&buses).unwrap();
    buses.remove(at).kill().await;
    for bus in &buses {
        assert_eq!(take(bus, 1).await, [left(ids[at])]);
    }
    meet(&buses).await;
    send_text(&buses[0], "on").await;
    let got = take(&buses[1], 1).await;
    assert!(matches!(&got[..], [BusEvent::Frame { .. }]), "{got:?}");
}

#[tokio::test]
async fn a_hub_that_leaves_politely_is_reported_and_nobody_else() {
    let site = Site::new();
    let ids = ["a", "b", "c"];
    let mut buses = site.start_all(&ids).await;
    for bus in &buses {
        take(bus, 2).await;
    }
    let at = hub(&buses).unwrap();
    send_text(&buses[at], "farewell").await;
    soon("the end", buses.remove(at).close()).await;
    for bus in &buses {
        assert_eq!(
            take(bus, 2).await,
            [frame(ids[at], "farewell"), left(ids[at])]
        );
    }
    meet(&buses).await;
}

#[tokio::test]
async fn who_does_not_come_back_after_a_takeover_is_reported_gone() {
    let site = Site::with(|options| options.rejoin_grace = Duration::from_millis(300));
    let ids = ["a", "b", "c", "d"];
    let mut buses = site.start_all(&ids).await;
    let at = hub(&buses).unwrap();
    let hub_bus = buses.remove(at);
    let mut ids = ids.to_vec();
    let hub_id = ids.remove(at);
    // Both at the same moment.
    let other = buses.remove(0);
    let other_id = ids.remove(0);
    tokio::join!(hub_bus.kill(), other.kill());
    for bus in &buses {
        let mut gone = Vec::new();
        while gone.len() < 2 {
            gone.extend(
                take(bus, 1)
                    .await
                    .into_iter()
                    .filter_map(|event| match event {
                        BusEvent::Left(id) => Some(id.to_string()),
                        _ => None,
                    }),
            );
        }
        gone.sort();
        let mut expected = [hub_id, other_id];
        expected.sort_unstable();
        assert_eq!(gone, expected);
    }
    meet(&buses).await;
    send_text(&buses[0], "on").await;
    until("it is taken", || buses[0].status().unstable_frames == 0).await;
}

#[tokio::test]
async fn frames_wait_for_members_that_come_back_late() {
    let site = Site::with(|options| options.rejoin_grace = Duration::from_secs(3600));
    let mut buses = site.start_all(&["a", "b"]).await;
    let (late, _) = Raw::join(&site, hello("late")).await;
    until("it is known", || {
        buses.iter().all(|bus| bus.status().members.len() == 2)
    })
    .await;
    buses.remove(hub(&buses).unwrap()).kill().await;
    drop(late);
    let survivor = buses.remove(0);
    send_text(&survivor, "precious").await;
    until("the takeover", || survivor.status().role == BusRole::Hub).await;
    // All who are there have it, and still it is kept.
    sleep(Duration::from_millis(200)).await;
    assert_eq!(survivor.status().unstable_frames, 1);

    let (mut late, members) = Raw::join(&site, hello("late")).await;
    assert!(
        members.is_empty(),
        "the survivor stands in the log: {members:?}"
    );
    let Frame::Joined(known) = late.next().await.unwrap() else {
        panic!("not joined")
    };
    assert_eq!(known.base, Some(0));
    let Frame::Data(data) = late.next().await.unwrap() else {
        panic!("no data")
    };
    assert_eq!(&data.payload()[..], b"precious");
    late.send(&[Frame::Ack { count: 2 }]).await;
    until("it is stable", || survivor.status().unstable_frames == 0).await;
}

/// One member that sends and receives until it is told to stop.
struct Node {
    id: String,
    bus: Bus,
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    sender: JoinHandle<()>,
    receiver: JoinHandle<Ledger>,
    ledger_ready: Arc<AtomicU64>,
}

impl Node {
    fn start(site: &Site, id: String) -> Self {
        let bus = site.start(&id);
        let sent = Arc::<AtomicU64>::default();
        let stop = Arc::<AtomicBool>::default();
        let ledger_ready = Arc::<AtomicU64>::default();
        let sender = {
            let (bus, sent, stop) = (bus.clone(), Arc::clone(&sent), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut number = 0;
                while !stop.load(Ordering::SeqCst) {
                    let batch: Vec<Bytes> = (1..=number % 7 + 1)
                        .map(|n| numbered(number + n, 60_000))
                        .collect();
                    let count = batch.len() as u64;
                    if let Ok(staged) = bus.reserve(batch).await {
                        staged.commit();
                        number += count;
                        sent.store(number, Ordering::SeqCst);
                    }
                    tokio::task::yield_now().await;
                }
            })
        };
        let receiver = {
            let (bus, id, stop) = (bus.clone(), id.clone(), Arc::clone(&stop));
            let ready = Arc::clone(&ledger_ready);
            tokio::spawn(async move {
                let mut ledger = Ledger::default();
                let mut quiet = 0;
                // After the end, until nothing more comes for a while and the test says so.
                while !stop.load(Ordering::SeqCst) || ready.load(Ordering::SeqCst) == 0 || quiet < 3
                {
                    let events = bus.next(Duration::from_millis(100), 64, 1 << 20).await;
                    let events = events.unwrap_or_default();
                    quiet = if events.is_empty() { quiet + 1 } else { 0 };
                    ledger.note(&id, events);
                    bus.commit();
                }
                ledger
            })
        };
        Self {
            id,
            bus,
            sent,
            stop,
            sender,
            receiver,
            ledger_ready,
        }
    }

    async fn kill(self) {
        self.sender.abort();
        self.bus.kill().await;
        self.stop.store(true, Ordering::SeqCst);
        self.ledger_ready.store(1, Ordering::SeqCst);
        // What it got until then must have been right.
        let ledger = self.receiver.await.unwrap();
        assert_eq!(ledger.lagged, 0, "at {}", self.id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hubs_that_die_under_load_cost_no_frame() {
    const ROUNDS: usize = 12;
    let site = Site::with(|options| options.rejoin_grace = Duration::from_secs(10));
    let mut nodes: VecDeque<Node> = (0..4)
        .map(|n| Node::start(&site, format!("node-{n}")))
        .collect();
    let witnesses: Vec<Node> = (0..2)
        .map(|n| Node::start(&site, format!("witness-{n}")))
        .collect();
    for round in 0..=ROUNDS {
        let all = || nodes.iter().chain(&witnesses);
        until("all are there", || {
            all().all(|node| {
                let status = node.bus.status();
                status.role != BusRole::Connecting && status.members.len() == 5
            })
        })
        .await;
        let before: Vec<u64> = all().map(|node| node.sent.load(Ordering::SeqCst)).collect();
        until("all have sent", || {
            all().zip(&before).all(|(node, before)| {
                node.sent.load(Ordering::SeqCst) > before + 20 + round as u64 * 3
            })
        })
        .await;
        if round == ROUNDS {
            break;
        }
        // The hub where possible; a witness that serves is left alone.
        let at = nodes
            .iter()
            .position(|node| node.bus.status().role == BusRole::Hub);
        let victim = nodes.remove(at.unwrap_or_default()).unwrap();
        victim.kill().await;
        // A new process that served first would be alone, and send frames that the others miss.
        until("a survivor serves", || {
            let mut survivors = nodes.iter().chain(&witnesses);
            survivors.any(|node| node.bus.status().role == BusRole::Hub)
        })
        .await;
        nodes.push_back(Node::start(&site, format!("node-{}", round + 4)));
    }
    let all: Vec<Node> = nodes.into_iter().chain(witnesses).collect();
    for node in &all {
        node.stop.store(true, Ordering::SeqCst);
    }
    for node in &all {
        until("all is stable", || {
            node.sender.is_finished() && node.bus.status().unstable_frames == 0
        })
        .await;
    }
    let mut sent = BTreeMap::new();
    for node in &all {
        sent.insert(node.id.clone(), node.sent.load(Ordering::SeqCst));
        node.ledger_ready.store(1, Ordering::SeqCst);
    }
    for node in all {
        let ledger = soon("the end", node.receiver).await.unwrap();
        assert_eq!(ledger.lagged, 0, "at {}", node.id);
        for (sender, last) in sent.iter().filter(|(sender, _)| **sender != node.id) {
            assert_eq!(
                ledger.last.get(sender.as_str()),
                Some(last),
                "{sender} at {}",
                node.id
            );
        }
    }
}
