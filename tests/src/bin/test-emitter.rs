//! The process of the tests that only sends: [`switchboard_kit::sender`].

#[tokio::main]
async fn main() {
    switchboard_kit::sender::run("test-emitter", std::env::args().skip(1)).await
}
