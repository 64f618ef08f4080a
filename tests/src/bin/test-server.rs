//! The server of the tests, which does what it is told: [`switchboard_kit::subject`].

#[tokio::main]
async fn main() {
    switchboard_kit::subject::run("test-server", std::env::args().skip(1)).await
}
