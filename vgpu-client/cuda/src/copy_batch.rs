//! Batches of copies, and copies of boxes between contexts.
//!
//! A batch may run in any order within itself; here it runs in the order of its list.

use crate::boxes::Boxes;
use crate::copy::{self, Copy, Direction, Return};
use crate::driver::driver;
use crate::fail::{Call, INVALID_VALUE, NOT_SUPPORTED};
use crate::pointers::{In, Out};
use crate::stream::{self, DefaultStream};

use DefaultStream::{Legacy, PerThread};

/// `CU_MEMCPY_SRC_ACCESS_ORDER_STREAM` (1), `DURING_API_CALL` and `ANY` (3).
const ORDERS: std::ops::RangeInclusive<u32> = 1..=3;
const ORDER_DURING_CALL: u32 = 2;

/// `CU_MEMCPY_FLAG_PREFER_OVERLAP_WITH_COMPUTE`, a hint.
const FLAGS_KNOWN: u32 = 1;

/// `CU_MEMCPY_OPERAND_TYPE_POINTER` and `ARRAY`.
const OPERAND_POINTER: u32 = 1;
const OPERAND_ARRAY: u32 = 2;

/// `CU_STREAM_LEGACY`.
const STREAM_LEGACY: u64 = 1;

/// What is written for a failure that no single copy caused.
const NO_COPY: u64 = u64::MAX;

/// Fails for the legacy stream, which batches must not be given.
fn check_stream(stream: u64, default: DefaultStream) -> Call {
    stream::resolve(driver()?, stream, default)?;
    let legacy = matches!((stream, default), (0, Legacy) | (STREAM_LEGACY, _));
    if legacy { Err(INVALID_VALUE) } else { Ok(()) }
}

fn check_order(order: u32, flags: u32) -> Call {
    if ORDERS.contains(&order) && flags & !FLAGS_KNOWN == 0 { Ok(()) } else { Err(INVALID_VALUE) }
}

/// How a copy returns whose source must not be read later.
fn returns(order: u32) -> Return {
    if order == ORDER_DURING_CALL { Return::WhenRead } else { Return::AtOnce }
}

/// The arrays of `cuMemcpyBatchAsync`.
#[derive(Clone, Copy, Debug)]
struct Batch {
    destinations: In<u64>,
    sources: In<u64>,
    sizes: In<u64>,
    count: u64,
    /// `CUmemcpyAttributes`: source order, places of source and destination (two words each), flags.
    attributes: In<[u32; 6]>,
    /// Number of the first copy that each entry of `attributes` is for.
    firsts: In<u64>,
    attribute_count: u64,
}

impl Batch {
    fn check(self) -> Call {
        if self.count == 0 || self.attribute_count == 0 || self.attribute_count > self.count {
            return Err(INVALID_VALUE);
        }
        let mut before = None;
        for at in 0..self.attribute_count as usize {
            let first = self.firsts.at(at)?;
            let follows = before.map_or(first == 0, |before| first > before);
            if !follows || first >= self.count {
                return Err(INVALID_VALUE);
            }
            let [order, .., flags] = self.attributes.at(at)?;
            check_order(order, flags)?;
            before = Some(first);
        }
        Ok(())
    }

    /// Queues the copies. `failed` learns which one could not be.
    fn run(self, failed: Out<u64>, stream: u64, default: DefaultStream) -> Call {
        failed.set(NO_COPY);
        check_stream(stream, default)?;
        self.check()?;
        let mut entry = 0;
        for at in 0..self.count as usize {
            while entry + 1 < self.attribute_count as usize && self.firsts.at(entry + 1)? <= at as u64 {
                entry += 1;
            }
            let [order, ..] = self.attributes.at(entry)?;
            let copy = Copy {
                destination: self.destinations.at(at)?,
                source: self.sources.at(at)?,
                bytes: self.sizes.at(at)?,
                direction: Direction::Any,
            };
            copy::run(copy, stream, default, returns(order)).inspect_err(|_| failed.set(at as u64))?;
        }
        Ok(())
    }
}

/// `CUmemcpy3DOperand` in words: type; address, length of a row, rows of a layer (elements of one byte), place. Answers
/// the address, the pitch and the height.
fn operand(words: &[u64], extent: [u64; 3]) -> Call<[u64; 3]> {
    match words[0] as u32 {
        OPERAND_POINTER => {}
        OPERAND_ARRAY => return Err(NOT_SUPPORTED),
        _ => return Err(INVALID_VALUE),
    }
    let (row, layer) = (words[2], words[3]);
    if (row != 0 && row < extent[0]) || (layer != 0 && layer < extent[1]) {
        return Err(INVALID_VALUE);
    }
    Ok([words[1], row, layer])
}

