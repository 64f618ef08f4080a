//! A Postgres server is a process and those that it makes, one for each session.

use std::{fs, path::Path};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Error, Process, until};

/// Ends all of them, and waits until they are gone: a server does not start over the memory of
/// another one.
pub(super) async fn kill(main: &Process) -> Result<(), Error> {
    // So that it makes no more of them while they are listed.
    main.pause().await?;
    let children = children(main.pid());
    send(&children, Signal::KILL);
    main.kill().await?;
    let look = || async { Ok(children.iter().filter(|pid| is_alive(**pid)).count()) };
    until("the sessions to be gone", look, |left| *left == 0).await?;
    Ok(())
}

/// Freezes all of them.
pub(super) async fn pause(main: &Process) -> Result<(), Error> {
    main.pause().await?;
    send(&children(main.pid()), Signal::STOP);
    Ok(())
}

/// Lets all of them go on.
pub(super) fn resume(main: &Process) -> Result<(), Error> {
    send(&children(main.pid()), Signal::CONT);
    main.resume()
}

fn children(main: u32) -> Vec<i32> {
    let listed = fs::read_to_string(format!("/proc/{main}/task/{main}/children"));
    let listed = listed.unwrap_or_default();
    let pids = listed.split_whitespace();
    pids.filter_map(|pid| pid.parse().ok()).collect()
}

fn send(pids: &[i32], signal: Signal) {
    for pid in pids.iter().filter_map(|pid| Pid::from_raw(*pid)) {
        // A session may end by itself meanwhile.
        let _ = kill_process(pid, signal);
    }
}

/// Dead, but nobody has asked how it ended, is `Z`.
fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}
