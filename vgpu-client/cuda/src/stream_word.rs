//! Words in memory that streams wait for and write.

use vgpu_client::{DevicePtr, WaitCondition};

use crate::driver::{Driver, driver};
use crate::fail::{Call, INVALID_VALUE, NOT_SUPPORTED};
use crate::graph::{MemOps, Operation, Work, capture};
use crate::pointers::In;
use crate::stream::{self, DefaultStream, Resolved};

use DefaultStream::{Legacy, PerThread};

/// `CUstreamBatchMemOpType`.
mod operation {
    pub(super) const WAIT_32: u32 = 1;
    pub(super) const WRITE_32: u32 = 2;
    pub(super) const WAIT_64: u32 = 4;
    pub(super) const WRITE_64: u32 = 5;
    pub(super) const BARRIER: u32 = 6;
}

/// Operations of a batch, at most, as the driver has it.
const BATCH_MAX: u32 = 256;

/// `CUstreamBatchMemOpParams`: operation, address, value, flags, and room.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchOperation {
    operation: u32,
    /// Flags of a barrier.
    barrier: u32,
    address: u64,
    value: u64,
    flags: u32,
    reserved: [u32; 5],
}

/// A word, checked but for its address.
#[derive(Clone, Copy, Debug)]
enum Word {
    Wait32(u64, u32, WaitCondition),
    Wait64(u64, u64, WaitCondition),
    Write32(u64, u32),
    Write64(u64, u64),
}

fn condition(flags: u32) -> Call<WaitCondition> {
    Ok(match flags {
        0 => WaitCondition::GreaterOrEqual,
        1 => WaitCondition::Equal,
        2 => WaitCondition::And,
        3 => WaitCondition::Nor,
        // CU_STREAM_WAIT_VALUE_FLUSH orders writes of other devices, of which there are none.
        _ => return Err(NOT_SUPPORTED),
    })
}

/// The number that [`condition`] reads.
fn number(condition: WaitCondition) -> u64 {
    match condition {
        WaitCondition::GreaterOrEqual => 0,
        WaitCondition::Equal => 1,
        WaitCondition::And => 2,
        WaitCondition::Nor => 3,
    }
}

fn check_write(flags: u32) -> Call {
    // CU_STREAM_WRITE_VALUE_NO_MEMORY_BARRIER allows less order than there is.
    if flags > 1 { Err(INVALID_VALUE) } else { Ok(()) }
}

impl Word {
    /// The same for a node of a graph, as which there are words of 32 bits only.
    fn operation(self) -> Call<Operation> {
        let [operation, address, value, flags] = match self {
            Self::Wait32(address, value, condition) => {
                [operation::WAIT_32.into(), address, value.into(), number(condition)]
            }
            Self::Write32(address, value) => [operation::WRITE_32.into(), address, value.into(), 0],
            Self::Wait64(..) | Self::Write64(..) => return Err(NOT_SUPPORTED),
        };
        Ok([operation, address, value, flags, 0, 0])
    }

    fn submit(self, stream: &Resolved) -> Call {
        let stream = &stream.stream;
        Ok(match self {
            Self::Wait32(address, value, condition) => {
                stream.wait_value32(DevicePtr(address), value, condition)
            }
            Self::Wait64(address, value, condition) => {
                stream.wait_value64(DevicePtr(address), value, condition)
            }
            Self::Write32(address, value) => stream.write_value32(DevicePtr(address), value),
            Self::Write64(address, value) => stream.write_value64(DevicePtr(address), value),
        }?)
    }
}

impl BatchOperation {
    /// What it does; nothing for a barrier, because each operation of a stream sees all before it.
    fn word(&self) -> Call<Option<Word>> {
        let Self { address, value, flags, .. } = *self;
        Ok(Some(match self.operation {
            operation::WAIT_32 => Word::Wait32(address, value as u32, condition(flags)?),
            operation::WAIT_64 => Word::Wait64(address, value, condition(flags)?),
            operation::WRITE_32 => {
                check_write(flags)?;
                Word::Write32(address, value as u32)
            }
            operation::WRITE_64 => {
                check_write(flags)?;
                Word::Write64(address, value)
            }
            operation::BARRIER if self.barrier <= 1 => return Ok(None),
            operation::BARRIER => return Err(INVALID_VALUE),
            _ => return Err(NOT_SUPPORTED),
        }))
    }
}

