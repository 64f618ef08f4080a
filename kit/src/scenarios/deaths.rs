//! A server is killed in the middle of a question, of every kind that there is: the others' answers
//! arrive, and the dead one is named, as soon as it is known to be gone.
//!
//! Nothing in these clusters ends because time is up. The dying server stands still before it is
//! asked, so it has never answered.

use serde_json::json;

use super::{Outcome, Setting};
use crate::{Answer, Client, Clients, Cluster, Connect, Error, Looked, Select, Server, until};

/// Three servers with a client each; the third one will die.
struct Scene {
    cluster: Cluster,
    clients: Vec<Client>,
    ids: Vec<String>,
    _process: Clients,
}

impl Scene {
    async fn set(setting: &Setting) -> Result<Self, Error> {
        let cluster = setting.patient_cluster().start().await?;
        let process = Clients::start().await?;
        let (mut clients, mut ids) = (Vec::new(), Vec::new());
        for node in cluster.nodes() {
            let how = Connect::default().parser(setting.parser()).room("all");
            clients.push(process.connect(node.url(), how).await?);
            ids.push(node.node().await?);
        }
        Ok(Self {
            cluster,
            clients,
            ids,
            _process: process,
        })
    }

    fn asking(&self) -> &Server {
        self.cluster.node(0)
    }

    /// The ids of the sockets that are left.
    fn left(&self) -> Vec<String> {
        let mut left: Vec<_> = [0, 1]
            .map(|n: usize| self.clients[n].id().to_owned())
            .into();
        left.sort();
        left
    }

    /// Asks while the third server stands still, and kills it when the question is under way.
    async fn ask<T>(&self, question: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let dying = self.cluster.node(2);
        dying.pause().await?;
        let kill = async {
            until(
                "the question to be under way",
                || pending(self.asking()),
                |&n| n > 0,
            )
            .await?;
            dying.kill().await
        };
        let (answer, killed) = tokio::join!(question, kill);
        killed?;
        answer
    }
}

/// How many questions of a server wait for answers.
pub(super) async fn pending(server: &Server) -> Result<u64, Error> {
    let status = server.status().await?;
    status["cluster"]["pending_requests"]
        .as_u64()
        .ok_or_else(|| Error::Test(format!("no `pending_requests` in {status}")))
}

pub(super) async fn sockets_of_the_others_are_found(setting: &Setting) -> Outcome {
    let scene = Scene::set(setting).await?;
    let all = Select::all();
    let found = scene.ask(scene.asking().socket_ids(&all)).await?;
    assert_eq!(found.items, scene.left());
    setting.assert_missing(&found.missing, found.missing_unknown, &[&scene.ids[2]]);
    Ok(())
}

pub(super) async fn rooms_of_the_others_are_listed(setting: &Setting) -> Outcome {
    let scene = Scene::set(setting).await?;
    let all = Select::all();
    let found = scene.ask(scene.asking().all_rooms(&all)).await?;
    assert_eq!(found.items, ["all"]);
    setting.assert_missing(&found.missing, found.missing_unknown, &[&scene.ids[2]]);
    Ok(())
}

pub(super) async fn acknowledgements_of_the_others_clients_arrive(setting: &Setting) -> Outcome {
    let scene = Scene::set(setting).await?;
    for client in &scene.clients {
        client.answer("ask", Answer::With(json!(["here"]))).await?;
    }
    let long = Select::all().timeout(std::time::Duration::from_secs(600));
    let acks = scene.asking().emit_with_ack(&long, "ask", json!([]));
    let acks = scene.ask(acks).await?;
    let mut answered: Vec<_> = acks
        .answers
        .iter()
        .filter(|ack| ack.answer == Ok(vec![json!("here")]))
        .filter_map(|ack| ack.socket.clone())
        .collect();
    answered.sort();
    assert_eq!(answered, scene.left());
    setting.assert_missing(&acks.missing, acks.missing_unknown, &[&scene.ids[2]]);
    Ok(())
}

pub(super) async fn answers_of_the_others_to_an_event_arrive(setting: &Setting) -> Outcome {
    let scene = Scene::set(setting).await?;
    let question = scene
        .asking()
        .server_side_emit_with_ack("/", "question", json!([1]));
    let answers = scene.ask(question).await?;
    let answered: Vec<_> = answers.answers.iter().map(|a| a.value.clone()).collect();
    assert_eq!(answered, [json!({ "from": "node 1", "args": [1] })]);
    setting.assert_missing(&answers.missing, answers.missing_unknown, &[&scene.ids[2]]);
    Ok(())
}

pub(super) async fn answers_of_the_others_to_a_custom_request_arrive(setting: &Setting) -> Outcome {
    let scene = Scene::set(setting).await?;
    let answers = scene
        .ask(scene.asking().custom_request("/", json!(1)))
        .await?;
    let mut answered: Vec<_> = answers
        .answers
        .iter()
        .filter_map(|answer| answer.value["from"].as_str())
        .collect();
    answered.sort_unstable();
    let mut expected = [&*scene.ids[0], &*scene.ids[1]];
    expected.sort_unstable();
    assert_eq!(answered, expected);
    setting.assert_missing(&answers.missing, answers.missing_unknown, &[&scene.ids[2]]);
    Ok(())
}

pub(super) async fn a_socket_that_was_on_the_dead_server_is_not_called_absent(
    setting: &Setting,
) -> Outcome {
    let scene = Scene::set(setting).await?;
    let looked = scene.asking().rooms_of(scene.clients[2].id());
    let looked = scene.ask(looked).await?;
    let Looked::Unanswered {
        missing,
        missing_unknown,
    } = looked
    else {
        panic!("it cannot be known where the socket is, but: {looked:?}");
    };
    setting.assert_missing(&missing, missing_unknown, &[&scene.ids[2]]);
    // Once the server is known to be gone, so is its socket.
    let looked = scene.asking().rooms_of(scene.clients[2].id()).await?;
    assert_eq!(looked, Looked::NoSuchSocket);
    Ok(())
}
