//! Layout of the control region: the words that both ends share, at fixed offsets.
//!
//! All offsets are relative to the start of the region, which may lie anywhere in a larger mapping. Words are
//! little-endian and aligned to their size. Each word has one writer unless it says otherwise; words of different
//! writers lie in different cache lines.

use crate::limits::{CONTEXTS_MAX, REPLY_SLOTS, RING_BYTES, STREAMS_MAX};

/// First eight bytes of a control region: `vgpuwin1`.
pub const MAGIC: u64 = u64::from_le_bytes(*b"vgpuwin1");

/// Offset of [`MAGIC`], u64. Written once by the host.
pub const MAGIC_OFFSET: u64 = 0x000;

/// Guest → host: bytes ever written to the ring, u64.
pub const RING_TAIL: u64 = 0x040;
/// Host → guest: bytes ever read from the ring, u64.
pub const RING_HEAD: u64 = 0x080;
/// A guest sets it to 1 and sleeps on it while the ring has no room; the host swaps in 0 and wakes, u32. Both write.
pub const RING_NEED_WAKE: u64 = 0x0a0;
/// Host sets it to 1 before it sleeps; a guest that published and finds 1 swaps in 0 and kicks, u32. Both write.
pub const NEED_KICK: u64 = 0x0c0;

/// Host → guest: grows whenever one of the error words changed, u32. A call that finds the value it last saw needs to
/// read no other error word.
pub const ATTENTION: u64 = 0x100;
/// Host sets a `CUresult` where it finds 0, a guest call takes it by swapping in 0, u32. Both write.
pub const DEFERRED_ERROR: u64 = 0x104;
/// Host → guest: deferred errors so far, those that found the word taken included, u32.
pub const DEFERRED_COUNT: u64 = 0x108;
/// Host → guest: `CUresult` of every call from now on, because the session ended; 0 while it is open, u32.
pub const SESSION_ERROR: u64 = 0x10c;
/// Host → guest: bytes of kernel output sent over the control channel so far, u64.
pub const OUTPUT_BYTES: u64 = 0x110;

/// Sticky error of each context, u32 `CUresult` by context index: [`CONTEXTS_MAX`] words. Host → guest.
pub const CONTEXT_ERRORS: u64 = 0x140;

/// Reserved for the register page of a VM's window.
pub const RESERVED_REGISTERS: u64 = 0x200;

/// Table of [`REPLY_SLOTS`] reply slots of [`REPLY_SLOT_BYTES`].
pub const REPLIES: u64 = 0x1000;
/// Bytes of a reply slot.
pub const REPLY_SLOT_BYTES: u64 = 64;
/// In a reply slot: tag of the latest answer, u32. Host → guest, written last; a guest sleeps on this word.
pub const REPLY_TAG: u64 = 0;
/// In a reply slot: `CUresult`, u32. Host → guest.
pub const REPLY_STATUS: u64 = 4;
/// In a reply slot: set to 1 by a guest before it sleeps, cleared by the host, u32.
pub const REPLY_NEED_WAKE: u64 = 8;
/// In a reply slot: [`REPLY_VALUE_COUNT`] values, u64. Host → guest.
pub const REPLY_VALUES: u64 = 16;
/// Values of a reply.
pub const REPLY_VALUE_COUNT: usize = 4;

/// Table of [`STREAMS_MAX`] stream slots of [`STREAM_SLOT_BYTES`].
pub const STREAMS: u64 = REPLIES + REPLY_SLOTS as u64 * REPLY_SLOT_BYTES;
/// Bytes of a stream slot.
pub const STREAM_SLOT_BYTES: u64 = 64;
/// In a stream slot: commands of the stream that are known to be complete on the device, u64. Host or GPU → guest.
pub const STREAM_COMPLETED: u64 = 0;
/// In a stream slot: commands handed to the device, u64; returns the credit of commands. Host → guest.
pub const STREAM_RETIRED: u64 = 8;
/// In a stream slot: bytes of the frames of those commands, u64; returns the credit of bytes. Host → guest.
pub const STREAM_RETIRED_BYTES: u64 = 16;
/// In a stream slot: set to 1 by a guest before it sleeps, cleared by the host, u32.
pub const STREAM_NEED_WAKE: u64 = 24;
/// In a stream slot: grows at each wake, u32. Host → guest; a guest sleeps on this word.
pub const STREAM_EPOCH: u64 = 28;

/// The command ring.
pub const RING: u64 = 0x2_0000;
/// Bytes of the control region.
pub const CONTROL_BYTES: u64 = RING + RING_BYTES;

const _: () = assert!(CONTEXT_ERRORS + CONTEXTS_MAX as u64 * 4 <= RESERVED_REGISTERS);
const _: () = assert!(STREAMS + STREAMS_MAX as u64 * STREAM_SLOT_BYTES <= RING);

/// Offset of a field of reply slot `slot` (below [`REPLY_SLOTS`]).
pub const fn reply(slot: u32, field: u64) -> u64 {
    REPLIES + slot as u64 * REPLY_SLOT_BYTES + field
}

/// Offset of a field of stream slot `index` (below [`STREAMS_MAX`]).
pub const fn stream(index: u32, field: u64) -> u64 {
    STREAMS + index as u64 * STREAM_SLOT_BYTES + field
}

/// Offset of the sticky error of context `index` (below [`CONTEXTS_MAX`]).
pub const fn context_error(index: u32) -> u64 {
    CONTEXT_ERRORS + index as u64 * 4
}
