//! Sessions for connection state recovery, of transports that keep some: what one server has saved
//! another gives back, once, with what was missed.

use std::time::Duration;

use serde_json::{Value, json};
use switchboard::{Board, Config, PrivateId, Session, transport::RecoveryError};

use crate::{
    Client, Clients, Cluster, Error, Select,
    scenarios::{Outcome, Setting},
};

const TTL: Duration = Duration::from_secs(60);
const SOCKET: &str = "someone-0123456789ab";
const WITH_OFFSETS: &str = "[cluster]\nconnection_state_recovery = true";
/// Far more than there are.
const MOST: u32 = 100;

/// Does the transport keep sessions, as it is configured?
pub(crate) async fn are_kept(cluster: &Cluster) -> Result<bool, Error> {
    let board = open(cluster).await?;
    let kept = match board.supports_recovery() {
        true => board.persist_session(&session(pid()?)?, TTL).await,
        false => Err(RecoveryError::Unsupported),
    };
    board.close().await;
    // Another error is for the promise to find.
    Ok(kept != Err(RecoveryError::Unsupported))
}

pub(super) async fn given_back(setting: &Setting) -> Outcome {
    let cluster = setting.cluster().nodes(2).toml(WITH_OFFSETS);
    let cluster = cluster.start().await?;
    let (saving, restoring) = (open(&cluster).await?, open(&cluster).await?);
    let (one, other) = (cluster.node(0), cluster.node(1));
    let clients = Clients::start().await?;
    let here = clients.connect(one.url(), setting.connect()).await?;
    let there = clients.connect(other.url(), setting.connect()).await?;
    let everyone = Select::all();

    // The same event has the same offset at every server, whichever sent it.
    one.broadcast(&everyone, "news", json!([1])).await?;
    assert_eq!(news(&here, 1).await?, news(&there, 1).await?);
    other.broadcast(&everyone, "news", json!([2])).await?;
    let seen = news(&here, 2).await?;
    assert_eq!(seen, news(&there, 2).await?);
    let (_, offset) = seen.into_iter().next_back().unwrap_or_default();

    let pid = pid()?;
    let saved = session(pid.clone())?;
    saving
        .persist_session(&saved, TTL)
        .await
        .map_err(failed("a session cannot be saved"))?;
    let hall = Select::all().to("hall");
    let sent = [
        (one, hall.clone()),
        (other, Select::all().except("hall")),
        (one, Select::all().to("elsewhere")),
        (one, hall.volatile()),
        (other, Select::all().to(SOCKET)),
    ];
    for (index, (from, select)) in sent.into_iter().enumerate() {
        from.broadcast(&select, "news", json!([3 + index])).await?;
        // One after the other, also from different servers.
        from.broadcast(&everyone, "fence", json!([])).await?;
        here.wait_for("fence", index + 1).await?;
    }
    let restored = restoring
        .restore_session("/", &pid, offset.clone(), MOST)
        .await
        .map_err(failed("a session cannot be restored"))?;
    let restored = restored.ok_or_else(|| Error::Test("the session is not there".into()))?;
    assert_eq!(restored.session, saved, "the session is another one");
    let missed = restored.missed.iter();
    let missed: Vec<_> = missed
        .filter(|packet| packet.event() == "news")
        .map(|packet| packet.as_json())
        .collect();
    let expected = [r#"["news",3]"#, r#"["news",7]"#];
    assert_eq!(missed, expected, "what its rooms got meanwhile, in order");
    let again = restoring.restore_session("/", &pid, offset, MOST).await;
    assert_eq!(again, Ok(None), "a session was given back twice");
    saving.close().await;
    restoring.close().await;
    Ok(())
}

/// A server without clients.
async fn open(cluster: &Cluster) -> Result<Board, Error> {
    let config = Config::from_file(cluster.config()).map_err(failed("no configuration"))?;
    Board::open(config)
        .await
        .map_err(failed("a server does not start"))
}

fn session(pid: PrivateId) -> Result<Session, Error> {
    let session = Session::new(pid, SOCKET, ["hall"]);
    session
        .with_data(&json!({ "name": "ada" }))
        .map_err(failed("a session cannot be made"))
}

fn pid() -> Result<PrivateId, Error> {
    PrivateId::random().map_err(failed("a session cannot be made"))
}

/// Numbers of the `news` that a client has, and their offsets.
async fn news(client: &Client, count: usize) -> Result<Vec<(i64, String)>, Error> {
    let news = client.wait_for("news", count).await?;
    let part = |args: &Value| match (args[0].as_i64(), args[1].as_str()) {
        (Some(number), Some(offset)) => Ok((number, offset.to_owned())),
        _ => Err(Error::Test(format!("an event came without offset: {args}"))),
    };
    news.iter().map(part).collect()
}

fn failed<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> Error {
    move |error| Error::Test(format!("{what}: {error}"))
}
