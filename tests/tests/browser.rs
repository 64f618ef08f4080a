//! The demo as its visitors see it: the chat's own servers in one cluster, and its page in
//! headless Chromium. Which events make this work is the chat's business; here is only what people
//! on different nodes do and see. A visitor's moves are in `tests/node/chat-page.mjs`.

#![allow(clippy::unwrap_used)]

use std::{
    collections::HashMap,
    env,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use switchboard_tests::{Cluster, Error, Process, Redis, Transport};
use tokio::process::Command;

/// Servers of the chat in one cluster, and a browser.
struct Demo {
    nodes: HashMap<&'static str, (Process, String)>,
    browser: Process,
    /// Last, so that the folder is removed when nothing uses it any more.
    _folder: Cluster,
}

impl Demo {
    async fn start(names: &[&'static str]) -> Result<Self, Error> {
        Self::start_with(names, "").await
    }

    /// The same with further configuration.
    async fn start_with(names: &[&'static str], toml: &str) -> Result<Self, Error> {
        let script = workspace("tests/node/browser.mjs");
        needs(
            &workspace("tests/node/node_modules/playwright-core"),
            "npm ci --prefix tests/node",
        )?;
        needs(
            &workspace("examples/chat/web/node_modules/socket.io-client"),
            "npm ci --prefix examples/chat/web",
        )?;
        let chat = chat()?;

        // No servers of its own: only the configuration that ours share.
        let folder = Cluster::builder()
            .transport(Transport::local())
            .nodes(0)
            .without_waiting()
            .toml(toml)
            .start()
            .await?;
        let mut nodes = HashMap::new();
        for &name in names {
            let mut command = without_our_variables(Command::new(&chat));
            command
                .args([
                    "--exit-with-stdin",
                    "--port",
                    "0",
                    "--name",
                    name,
                    "--config",
                ])
                .arg(folder.config());
            let node = Process::start(format!("node {name}"), command, "LISTENING ").await?;
            nodes.insert(name, node);
        }

        let mut command = Command::new("node");
        // Whatever the browser leaves behind goes with the folder.
        command.arg(script).env("TMPDIR", folder.folder());
        let (browser, _) = Process::start("the browser", command, "READY").await?;
        Ok(Self {
            nodes,
            browser,
            _folder: folder,
        })
    }

    /// A visitor with this name opens the page of a node.
    async fn open(&self, node: &str, visitor: &'static str) -> Result<Visitor<'_>, Error> {
        let url = &self.nodes[node].1;
        let open = json!({ "op": "open", "visitor": visitor, "url": url });
        self.browser.call::<Value>(&open).await?;
        Ok(Visitor {
            demo: self,
            name: visitor,
        })
    }

    /// Checks that nothing went wrong in the pages, and closes the browser in peace.
    async fn finish(self) -> Result<(), Error> {
        let faults: Vec<String> = self.browser.call(&json!({ "op": "faults" })).await?;
        assert!(
            faults.is_empty(),
            "the pages' scripts must not fail: {faults:#?}"
        );
        self.browser.stop().await?;
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct Visitor<'a> {
    demo: &'a Demo,
    name: &'static str,
}

impl Visitor<'_> {
    /// Does something, and returns what comes of it.
    async fn get<T: DeserializeOwned>(&self, what: &str, with: Value) -> Result<T, Error> {
        let step = json!({ "op": "do", "visitor": self.name, "what": what, "with": with });
        self.demo.browser.call(&step).await
    }

    /// Does something, or waits for something to be seen.
    async fn act(&self, what: &str, with: Value) -> Result<(), Error> {
        self.get::<Value>(what, with).await.map(drop)
    }

    async fn say(&self, text: &str) -> Result<(), Error> {
        self.act("say", json!([text])).await
    }

    /// Waits for a message and checks who it is from.
    async fn reads(&self, text: &str, from: &str, node: &str) -> Result<(), Error> {
        let by: Value = self.get("reads", json!([text])).await?;
        assert_eq!(
            by,
            json!({ "from": from, "node": node }),
            "the sender of {text:?}"
        );
        Ok(())
    }

    async fn texts(&self) -> Result<Vec<String>, Error> {
        self.get("texts", json!([])).await
    }
}

#[tokio::test]
async fn visitors_of_two_nodes_see_each_other_and_talk() -> Result<(), Error> {
    let demo = Demo::start(&["a", "b"]).await?;
    let ada = demo.open("a", "Ada").await?;
    let ben = demo.open("b", "Ben").await?;

    for visitor in [ada, ben] {
        visitor.act("seesNodes", json!(["a", "b"])).await?;
        visitor.act("sees", json!(["Ada", "a"])).await?;
        visitor.act("sees", json!(["Ben", "b"])).await?;
    }

    ada.say("Hello from a").await?;
    ben.reads("Hello from a", "Ada", "a").await?;
    ben.say("Hello from b").await?;
    ada.reads("Hello from b", "Ben", "b").await?;

    ben.act("typesUntilSeenBy", json!([{ "visitor": "Ada" }, "Ben"]))
        .await?;

    ben.act("rename", json!(["Benjamin"])).await?;
    ada.act("sees", json!(["Benjamin", "b"])).await?;
    ada.act("seesNoMore", json!(["Ben"])).await?;
    demo.finish().await
}

#[tokio::test]
async fn markup_in_a_message_is_shown_as_text() -> Result<(), Error> {
    let demo = Demo::start(&["a", "b"]).await?;
    let ada = demo.open("a", "Ada").await?;
    let ben = demo.open("b", "Ben").await?;

    let text = "<img src=x onerror='throw Error(1)'> <b>&amp;</b>";
    ada.say(text).await?;
    ben.reads(text, "Ada", "a").await?;
    demo.finish().await
}

#[tokio::test]
async fn a_room_is_heard_by_those_who_are_in_it_on_any_node() -> Result<(), Error> {
    let demo = Demo::start(&["a", "b"]).await?;
    let ada = demo.open("a", "Ada").await?;
    let ben = demo.open("b", "Ben").await?;

    // Ben is not in the room: he hears the lobby only. What Ada says later arrives later, so the
    // second text shows that the first one did not come.
    ada.act("enter", json!(["rust"])).await?;
    ada.say("Is anybody here?").await?;
    ada.act("choose", json!(["lobby"])).await?;
    ada.say("There is a room for Rust").await?;
    ben.reads("There is a room for Rust", "Ada", "a").await?;
    assert_eq!(ben.texts().await?, ["There is a room for Rust"]);

    ben.act("choose", json!(["rust"])).await?;
    ben.say("I am").await?;
    ada.act("choose", json!(["rust"])).await?;
    ada.reads("I am", "Ben", "b").await?;
    ada.say("Good").await?;
    ben.reads("Good", "Ada", "a").await?;
    assert_eq!(ben.texts().await?, ["I am", "Good"]);

    ben.act("leave", json!([])).await?;
    ada.say("Is he gone?").await?;
    ada.act("choose", json!(["lobby"])).await?;
    ada.say("He is").await?;
    ben.reads("He is", "Ada", "a").await?;
    assert_eq!(ben.texts().await?, ["There is a room for Rust", "He is"]);
    demo.finish().await
}

#[tokio::test]
async fn a_picture_arrives_on_another_node_as_it_was_sent() -> Result<(), Error> {
    let demo = Demo::start(&["a", "b"]).await?;
    let ada = demo.open("a", "Ada").await?;
    let ben = demo.open("b", "Ben").await?;

    let sent: Value = ada.get("givesPicture", json!([300, 200])).await?;
    let seen: Value = ben.get("seesPicture", json!([])).await?;
    assert_eq!(seen, sent, "size and digest of the pixels");
    demo.finish().await
}

#[tokio::test]
async fn a_ping_is_answered_by_everyone_on_every_node() -> Result<(), Error> {
    let demo = Demo::start(&["a", "b", "c"]).await?;
    let ada = demo.open("a", "Ada").await?;
    for (node, visitor) in [("b", "Ben"), ("b", "Bob"), ("c", "Cleo")] {
        demo.open(node, visitor).await?;
        ada.act("sees", json!([visitor, node])).await?;
    }

    let report: Value = ada.get("pings", json!([])).await?;
    assert_eq!(report["summary"], "4 of 4 clients");
    assert_eq!(
        report["nodes"],
        json!(["a 1 client", "b 2 clients", "c 1 client"])
    );
    demo.finish().await
}

#[tokio::test]
async fn the_visitors_of_a_killed_node_vanish_and_the_others_talk_on() -> Result<(), Error> {
    let demo = Demo::start(&["a", "b", "c"]).await?;
    let ada = demo.open("a", "Ada").await?;
    let ben = demo.open("b", "Ben").await?;
    let cleo = demo.open("c", "Cleo").await?;
    ada.act("sees", json!(["Ben", "b"])).await?;
    ada.act("sees", json!(["Cleo", "c"])).await?;

    demo.nodes["b"].0.kill().await?;
    ben.act("isCutOff", json!([])).await?;
    ada.act("seesNodes", json!(["a", "c"])).await?;
    ada.act("seesNoMore", json!(["Ben"])).await?;

    ada.say("Still there?").await?;
    cleo.reads("Still there?", "Ada", "a").await?;
    cleo.say("Yes").await?;
    ada.reads("Yes", "Cleo", "c").await?;
    demo.finish().await
}

#[tokio::test]
async fn a_visitor_moves_all_nodes_to_another_transport_while_they_talk() -> Result<(), Error> {
    let redis = Redis::start().await?;
    let demo = Demo::start_with(&["a", "b"], &on_redis_too(&redis)).await?;
    let ada = demo.open("a", "Ada").await?;
    let ben = demo.open("b", "Ben").await?;
    ada.act("sees", json!(["Ben", "b"])).await?;
    let choices: Vec<String> = ada.get("canMoveTo", json!([])).await?;
    assert_eq!(choices, ["local", "redis"]);
    ben.act("isOn", json!(["local"])).await?;

    for (from, to) in [("local", "redis"), ("redis", "local")] {
        let told: String = ada.get("movesAllTo", json!([to])).await?;
        let expected = format!("All nodes went from {from} to {to} in ");
        assert!(told.contains(&expected), "{told}");
        ada.act("seesStanding", json!(["a", "b"])).await?;
        for visitor in [ada, ben] {
            visitor.act("isOn", json!([to])).await?;
        }
        ada.say(&format!("Now by {to}")).await?;
        ben.reads(&format!("Now by {to}"), "Ada", "a").await?;
    }
    // Nobody was lost on the way.
    ben.act("seesNodes", json!(["a", "b"])).await?;
    ben.act("sees", json!(["Ada", "a"])).await?;
    demo.finish().await
}

#[tokio::test]
async fn a_move_that_cannot_be_is_said_and_everything_stays() -> Result<(), Error> {
    let redis = Redis::start().await?;
    let demo = Demo::start_with(&["a", "b"], &on_redis_too(&redis)).await?;
    let ada = demo.open("a", "Ada").await?;
    let ben = demo.open("b", "Ben").await?;
    ada.act("sees", json!(["Ben", "b"])).await?;
    ada.get::<Vec<String>>("canMoveTo", json!([])).await?;
    drop(redis);

    let told: String = ada.get("failsToMoveTo", json!(["redis"])).await?;
    assert!(told.contains("redis"), "{told}");
    for visitor in [ada, ben] {
        visitor.act("isOn", json!(["local"])).await?;
    }
    ada.say("Still here").await?;
    ben.reads("Still here", "Ada", "a").await?;
    demo.finish().await
}

/// What lets the nodes go to this Redis.
fn on_redis_too(redis: &Redis) -> String {
    format!(
        "[connections.redis.main]\nurl = \"{}\"\n[transports.redis]\ngrants = {{ redis = \
         [\"main\"] }}",
        redis.url()
    )
}

/// The chat server that cargo has built beside the running test.
fn chat() -> Result<PathBuf, Error> {
    let test = env::current_exe().map_err(|source| Error::System {
        what: "cannot find the running test".into(),
        source,
    })?;
    // target/PROFILE/deps/browser-HASH
    let folder = test.ancestors().nth(2).unwrap_or(Path::new("."));
    let chat = folder.join(format!("chat{}", env::consts::EXE_SUFFIX));
    needs(&chat, "cargo build -p switchboard-example-chat")?;
    Ok(chat)
}

fn needs(path: &Path, fix: &str) -> Result<(), Error> {
    if path.exists() {
        return Ok(());
    }
    Err(Error::Setup {
        what: format!("there is no {}", path.display()),
        fix: format!("type: {fix}"),
    })
}

fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Variables with this prefix configure Switchboard; those of the test run are not for the servers.
fn without_our_variables(mut command: Command) -> Command {
    for (key, _) in env::vars_os() {
        let name = key.to_string_lossy();
        if name.starts_with("SWITCHBOARD_") && name != "SWITCHBOARD_LOG" {
            command.env_remove(&key);
        }
    }
    command
}