fn submit(handle: u64, word: Call<Word>, default: DefaultStream) -> Call {
    let driver = driver()?;
    let stream = stream::resolve(driver, handle, default)?;
    submit_all(driver, &stream, &[word?])
}

/// Submits words one after the other, or makes a node of them.
fn submit_all(driver: &Driver, stream: &Resolved, words: &[Word]) -> Call {
    let node = || {
        let operations = words.iter().map(|word| word.operation()).collect::<Call<Vec<_>>>()?;
        Ok(Work::MemOps(MemOps::new(stream.context.handle, operations)))
    };
    if capture::record(driver, stream, node)? {
        return Ok(());
    }
    words.iter().try_for_each(|word| word.submit(stream))
}

fn wait_32(address: u64, value: u32, flags: u32) -> Call<Word> {
    Ok(Word::Wait32(address, value, condition(flags)?))
}

fn wait_64(address: u64, value: u64, flags: u32) -> Call<Word> {
    Ok(Word::Wait64(address, value, condition(flags)?))
}

fn write_32(address: u64, value: u32, flags: u32) -> Call<Word> {
    check_write(flags).map(|()| Word::Write32(address, value))
}

fn write_64(address: u64, value: u64, flags: u32) -> Call<Word> {
    check_write(flags).map(|()| Word::Write64(address, value))
}

fn batch(
    handle: u64,
    count: u32,
    operations: In<BatchOperation>,
    flags: u32,
    default: DefaultStream,
) -> Call {
    let driver = driver()?;
    let stream = stream::resolve(driver, handle, default)?;
    if count > BATCH_MAX || flags != 0 {
        return Err(INVALID_VALUE);
    }
    // All are looked at before the first is submitted.
    let words = (0..count as usize).map(|at| operations.at(at)?.word()).collect::<Call<Vec<_>>>()?;
    submit_all(driver, &stream, &words.into_iter().flatten().collect::<Vec<_>>())
}

driver_calls! {
    fn cuStreamWaitValue32_v2(stream: u64, address: u64, value: u32, flags: u32) {
        submit(stream, wait_32(address, value, flags), Legacy)
    }
    fn cuStreamWaitValue32_v2_ptsz(stream: u64, address: u64, value: u32, flags: u32) {
        submit(stream, wait_32(address, value, flags), PerThread)
    }
    fn cuStreamWaitValue64_v2(stream: u64, address: u64, value: u64, flags: u32) {
        submit(stream, wait_64(address, value, flags), Legacy)
    }
    fn cuStreamWaitValue64_v2_ptsz(stream: u64, address: u64, value: u64, flags: u32) {
        submit(stream, wait_64(address, value, flags), PerThread)
    }
    fn cuStreamWriteValue32_v2(stream: u64, address: u64, value: u32, flags: u32) {
        submit(stream, write_32(address, value, flags), Legacy)
    }
    fn cuStreamWriteValue32_v2_ptsz(stream: u64, address: u64, value: u32, flags: u32) {
        submit(stream, write_32(address, value, flags), PerThread)
    }
    fn cuStreamWriteValue64_v2(stream: u64, address: u64, value: u64, flags: u32) {
        submit(stream, write_64(address, value, flags), Legacy)
    }
    fn cuStreamWriteValue64_v2_ptsz(stream: u64, address: u64, value: u64, flags: u32) {
        submit(stream, write_64(address, value, flags), PerThread)
    }
    fn cuStreamBatchMemOp(stream: u64, count: u32, operations: In<BatchOperation>, flags: u32) {
        batch(stream, count, operations, flags, Legacy)
    }
    fn cuStreamBatchMemOp_ptsz(stream: u64, count: u32, operations: In<BatchOperation>, flags: u32) {
        batch(stream, count, operations, flags, PerThread)
    }
    fn cuStreamBatchMemOp_v2(stream: u64, count: u32, operations: In<BatchOperation>, flags: u32) {
        batch(stream, count, operations, flags, Legacy)
    }
    fn cuStreamBatchMemOp_v2_ptsz(stream: u64, count: u32, operations: In<BatchOperation>, flags: u32) {
        batch(stream, count, operations, flags, PerThread)
    }
}
