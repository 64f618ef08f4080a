//! Every operation of the adapter, across three real servers, with real `socket.io-client` clients
//! over WebSocket and long polling. Every test runs once for each parser.

mod acks;
mod broadcast;
mod connections;
mod namespaces;
mod remote;
mod requests;
mod rooms;
mod stage;

/// What a test returns; the error says what did not happen.
type Outcome = Result<(), switchboard_tests::Error>;

/// Makes two tests of each story: one with Socket.IO's own parser, one with msgpack.
macro_rules! with_each_parser {
    ($($(#[$doc:meta])* async fn $name:ident($stage:ident) $body:block)+) => {
        $(
            $(#[$doc])*
            mod $name {
                #[allow(unused_imports)]
                use super::*;
                use switchboard_tests::Parser;

                #[tokio::test(flavor = "multi_thread")]
                async fn common() -> crate::Outcome {
                    story(&crate::stage::Stage::set(Parser::Common).await?).await
                }

                #[tokio::test(flavor = "multi_thread")]
                async fn msgpack() -> crate::Outcome {
                    story(&crate::stage::Stage::set(Parser::Msgpack).await?).await
                }

                async fn story($stage: &crate::stage::Stage) -> crate::Outcome $body
            }
        )+
    };
}
pub(crate) use with_each_parser;
