//! Bodies of the operations on code: modules, their kernels and variables, links.

use zerocopy::little_endian::{I32, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::operation::{Op, Operation};

bodies! {
    /// See [`Op::ModuleLoad`]. Payload: options ([`crate::jit`]). Writes a [`crate::control::ModuleDescription`] to
    /// staging and answers its length in value 0; where the load fails, a text with the cause.
    ModuleLoad [48] {
        /// [`crate::ContextId`].
        context: U64,
        /// Minted [`crate::ModuleId`].
        module: U64,
        /// Offset of the image in its region.
        image_offset: U64,
        /// Length of the image.
        image_bytes: U64,
        /// Where in staging the description goes.
        reply_offset: U64,
        /// Room there, at most [`crate::limits::CONTROL_BYTES_MAX`].
        reply_bytes: U32,
        /// [`crate::RegionId`] that holds the image.
        image_region: U32,
    }
    /// See [`Op::ModuleLoadKept`]. As [`ModuleLoad`], of an image that does not travel. Where the host does not keep it,
    /// answers `NOT_FOUND` and 1 in value 1: the guest is to send it.
    ModuleLoadKept [72] {
        /// [`crate::ContextId`].
        context: U64,
        /// Minted [`crate::ModuleId`].
        module: U64,
        /// Length of the image.
        image_bytes: U64,
        /// Where in staging the description goes.
        reply_offset: U64,
        /// Room there, at most [`crate::limits::CONTROL_BYTES_MAX`].
        reply_bytes: U32,
        /// Zero.
        reserved: U32,
        /// [`crate::ImageDigest`] of the image.
        digest: [u8; 32],
    }
    /// See [`Op::ModuleUnload`].
    ModuleUnload [8] {
        /// [`crate::ModuleId`].
        module: U64,
    }
    /// See [`Op::ModuleGetFunction`]. Payload: the name. Writes a [`crate::control::FunctionDescription`] to staging
    /// and answers its length in value 0.
    ModuleGetFunction [32] {
        /// [`crate::ModuleId`].
        module: U64,
        /// Minted [`crate::FunctionId`].
        function: U64,
        /// Where in staging the description goes.
        reply_offset: U64,
        /// Room there, at most [`crate::limits::CONTROL_BYTES_MAX`].
        reply_bytes: U32,
        /// Zero.
        reserved: U32,
    }
    /// See [`Op::ModuleGetGlobal`]. Payload: the name. Answers the address in value 0 and the size in value 1.
    ModuleGetGlobal [8] {
        /// [`crate::ModuleId`].
        module: U64,
    }
    /// See [`Op::ModuleEnumerateFunctions`]. Writes [`crate::control::FunctionNames`] to staging and answers their length
    /// in value 0.
    ModuleEnumerateFunctions [24] {
        /// [`crate::ModuleId`].
        module: U64,
        /// Where in staging the names go.
        reply_offset: U64,
        /// How many kernels to leave out, which an earlier answer named.
        first: U32,
        /// Room there, at most [`crate::limits::CONTROL_BYTES_MAX`].
        reply_bytes: U32,
    }
    /// See [`Op::FuncSetAttribute`].
    FuncSetAttribute [16] {
        /// [`crate::FunctionId`].
        function: U64,
        /// `CU_FUNC_ATTRIBUTE_*`; 8 is the largest dynamic shared memory.
        attribute: U32,
        /// New value.
        value: I32,
    }
    /// Never travels.
    FuncGetAttribute [0] {}
    /// See [`Op::ModuleLink`]. Payload: options ([`crate::jit`]). The result goes where the inputs were, as far as there is
    /// room. Writes a [`crate::control::CompileReport`] to staging, or a text with the cause; answers its length in value 0
    /// and the result's length in value 1.
    ModuleLink [48] {
        /// [`crate::ContextId`].
        context: U64,
        /// Offset of the inputs in their region.
        offset: U64,
        /// Length of the inputs ([`crate::jit::encode_input`]).
        input_bytes: U64,
        /// Room for the result.
        room_bytes: U64,
        /// Where in staging the report goes.
        reply_offset: U64,
        /// Room there, at most [`crate::limits::CONTROL_BYTES_MAX`].
        reply_bytes: U32,
        /// [`crate::RegionId`] that holds the inputs.
        region: U32,
    }
}
