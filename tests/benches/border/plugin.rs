//! The border itself: the plugin `null` of tests/fixtures, opened as a server opens a transport.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{BenchmarkGroup, measurement::WallTime};
use switchboard::transport::OpenTransport;
use tokio::runtime::Runtime;
use toml::{Table, Value};

use super::{
    SHAPES,
    messages::Shape,
    setup::{self, Failure, Folder},
};

const FIXTURES: Folder = Folder {
    variable: "SWITCHBOARD_TEST_FIXTURES",
    name: "fixtures",
    command: "cargo xtask plugins --fixtures",
};

/// Given to every poll. The plugin never waits.
const POLL_TIMEOUT: Duration = Duration::from_secs(1);

/// Batches in.
pub(crate) fn publish(
    group: &mut BenchmarkGroup<'_, WallTime>,
    runtime: &Runtime,
) -> Result<(), Failure> {
    let mut transport = runtime.block_on(open(None))?;
    for shape in SHAPES {
        let batch = shape.batch(transport.handle.node());
        let publisher = &mut transport.publisher;
        group.throughput(shape.throughput());
        group.bench_function(shape.name(), |bencher| {
            bencher.iter_custom(|times| {
                runtime.block_on(async {
                    let start = Instant::now();
                    for round in 0..times {
                        let first = round * batch.len() as u64;
                        if let Err(failure) = black_box(publisher.publish(&batch, first).await) {
                            panic!("the plugin `null` did not take a batch: {failure:?}");
                        }
                    }
                    start.elapsed()
                })
            });
        });
    }
    runtime.block_on(close(transport));
    Ok(())
}

/// Batches out.
pub(crate) fn poll(
    group: &mut BenchmarkGroup<'_, WallTime>,
    runtime: &Runtime,
) -> Result<(), Failure> {
    for shape in SHAPES {
        let mut transport = runtime.block_on(open(Some(shape)))?;
        let subscriber = &mut transport.subscriber;
        group.throughput(shape.throughput());
        group.bench_function(shape.name(), |bencher| {
            bencher.iter_custom(|times| {
                runtime.block_on(async {
                    let start = Instant::now();
                    for _ in 0..times {
                        match black_box(subscriber.poll(POLL_TIMEOUT, shape.count).await) {
                            Ok(events) => assert_eq!(events.len(), shape.count, "events of a poll"),
                            Err(failure) => panic!("the plugin `null` cannot poll: {failure}"),
                        }
                    }
                    start.elapsed()
                })
            });
        });
        runtime.block_on(close(transport));
    }
    Ok(())
}

/// Opens the plugin; with a shape, its `poll` returns that.
async fn open(echo: Option<Shape>) -> Result<OpenTransport, Failure> {
    let mut options = Table::new();
    if let Some(shape) = echo {
        options.insert("echo".into(), number(shape.count)?);
        options.insert("json_bytes".into(), number(shape.json_bytes)?);
    }
    let null = Table::from_iter([("options".to_owned(), Value::Table(options))]);
    let transports = Table::from_iter([("null".to_owned(), Value::Table(null))]);
    let more = Table::from_iter([("transports".to_owned(), Value::Table(transports))]);
    let config = setup::config(&FIXTURES, "null", more)?;
    Ok(OpenTransport::open(config).await?)
}

async fn close(mut transport: OpenTransport) {
    transport.subscriber.close().await;
    transport.publisher.close().await;
    transport.handle.close().await;
}

fn number(value: usize) -> Result<Value, Failure> {
    Ok(Value::Integer(i64::try_from(value)?))
}
