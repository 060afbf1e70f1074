//! Operations on words of memory (`CUstreamBatchMemOpParams`).

use vgpu_proto::graph::GraphWork;

use crate::fail::{Call, INVALID_VALUE, NOT_SUPPORTED};
use crate::pointers::In;

/// `CU_STREAM_MEM_OP_WAIT_VALUE_32` and `CU_STREAM_MEM_OP_WRITE_VALUE_32`.
const WAIT_32: u32 = 1;
const WRITE_32: u32 = 2;

/// Last operation of CUDA 13.0, a barrier.
const LAST: u32 = 6;

/// Operations of one node, at most: what `cuStreamBatchMemOp` takes.
const OPERATIONS_MAX: u32 = 256;

/// Last condition of `CU_STREAM_WAIT_VALUE_*`; the bit above them flushes writes of other devices, of which there are none.
const CONDITION_LAST: u32 = 3;

/// `CUstreamBatchMemOpParams`: operation, address, value, flags, alias, padding.
pub(crate) type Operation = [u64; 6];

/// The operations of a node, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct MemOps {
    /// Handle of the context.
    pub(crate) context: u64,
    pub(crate) flags: u32,
    pub(crate) operations: Box<[Operation]>,
}

impl MemOps {
    /// Copies the operations of a caller and checks them.
    ///
    /// # Errors
    /// `INVALID_VALUE`; `NOT_SUPPORTED` for 64-bit words, barriers and flushes.
    pub(crate) fn read(context: u64, count: u32, from: In<Operation>, flags: u32) -> Call<Self> {
        if count > OPERATIONS_MAX || flags != 0 {
            return Err(INVALID_VALUE);
        }
        let operations = (0..count as usize).map(|at| from.at(at)).collect::<Call<Box<[_]>>>()?;
        let ops = Self { context, flags, operations };
        ops.works().collect::<Call<Vec<_>>>()?;
        Ok(ops)
    }

    /// Operations of a stream, which were checked.
    pub(crate) fn new(context: u64, operations: Vec<Operation>) -> Self {
        Self { context, flags: 0, operations: operations.into() }
    }

    /// The operations, as the host does them.
    pub(crate) fn works(&self) -> impl Iterator<Item = Call<GraphWork>> {
        self.operations.iter().map(|[operation, address, value, flags, ..]| {
            // The first and fourth have 32 bits and padding, the value's upper half belongs to 64-bit words.
            let (address, value, flags) = (*address, *value as u32, *flags as u32);
            match *operation as u32 {
                WAIT_32 if flags <= CONDITION_LAST => {
                    Ok(GraphWork::WaitValue32 { address, value, condition: flags })
                }
                WRITE_32 if flags <= 1 => Ok(GraphWork::WriteValue32 { address, value }),
                WAIT_32 | WRITE_32 => Err(INVALID_VALUE),
                1..=LAST => Err(NOT_SUPPORTED),
                _ => Err(INVALID_VALUE),
            }
        })
    }
}
