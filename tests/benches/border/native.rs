//! What the same batches cost without a border: copied to the plugin's types, written and read with
//! the frame format of the `local` transport, all compiled natively.

use std::hint::black_box;

use criterion::{BenchmarkGroup, measurement::WallTime};
use switchboard::NodeId;
use switchboard_transport_local::wire;

use super::{
    SHAPES,
    messages::{Shape, for_plugin},
    setup::Failure,
};

/// Where the `local` transport closes a frame.
const FRAME_TARGET_BYTES: usize = 1024 * 1024;
/// Stands for the node that sends.
const NODE: &str = "measuringpeer001";

/// From the cluster core's values to those of a plugin.
pub(crate) fn copy(group: &mut BenchmarkGroup<'_, WallTime>) {
    for shape in SHAPES {
        let batch = shape.batch(&NodeId::from(NODE));
        group.throughput(shape.throughput());
        group.bench_function(shape.name(), |bencher| {
            bencher.iter(|| for_plugin(black_box(&batch)));
        });
    }
}

/// From a plugin's values to frames.
pub(crate) fn encode(group: &mut BenchmarkGroup<'_, WallTime>) {
    for shape in SHAPES {
        let batch = for_plugin(&shape.batch(&NodeId::from(NODE)));
        group.throughput(shape.throughput());
        group.bench_function(shape.name(), |bencher| {
            bencher.iter(|| wire::frames(black_box(&batch), NODE, FRAME_TARGET_BYTES));
        });
    }
}

/// From frames to a plugin's values.
pub(crate) fn decode(group: &mut BenchmarkGroup<'_, WallTime>) -> Result<(), Failure> {
    for shape in SHAPES {
        let frame = frame(shape)?;
        group.throughput(shape.throughput());
        group.bench_function(shape.name(), |bencher| {
            bencher.iter(|| wire::read(black_box(&frame), NODE, |namespace| namespace == "/"));
        });
    }
    Ok(())
}

/// A whole batch in one frame, checked to come out of it again.
fn frame(shape: Shape) -> Result<Vec<u8>, Failure> {
    let batch = for_plugin(&shape.batch(&NodeId::from(NODE)));
    let mut frames = wire::frames(&batch, NODE, usize::MAX);
    let frame = frames.pop().ok_or("a batch made no frame")?;
    let read = wire::read(&frame, NODE, |_| true).map_err(|malformed| malformed.to_string())?;
    if read.len() != shape.count {
        return Err(format!("{} of {} messages in a frame", read.len(), shape.count).into());
    }
    Ok(frame)
}
