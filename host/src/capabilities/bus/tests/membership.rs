//! Who is there: joining, leaving, coming back, and the file system around the socket.

use std::{fs, os::unix::fs::PermissionsExt};

use super::*;

#[tokio::test]
async fn members_are_told_of_each_other() {
    let site = Site::new();
    let buses = site.start_all(&["a", "b"]).await;
    assert_eq!(take(&buses[0], 1).await, [joined("b")]);
    assert_eq!(take(&buses[1], 1).await, [joined("a")]);
    let c = site.start("c");
    assert_eq!(take(&buses[0], 1).await, [joined("c")]);
    assert_eq!(take(&c, 2).await.len(), 2);
    soon("the end", c.close()).await;
    assert_eq!(take(&buses[0], 1).await, [left("c")]);
    assert_eq!(take(&buses[1], 2).await, [joined("c"), left("c")]);
}

#[tokio::test]
async fn a_late_subscription_begins_with_who_is_there_and_what_comes_now() {
    let site = Site::new();
    let a = site.start("a");
    let silent = Bus::start("silent", site.options.clone()).unwrap();
    meet(&[a.clone(), silent.clone()]).await;
    for _ in 0..200 {
        // Far more than a queue holds: a member that never subscribes is no burden.
        send(&a, &[Bytes::from(vec![0; 1 << 20])]).await.unwrap();
    }
    until("all is taken", || a.status().unstable_frames == 0).await;
    assert_eq!(silent.status().queued_events, 0);
    silent.subscribe();
    send_text(&a, "now").await;
    assert_eq!(take(&silent, 2).await, [joined("a"), frame("a", "now")]);
}

#[tokio::test]
async fn a_member_that_dies_is_reported_at_once() {
    let site = Site::new();
    let mut buses = site.start_all(&["a", "b", "c"]).await;
    let hub = hub(&buses).unwrap();
    let victim = buses.remove((hub + 1) % 3);
    let gone = ["a", "b", "c"][(hub + 1) % 3];
    victim.kill().await;
    for bus in &buses {
        take_until(bus, &left(gone)).await;
    }
}

#[tokio::test]
async fn dropping_the_last_clone_is_dying() {
    let site = Site::new();
    let mut buses = site.start_all(&["a", "b"]).await;
    let b = buses.pop().unwrap();
    drop(b);
    assert_eq!(take(&buses[0], 2).await, [joined("b"), left("b")]);
}

#[tokio::test]
async fn a_process_that_starts_again_under_its_old_id_is_heard() {
    let site = Site::new();
    let a = site.start("a");
    for round in 0..5 {
        let b = site.start("b");
        meet(&[a.clone(), b.clone()]).await;
        send_text(&b, "hello").await;
        until("it is taken", || b.status().unstable_frames == 0).await;
        if round % 2 == 0 {
            b.kill().await
        } else {
            b.close().await
        }
        let expected = [joined("b"), frame("b", "hello"), left("b")];
        assert_eq!(take(&a, 3).await, expected, "round {round}");
    }
}

#[tokio::test]
async fn two_processes_cannot_have_one_id() {
    let site = Site::new();
    let first = site.start("a");
    until("it is there", || first.status().role == BusRole::Hub).await;
    let second = site.start("a");
    let refused = || {
        second
            .status()
            .trouble
            .is_some_and(|why| why.contains("unique"))
    };
    until("the second is refused", refused).await;
    assert_eq!(first.status().role, BusRole::Hub);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_start_together_always_find_each_other() {
    for _ in 0..100 {
        let site = Site::new();
        let buses = site.start_all(&["a", "b", "c"]).await;
        let hubs = buses
            .iter()
            .filter(|bus| bus.status().role == BusRole::Hub)
            .count();
        assert_eq!(hubs, 1);
        send_text(&buses[0], "to all").await;
        for bus in &buses[1..] {
            take_until(bus, &frame("a", "to all")).await;
        }
    }
}

#[tokio::test]
async fn a_socket_that_nobody_serves_is_replaced() {
    let site = Site::new();
    drop(std::os::unix::net::UnixListener::bind(site.path()).unwrap());
    assert!(site.path().exists());
    site.start_all(&["a", "b"]).await;
}

#[tokio::test]
async fn a_socket_that_was_removed_is_made_again_and_nobody_is_reported_gone() {
    let site = Site::new();
    let mut buses = site.start_all(&["a", "b"]).await;
    take(&buses[0], 1).await;
    take(&buses[1], 1).await;
    fs::remove_file(site.path()).unwrap();
    buses.push(site.start("c"));
    meet(&buses).await;
    assert_eq!(take(&buses[0], 1).await, [joined("c")]);
    assert_eq!(take(&buses[1], 1).await, [joined("c")]);
    send_text(&buses[0], "still here").await;
    assert_eq!(take(&buses[1], 1).await, [frame("a", "still here")]);
}

#[tokio::test]
async fn a_bus_that_cannot_be_used_says_why() {
    let start = |options: BusOptions| Bus::start("a", options).map(|_| ()).unwrap_err();
    let site = Site::with(|options| options.path = PathBuf::from("/tmp/x".repeat(20)));
    assert!(matches!(start(site.options), BusError::Config(why) if why.contains("at most 107")));

    let site = Site::new();
    fs::set_permissions(site.folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let error = start(site.options.clone());
    assert!(
        matches!(&error, BusError::Config(why) if why.contains("other users")),
        "{error}"
    );

    let site = Site::new();
    let error = Bus::start("x".repeat(129), site.options.clone())
        .map(|_| ())
        .unwrap_err();
    assert!(
        matches!(&error, BusError::Config(why) if why.contains("128")),
        "{error}"
    );
    assert!(matches!(
        Bus::start("", site.options.clone()),
        Err(BusError::Config(_))
    ));

    fs::write(site.path(), "not a socket").unwrap();
    let bus = site.start("a");
    let error = soon("an error", async {
        loop {
            if let Err(error) = bus.next(Duration::from_millis(10), 1, 1).await {
                return error;
            }
        }
    });
    let error = error.await;
    assert!(matches!(&error, BusError::Unavailable(why) if why.contains("not a socket")));
}

#[test]
fn without_a_runtime_there_is_an_error_and_no_panic() {
    let site = Site::new();
    let error = Bus::start("a", site.options.clone())
        .map(|_| ())
        .unwrap_err();
    assert!(
        matches!(&error, BusError::Config(why) if why.contains("runtime")),
        "{error}"
    );
}

#[tokio::test]
async fn a_closed_bus_accepts_nothing_and_closes_twice() {
    let site = Site::new();
    let bus = site.start("a");
    soon("the end", bus.close()).await;
    soon("the end", bus.close()).await;
    let error = send(&bus, &[Bytes::new()]).await.unwrap_err();
    assert!(
        matches!(&error, BusError::Unavailable(why) if why.contains("closed")),
        "{error}"
    );
}
