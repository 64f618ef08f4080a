//! Thousands of questions under way at one time, from two servers: each gets its own answers.
//!
//! The third server stands still while they are asked, so that none can end before all have begun.

use serde_json::{Value, json};

use super::{Outcome, Setting, deaths::pending};
use crate::{Answer, Client, Clients, Cluster, Connect, Error, Looked, Select, Server, until};

/// Questions of each of two servers.
const QUESTIONS: usize = 1_000;
/// As many rooms as questions that differ by their room.
const ROOMS: usize = 10;

/// Room for all that happens at one time.
const ROOMY: &str = "
    [cluster]
    max_calls = 8192
    max_ack_tasks = 8192
";

/// Three servers with a client each.
struct Scene {
    cluster: Cluster,
    clients: Vec<Client>,
    _process: Clients,
}

impl Scene {
    async fn set(setting: &Setting) -> Result<Self, Error> {
        let cluster = setting.patient_cluster().toml(ROOMY).start().await?;
        let process = Clients::start().await?;
        let mut clients = Vec::new();
        for (number, node) in cluster.nodes().iter().enumerate() {
            let mut how = Connect::default().parser(setting.parser());
            // Room r is that of the clients that divide it.
            for room in (0..ROOMS).filter(|room| room % (number + 1) == 0) {
                how = how.room(room.to_string());
            }
            let client = process.connect(node.url(), how).await?;
            client.answer("echo", Answer::Echo).await?;
            clients.push(client);
        }
        Ok(Self {
            cluster,
            clients,
            _process: process,
        })
    }

    /// Asks all questions at once, on two servers, and checks what `check` sees of each: its number,
    /// who asked it, its answer.
    async fn ask<T>(
        &self,
        question: impl AsyncFn(&Server, usize) -> Result<T, Error>,
        check: impl Fn(usize, &Server, T),
    ) -> Outcome {
        let still = self.cluster.node(2);
        still.pause().await?;
        let asking = [self.cluster.node(0), self.cluster.node(1)];
        let questions = asking.iter().flat_map(|server| {
            let question = &question;
            (0..QUESTIONS).map(move |number| question(server, number))
        });
        let go_on = async {
            for server in asking {
                let all = QUESTIONS as u64;
                until(
                    "all questions to be under way",
                    || pending(server),
                    |&n| n >= all,
                )
                .await?;
            }
            still.resume()
        };
        let answers = futures_util::future::try_join_all(questions);
        let (answers, gone_on) = tokio::join!(answers, go_on);
        gone_on?;
        for (place, answer) in answers?.into_iter().enumerate() {
            check(place % QUESTIONS, asking[place / QUESTIONS], answer);
        }
        for server in asking {
            assert_eq!(pending(server).await?, 0, "{} still waits", server.name());
        }
        Ok(())
    }

    /// The sockets in the room of a question.
    fn members(&self, number: usize) -> Vec<String> {
        let room = number % ROOMS;
        let members = self.clients.iter().enumerate();
        let mut members: Vec<_> = members
            .filter(|(client, _)| room.is_multiple_of(client + 1))
            .map(|(_, client)| client.id().to_owned())
            .collect();
        members.sort();
        members
    }
}

fn room_of(number: usize) -> Select {
    Select::all().to((number % ROOMS).to_string())
}

pub(super) async fn thousands_look_for_sockets(setting: &Setting) -> Outcome {
    let scene = Scene::set(setting).await?;
    let ask = async |server: &Server, number| server.socket_ids(&room_of(number)).await;
    scene
        .ask(ask, |number, _, found| {
            assert_eq!(found.items, scene.members(number), "question {number}");
            assert_eq!((found.missing, found.missing_unknown), (Vec::new(), 0));
        })
        .await
}

pub(super) async fn thousands_look_for_rooms(setting: &Setting) -> Outcome {
    let scene = Scene::set(setting).await?;
    let ask = async |server: &Server, number: usize| {
        let member = scene.clients[number % 3].id();
        server.all_rooms(&Select::all().to(member)).await
    };
    scene
        .ask(ask, |number, _, found| {
            let client = number % 3;
            let rooms = (0..ROOMS).filter(|room| room % (client + 1) == 0);
            let mut expected: Vec<_> = rooms.map(|room| room.to_string()).collect();
            expected.sort();
            let mut rooms: Vec<_> = found.items.iter().filter_map(Value::as_str).collect();
            rooms.sort_unstable();
            assert_eq!(rooms, expected, "question {number}");
        })
        .await
}

pub(super) async fn thousands_look_for_one_socket(setting: &Setting) -> Outcome {
    let scene = Scene::set(setting).await?;
    let wanted = scene.clients[2].id();
    let ask = async |server: &Server, number: usize| match number % 2 {
        0 => server.rooms_of(wanted).await,
        _ => server.rooms_of(&format!("nobody {number}")).await,
    };
    scene
        .ask(ask, |number, _, looked| match (number % 2, looked) {
            (0, Looked::Found(rooms)) => assert!(rooms.contains(&json!(wanted)), "{rooms:?}"),
            (1, Looked::NoSuchSocket) => {}
            (_, wrong) => panic!("question {number}: {wrong:?}"),
        })
        .await
}

pub(super) async fn thousands_ask_servers(setting: &Setting) -> Outcome {
    let scene = Scene::set(setting).await?;
    let ask = async |server: &Server, number: usize| {
        let args = json!([server.name(), number]);
        server
            .server_side_emit_with_ack("/", "question", args)
            .await
    };
    scene
        .ask(ask, |number, server, answers| {
            let mut heard: Vec<_> = answers
                .answers
                .iter()
                .map(|answer| answer.value.to_string())
                .collect();
            heard.sort();
            let expected: Vec<_> = ["node 0", "node 1", "node 2"]
                .into_iter()
                .filter(|name| *name != server.name())
                .map(|name| json!({ "from": name, "args": [server.name(), number] }).to_string())
                .collect();
            assert_eq!(heard, expected, "{answers:?}");
        })
        .await
}

pub(super) async fn thousands_make_custom_requests(setting: &Setting) -> Outcome {
    let scene = Scene::set(setting).await?;
    let ask = async |server: &Server, number: usize| {
        server
            .custom_request("/", json!([server.name(), number]))
            .await
    };
    scene
        .ask(ask, |number, server, answers| {
            assert_eq!(answers.answers.len(), 3, "{answers:?}");
            for answer in &answers.answers {
                assert_eq!(answer.value["data"], json!([server.name(), number]));
                assert_eq!(answer.value["from"].as_str(), answer.node.as_deref());
            }
        })
        .await
}

pub(super) async fn thousands_want_acknowledgements(setting: &Setting) -> Outcome {
    let scene = Scene::set(setting).await?;
    let ask = async |server: &Server, number: usize| {
        let args = json!([server.name(), number]);
        let long = room_of(number).timeout(crate::DEADLINE);
        server.emit_with_ack(&long, "echo", args).await
    };
    scene
        .ask(ask, |number, server, acks| {
            let expected = vec![json!(server.name()), json!(number)];
            let mut sockets = Vec::new();
            for ack in &acks.answers {
                assert_eq!(ack.answer.as_ref(), Ok(&expected), "question {number}");
                sockets.extend(ack.socket.clone());
            }
            sockets.sort();
            assert_eq!(sockets, scene.members(number), "question {number}");
            assert_eq!((acks.unacknowledged, acks.dropped), (0, 0), "{acks:?}");
        })
        .await
}