/// `CUDA_MEMCPY3D_BATCH_OP` in words: source and destination (five each), extent, source order and flags.
fn batch_of_boxes(
    count: u64,
    operations: In<[u64; 14]>,
    failed: Out<u64>,
    flags: u64,
    stream: u64,
    default: DefaultStream,
) -> Call {
    failed.set(NO_COPY);
    check_stream(stream, default)?;
    if flags != 0 || count == 0 {
        return Err(INVALID_VALUE);
    }
    let one = |words: [u64; 14]| {
        let extent = [words[10], words[11], words[12]];
        let (order, flags) = (words[13] as u32, (words[13] >> 32) as u32);
        check_order(order, flags)?;
        if extent.contains(&0) {
            return Err(INVALID_VALUE);
        }
        let (from, to) = (operand(&words[..5], extent)?, operand(&words[5..10], extent)?);
        copy::boxed(Boxes::unified_params(from, to, extent), stream, default, returns(order))
    };
    for at in 0..count as usize {
        one(operations.at(at)?).inspect_err(|_| failed.set(at as u64))?;
    }
    Ok(())
}

/// `CUDA_MEMCPY3D_PEER`: as `CUDA_MEMCPY3D`, with a context on each side. Both are of the one device there is.
fn peer(call: In<[u64; 25]>, stream: Option<u64>, default: DefaultStream) -> Call {
    let words = call.read()?;
    for context in [words[8], words[19]] {
        crate::context::find(driver()?, context)?;
    }
    copy::three_d(call, stream, default)
}

driver_calls! {
    fn cuMemcpyBatchAsync(
        destinations: In<u64>, sources: In<u64>, sizes: In<u64>, count: u64,
        attributes: In<[u32; 6]>, firsts: In<u64>, attribute_count: u64, failed: Out<u64>, stream: u64,
    ) {
        Batch { destinations, sources, sizes, count, attributes, firsts, attribute_count }
            .run(failed, stream, Legacy)
    }
    fn cuMemcpyBatchAsync_ptsz(
        destinations: In<u64>, sources: In<u64>, sizes: In<u64>, count: u64,
        attributes: In<[u32; 6]>, firsts: In<u64>, attribute_count: u64, failed: Out<u64>, stream: u64,
    ) {
        Batch { destinations, sources, sizes, count, attributes, firsts, attribute_count }
            .run(failed, stream, PerThread)
    }
    fn cuMemcpyBatchAsync_v2(
        destinations: In<u64>, sources: In<u64>, sizes: In<u64>, count: u64,
        attributes: In<[u32; 6]>, firsts: In<u64>, attribute_count: u64, stream: u64,
    ) {
        Batch { destinations, sources, sizes, count, attributes, firsts, attribute_count }
            .run(Out::unwanted(), stream, Legacy)
    }
    fn cuMemcpyBatchAsync_v2_ptsz(
        destinations: In<u64>, sources: In<u64>, sizes: In<u64>, count: u64,
        attributes: In<[u32; 6]>, firsts: In<u64>, attribute_count: u64, stream: u64,
    ) {
        Batch { destinations, sources, sizes, count, attributes, firsts, attribute_count }
            .run(Out::unwanted(), stream, PerThread)
    }
    fn cuMemcpy3DBatchAsync(count: u64, list: In<[u64; 14]>, failed: Out<u64>, flags: u64, stream: u64) {
        batch_of_boxes(count, list, failed, flags, stream, Legacy)
    }
    fn cuMemcpy3DBatchAsync_ptsz(count: u64, list: In<[u64; 14]>, failed: Out<u64>, flags: u64, stream: u64) {
        batch_of_boxes(count, list, failed, flags, stream, PerThread)
    }
    fn cuMemcpy3DBatchAsync_v2(count: u64, list: In<[u64; 14]>, flags: u64, stream: u64) {
        batch_of_boxes(count, list, Out::unwanted(), flags, stream, Legacy)
    }
    fn cuMemcpy3DBatchAsync_v2_ptsz(count: u64, list: In<[u64; 14]>, flags: u64, stream: u64) {
        batch_of_boxes(count, list, Out::unwanted(), flags, stream, PerThread)
    }
    fn cuMemcpy3DPeer(call: In<[u64; 25]>) { peer(call, None, Legacy) }
    fn cuMemcpy3DPeer_ptds(call: In<[u64; 25]>) { peer(call, None, PerThread) }
    fn cuMemcpy3DPeerAsync(call: In<[u64; 25]>, stream: u64) { peer(call, Some(stream), Legacy) }
    fn cuMemcpy3DPeerAsync_ptsz(call: In<[u64; 25]>, stream: u64) { peer(call, Some(stream), PerThread) }
}
