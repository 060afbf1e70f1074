//! Bodies of the operations: fixed little-endian layouts. Where a body has a payload (parameters, a name), the payload
//! follows it and its length stands in the frame's header.
//!
//! `SPEC.md` lists each field's offset; the `const` assertions at the end keep the two together.

#![allow(missing_debug_implementations, reason = "the derives make helper types of their own")]

use zerocopy::little_endian::{I32, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::operation::{Op, Operation};

macro_rules! bodies {
    ($($(#[$doc:meta])* $name:ident [$bytes:literal] { $($(#[$field_doc:meta])* $field:ident: $ty:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
            #[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
            #[repr(C)]
            pub struct $name {
                $($(#[$field_doc])* pub $field: $ty,)*
            }

            impl Operation for $name {
                const OP: Op = Op::$name;
            }

            const _: () = assert!(size_of::<$name>() == $bytes);
        )*
    };
}

mod code;

pub use self::code::*;

bodies! {
    /// Nothing to say.
    Ping [0] {}
    /// See [`Op::CtxCreate`].
    CtxCreate [24] {
        /// Minted [`crate::ContextId`].
        context: U64,
        /// Minted [`crate::StreamId`] of the context's legacy stream.
        legacy_stream: U64,
        /// `CU_CTX_*` flags.
        flags: U32,
        /// Zero.
        reserved: U32,
    }
    /// See [`Op::CtxDestroy`].
    CtxDestroy [8] {
        /// [`crate::ContextId`].
        context: U64,
    }
    /// See [`Op::CtxSynchronize`].
    CtxSynchronize [8] {
        /// [`crate::ContextId`].
        context: U64,
    }
    /// See [`Op::CtxGetLimit`]. Answers the limit in value 0.
    CtxGetLimit [16] {
        /// [`crate::ContextId`].
        context: U64,
        /// `CUlimit`.
        limit: U32,
        /// Zero.
        reserved: U32,
    }
    /// See [`Op::CtxSetLimit`]. Answers the limit that is in force in value 0.
    CtxSetLimit [24] {
        /// [`crate::ContextId`].
        context: U64,
        /// New value: bytes, or a count.
        value: U64,
        /// `CUlimit`.
        limit: U32,
        /// Zero.
        reserved: U32,
    }
    /// See [`Op::CtxResetPersistingL2`].
    CtxResetPersistingL2 [8] {
        /// [`crate::ContextId`].
        context: U64,
    }
    /// See [`Op::StreamCreate`]. The minted stream stands in the header.
    StreamCreate [16] {
        /// [`crate::ContextId`].
        context: U64,
        /// 0, or 1 for a stream that does not wait for the legacy stream (`CU_STREAM_NON_BLOCKING`).
        flags: U32,
        /// Lower is more urgent, 0 the default.
        priority: I32,
    }
    /// See [`Op::StreamDestroy`].
    StreamDestroy [0] {}
    /// See [`Op::StreamSynchronize`].
    StreamSynchronize [0] {}
    /// Never travels.
    StreamQuery [0] {}
    /// See [`Op::StreamWaitEvent`].
    StreamWaitEvent [8] {
        /// [`crate::EventId`].
        event: U64,
    }
    /// See [`Op::StreamWaitValue32`].
    StreamWaitValue32 [16] {
        /// Device or pinned address, 4-byte aligned.
        address: U64,
        /// Value to compare with.
        value: U32,
        /// `CU_STREAM_WAIT_VALUE_*`: 0 GEQ (signed difference), 1 EQ, 2 AND, 3 NOR.
        condition: U32,
    }
    /// See [`Op::StreamWriteValue32`].
    StreamWriteValue32 [16] {
        /// Device or pinned address, 4-byte aligned.
        address: U64,
        /// Value to write.
        value: U32,
        /// Zero.
        reserved: U32,
    }
    /// See [`Op::StreamWaitValue64`].
    StreamWaitValue64 [24] {
        /// Device or pinned address, 8-byte aligned.
        address: U64,
        /// Value to compare with.
        value: U64,
        /// As for [`StreamWaitValue32`].
        condition: U32,
        /// Zero.
        reserved: U32,
    }
    /// See [`Op::StreamWriteValue64`].
    StreamWriteValue64 [16] {
        /// Device or pinned address, 8-byte aligned.
        address: U64,
        /// Value to write.
        value: U64,
    }
    /// See [`Op::EventCreate`].
    EventCreate [24] {
        /// [`crate::ContextId`].
        context: U64,
        /// Minted [`crate::EventId`].
        event: U64,
        /// `CU_EVENT_*`: 1 blocking synchronise, 2 no timing.
        flags: U32,
        /// Zero.
        reserved: U32,
    }
    /// See [`Op::EventDestroy`].
    EventDestroy [8] {
        /// [`crate::EventId`].
        event: U64,
    }
    /// See [`Op::EventRecord`].
    EventRecord [8] {
        /// [`crate::EventId`].
        event: U64,
    }
    /// See [`Op::EventSynchronize`].
    EventSynchronize [8] {
        /// [`crate::EventId`].
        event: U64,
    }
    /// Never travels.
    EventQuery [0] {}
    /// See [`Op::EventElapsedTime`]. Answers nanoseconds (signed) in value 0.
    EventElapsedTime [16] {
        /// [`crate::EventId`].
        start: U64,
        /// [`crate::EventId`].
        end: U64,
    }
    /// See [`Op::MemGetInfo`]. Answers free bytes in value 0, total bytes in value 1.
    MemGetInfo [8] {
        /// [`crate::ContextId`].
        context: U64,
    }
    /// See [`Op::MemAlloc`]. Answers the address in value 0.
    MemAlloc [16] {
        /// [`crate::ContextId`].
        context: U64,
        /// Size, not 0.
        bytes: U64,
    }
    /// See [`Op::MemFree`].
    MemFree [16] {
        /// [`crate::ContextId`].
        context: U64,
        /// Address that an allocation answered.
        address: U64,
    }
    /// See [`Op::Memcpy`].
    Memcpy [24] {
        /// Device or pinned address.
        destination: U64,
        /// Device or pinned address.
        source: U64,
        /// Length of the copy.
        bytes: U64,
    }
    /// See [`Op::MemcpyFromStaging`].
    MemcpyFromStaging [24] {
        /// Device or pinned address.
        destination: U64,
        /// Offset in the staging region.
        staging_offset: U64,
        /// Length of the copy.
        bytes: U64,
    }
    /// See [`Op::MemcpyToStaging`].
    MemcpyToStaging [24] {
        /// Device or pinned address.
        source: U64,
        /// Offset in the staging region.
        staging_offset: U64,
        /// Length of the copy.
        bytes: U64,
    }
    /// See [`Op::Memset`].
    Memset [24] {
        /// Device or pinned address, aligned to the element.
        destination: U64,
        /// Number of elements.
        count: U64,
        /// The element, in its lowest bytes.
        value: U32,
        /// 1, 2 or 4.
        element_bytes: U32,
    }
    /// Never travels.
    PointerGetAttribute [0] {}
    /// See [`Op::AddressReserve`].
    AddressReserve [16] {
        /// First address, a multiple of [`crate::limits::MEMORY_UNIT_BYTES`].
        address: U64,
        /// Length, such a multiple too.
        bytes: U64,
    }
    /// See [`Op::AddressFree`].
    AddressFree [16] {
        /// First address of a reserved range.
        address: U64,
        /// Its length.
        bytes: U64,
    }
    /// See [`Op::MemoryCreate`].
    MemoryCreate [8] {
        /// Size, a multiple of [`crate::limits::MEMORY_UNIT_BYTES`], not 0.
        bytes: U64,
    }
    /// See [`Op::MemoryRelease`].
    MemoryRelease [8] {
        /// Number that `MemoryCreate` answered.
        memory: U64,
    }
    /// See [`Op::MemoryMap`].
    MemoryMap [24] {
        /// Where to, in a reserved range.
        address: U64,
        /// Size of the memory.
        bytes: U64,
        /// Number that `MemoryCreate` answered.
        memory: U64,
    }
    /// See [`Op::MemoryUnmap`].
    MemoryUnmap [16] {
        /// First address of a mapping.
        address: U64,
        /// Length of it and those that follow it closely.
        bytes: U64,
    }
    /// See [`Op::MemorySetAccess`].
    MemorySetAccess [24] {
        /// First address of a mapping.
        address: U64,
        /// Length of it and those that follow it closely.
        bytes: U64,
        /// `CU_MEM_ACCESS_FLAGS_PROT_*`.
        access: U32,
        /// Zero.
        reserved: U32,
    }
    /// See [`Op::LaunchKernel`]. Payload: the parameter block, laid out as the kernel's description says, and behind it
    /// the records of [`crate::attribute`].
    LaunchKernel [48] {
        /// [`crate::FunctionId`].
        function: U64,
        /// Blocks of the grid in x, y, z.
        grid: [U32; 3],
        /// Threads of a block in x, y, z.
        block: [U32; 3],
        /// Dynamic shared memory of a block, in bytes.
        shared_bytes: U32,
        /// 1: cooperative, all blocks resident at once.
        flags: U32,
        /// Bytes of launch attributes behind the parameters, at most [`crate::limits::LAUNCH_ATTRIBUTE_BYTES_MAX`].
        attribute_bytes: U32,
        /// Zero.
        reserved: U32,
    }
    /// See [`Op::GraphInstantiate`].
    GraphInstantiate [40] {
        /// [`crate::ContextId`].
        context: U64,
        /// Minted [`crate::GraphId`].
        graph: U64,
        /// Offset of the [`crate::graph::GraphDescription`] in its region.
        offset: U64,
        /// Length of the description.
        bytes: U64,
        /// [`crate::RegionId`] that holds the description.
        region: U32,
        /// `CUDA_GRAPH_INSTANTIATE_FLAG_*`, see [`crate::graph`].
        flags: U32,
    }
    /// See [`Op::GraphLaunch`].
    GraphLaunch [8] {
        /// [`crate::GraphId`].
        graph: U64,
    }
    /// See [`Op::GraphUpdate`]. Answers a `CUgraphExecUpdateResult` in value 0, also where it fails.
    GraphUpdate [32] {
        /// [`crate::GraphId`].
        graph: U64,
        /// Offset of the new [`crate::graph::GraphDescription`], of the same shape, in its region.
        offset: U64,
        /// Length of the description.
        bytes: U64,
        /// [`crate::RegionId`] that holds the description.
        region: U32,
        /// Zero.
        reserved: U32,
    }
    /// See [`Op::GraphDestroy`].
    GraphDestroy [8] {
        /// [`crate::GraphId`].
        graph: U64,
    }
    /// See [`Op::GraphUpload`].
    GraphUpload [8] {
        /// [`crate::GraphId`].
        graph: U64,
    }
    /// See [`Op::Occupancy`]. Payload: the launch attributes, for clusters. Answers the figure in value 0.
    Occupancy [56] {
        /// [`crate::FunctionId`].
        function: U64,
        /// `OCCUPANCY_*`.
        kind: U32,
        /// `CU_OCCUPANCY_*` for blocks, [`LAUNCH_COOPERATIVE`] for clusters.
        flags: U32,
        /// Blocks of the grid in x, y, z; for dynamic shared memory, the blocks of a multiprocessor in the first.
        grid: [U32; 3],
        /// Threads of a block in x, y, z; all of them in the first where no cluster is asked about.
        block: [U32; 3],
        /// Dynamic shared memory of a block, in bytes.
        shared_bytes: U64,
        /// Zero.
        reserved: U64,
    }
    /// See [`Op::TensorMapEncode`]. Writes the map's [`TENSOR_MAP_BYTES`] bytes to staging. What a kind does not use is 0.
    TensorMapEncode [224] {
        /// [`crate::ContextId`].
        context: U64,
        /// Where in staging the map goes.
        reply_offset: U64,
        /// Address of the tensor.
        address: U64,
        /// Elements of each dimension.
        dims: [U64; 5],
        /// Bytes from one element of a dimension to the next, of all dimensions but the first.
        strides: [U64; 5],
        /// Elements of the box in each dimension: tiled.
        box_dims: [U32; 5],
        /// Steps in each dimension, in elements.
        element_strides: [U32; 5],
        /// Corners of the box of pixels: im2col; in the first, its ends in the width: wide.
        lower_corner: [I32; 5],
        /// See `lower_corner`.
        upper_corner: [I32; 5],
        /// `TENSOR_MAP_*`.
        kind: U32,
        /// `CUtensorMapDataType`.
        data_type: U32,
        /// Dimensions of the tensor, 1 to 5.
        rank: U32,
        /// `CUtensorMapInterleave`.
        interleave: U32,
        /// `CUtensorMapSwizzle`.
        swizzle: U32,
        /// `CUtensorMapL2promotion`.
        l2_promotion: U32,
        /// `CUtensorMapFloatOOBfill`.
        fill: U32,
        /// Channels of each pixel: im2col.
        channels_per_pixel: U32,
        /// Pixels of each column: im2col.
        pixels_per_column: U32,
        /// `CUtensorMapIm2ColWideMode`.
        wide_mode: U32,
    }
    /// See [`Op::TensorMapReplaceAddress`]. Payload: the map. Writes the new one to staging.
    TensorMapReplaceAddress [24] {
        /// [`crate::ContextId`].
        context: U64,
        /// Where in staging the map goes.
        reply_offset: U64,
        /// New address of the tensor.
        address: U64,
    }
}

/// Flag of [`StreamCreate`]: the stream does not wait for the legacy stream.
pub const STREAM_NON_BLOCKING: u32 = 1;
/// Flag of [`EventCreate`]: waiters should sleep rather than spin.
pub const EVENT_BLOCKING_SYNC: u32 = 1;
/// Flag of [`EventCreate`]: the event takes no time stamp.
pub const EVENT_DISABLE_TIMING: u32 = 2;
/// Flag of [`LaunchKernel`]: all blocks are resident at once.
pub const LAUNCH_COOPERATIVE: u32 = 1;
/// Bytes of a tensor map (`CUtensorMap`).
pub const TENSOR_MAP_BYTES: u32 = 128;
/// Kind of [`TensorMapEncode`]: boxes of a tensor.
pub const TENSOR_MAP_TILED: u32 = 0;
/// Kind of [`TensorMapEncode`]: columns of an image.
pub const TENSOR_MAP_IM2COL: u32 = 1;
/// Kind of [`TensorMapEncode`]: columns of an image along its width.
pub const TENSOR_MAP_IM2COL_WIDE: u32 = 2;
/// Kind of [`Occupancy`]: blocks that a multiprocessor holds at once.
pub const OCCUPANCY_ACTIVE_BLOCKS: u32 = 0;
/// Kind of [`Occupancy`]: dynamic shared memory that each block may use, in bytes, where so many are to fit.
pub const OCCUPANCY_DYNAMIC_SHARED: u32 = 1;
/// Kind of [`Occupancy`]: clusters that the device holds at once.
pub const OCCUPANCY_ACTIVE_CLUSTERS: u32 = 2;
/// Kind of [`Occupancy`]: blocks of the largest cluster that the kernel can be launched with.
pub const OCCUPANCY_CLUSTER_SIZE: u32 = 3;
/// Attribute of [`FuncSetAttribute`]: largest dynamic shared memory of a block, in bytes.
pub const FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: u32 = 8;
