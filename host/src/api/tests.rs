//! Handlers and operators of a server that is alone; those of several are in `tests/`.

mod across;
mod elsewhere;
mod one_socket;
mod recovery;

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use bytes::Bytes;
use serde_json::{Value, json};
use socketioxide::extract::{Data, TryData};

use super::{Answer, AnswerError, ApiError, NoAnswer, Operators};
use crate::{
    cluster::{
        Cluster, NodeId,
        testing::{FakeLocal, Member},
    },
    transport::NoTransport,
};

async fn alone() -> Operators {
    let (publisher, subscriber) = (Box::new(NoTransport), Box::new(NoTransport));
    let cluster = Cluster::start(
        NodeId::from("me"),
        crate::cluster::ClusterOptions::default(),
        publisher,
        subscriber,
    );
    cluster.enter(Arc::new(FakeLocal::new("/")));
    let operators = Operators::new(cluster, "/");
    // What a transport can carry is known once it has carried something.
    operators.emit("hello", &()).await.unwrap();
    operators
}

/// The namespace `/` as this server sees it.
fn root_of(member: &Member) -> Operators {
    Operators::new(member.cluster.clone(), "/")
}

/// The one answer of a custom request, this node's own.
async fn own_answer<A: serde::de::DeserializeOwned>(
    operators: &Operators,
    question: &Value,
) -> Result<A, AnswerError> {
    let mut answers = operators.custom_request::<A, _>(question).await.unwrap();
    assert!(answers.is_complete(), "{:?}", answers.missing);
    assert_eq!(answers.items.len(), 1);
    let own = answers.items.remove(0);
    assert_eq!(own.node.as_str(), "me");
    own.answer
}

#[tokio::test]
async fn a_handler_takes_what_it_names_and_its_value_is_the_answer() {
    let operators = alone().await;
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    operators.custom_hook(
        move |Data(question): Data<Vec<u32>>, from: NodeId, here: Operators| {
            counted.fetch_add(1, Ordering::Relaxed);
            let text = format!("{from} in {}", here.namespace());
            async move { Answer((question.len(), text)) }
        },
    );
    let answer = own_answer::<(usize, String)>(&operators, &json!([1, 2])).await;
    assert_eq!(answer, Ok((2, "me in /".to_owned())));
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_answer_can_be_nothing_an_error_or_binary() {
    let operators = alone().await;
    operators.custom_hook(async || {});
    assert_eq!(own_answer(&operators, &json!(1)).await, Ok(()));

    operators.custom_hook(async || Err::<(), _>("not today"));
    let refused = own_answer::<Value>(&operators, &json!(1)).await;
    assert_eq!(refused, Err(AnswerError::Failed("not today".into())));

    operators.custom_hook(async || Answer(Some(Bytes::from_static(&[0, 255]))));
    let bytes = own_answer::<Option<Bytes>>(&operators, &json!(1)).await;
    assert_eq!(bytes, Ok(Some(Bytes::from_static(&[0, 255]))));

    let other = own_answer::<String>(&operators, &json!(1)).await;
    assert!(
        matches!(other, Err(AnswerError::Unreadable(_))),
        "{other:?}"
    );
}

#[tokio::test]
async fn a_handler_is_not_called_with_arguments_of_another_type_unless_it_says_so() {
    let operators = alone().await;
    operators.custom_hook(async |Data(number): Data<u32>| Answer(number));
    let Err(AnswerError::Failed(why)) = own_answer::<u32>(&operators, &json!("text")).await else {
        panic!("it was called");
    };
    assert!(why.contains("do not fit"), "{why}");

    operators.custom_hook(async |TryData(number): TryData<u32>| Answer(number.is_err()));
    assert_eq!(own_answer(&operators, &json!("text")).await, Ok(true));
}

#[tokio::test]
async fn a_hook_that_was_taken_out_answers_no_more() {
    let operators = alone().await;
    operators.custom_hook(async || Answer(1));
    assert_eq!(own_answer(&operators, &json!(0)).await, Ok(1));
    assert!(operators.custom_hook_off());
    assert!(!operators.custom_hook_off());
    let refused = own_answer::<u32>(&operators, &json!(0)).await;
    assert!(
        matches!(refused, Err(AnswerError::Failed(_))),
        "{refused:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_missing() {
    let operators = alone().await;
    operators.custom_hook(async || NoAnswer);
    let answers = operators.custom_request::<(), _>(&1).await.unwrap();
    assert_eq!(answers.missing, [NodeId::from("me")]);
    assert!(answers.items.is_empty());
}

#[tokio::test]
async fn events_that_would_disturb_their_receivers_are_refused() {
    let operators = alone().await;
    for name in ["connection", "connect", "new_namespace", "error"] {
        let refused = operators.server_side_emit(name, &()).await;
        assert!(
            matches!(refused, Err(ApiError::ReservedEvent { .. })),
            "{name}"
        );
    }
    for name in ["connect", "disconnect", "connect_error"] {
        let refused = operators.emit(name, &()).await;
        assert!(
            matches!(refused, Err(ApiError::ReservedEvent { .. })),
            "{name}"
        );
    }
    assert!(operators.server_side_emit("connected", &()).await.is_ok());
    assert!(operators.emit("error", &()).await.is_ok());
}

#[tokio::test]
async fn a_socket_that_nobody_has_is_an_error() {
    let operators = alone().await;
    let found = operators.rooms_of("nobody").await;
    assert!(
        matches!(found, Err(ApiError::NoSuchSocket { .. })),
        "{found:?}"
    );
    let joined = operators.remote_join("nobody", "room").await;
    assert!(matches!(joined, Err(ApiError::NoSuchSocket { id }) if id.as_str() == "nobody"));
}
