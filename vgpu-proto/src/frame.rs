//! Frames: what lies in the command ring.
//!
//! A frame is a header of 32 bytes, the operation's body, and a payload where the operation has one, padded to 32
//! bytes. Its length covers all of it. A frame never crosses the end of the ring: a padding frame (operation 0) fills
//! what is left there.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::body;
use crate::limits::{FRAME_ALIGN_BYTES, FRAME_BYTES_MAX, REPLY_SLOTS};
use crate::operation::{Class, Op, Operation, Order};
use crate::violation::Violation;

/// Bytes of a header.
pub const HEADER_BYTES: u32 = 32;

/// Operation number of a padding frame.
pub const PADDING: u16 = 0;

/// Value of [`RawHeader::reply_slot`] in a frame that wants no answer.
pub const NO_REPLY: u32 = u32::MAX;

/// A header as it lies in the ring.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct RawHeader {
    /// Bytes of the whole frame: a multiple of 32, 32 to [`FRAME_BYTES_MAX`].
    pub length_bytes: U32,
    /// Operation number, or [`PADDING`].
    pub op: U16,
    /// Zero in version 1.
    pub flags: U16,
    /// [`crate::StreamId`] of operations in stream order and of stream creation; else 0.
    pub stream: U64,
    /// Reply slot, or [`NO_REPLY`].
    pub reply_slot: U32,
    /// What the slot's tag becomes when the answer is there; not 0. 0 where there is no slot.
    pub reply_tag: U32,
    /// Bytes of the payload behind the body, without padding.
    pub payload_bytes: U32,
    /// Zero.
    pub reserved: U32,
}

const _: () = assert!(size_of::<RawHeader>() == HEADER_BYTES as usize);

/// Where the answer to a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyTo {
    /// Index in the window's table of reply slots; below [`REPLY_SLOTS`].
    pub slot: u32,
    /// The slot's new tag; not 0.
    pub tag: u32,
}

/// A header that passed every check that needs no session state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a value of the protocol")]
pub struct FrameHeader {
    /// Bytes of the whole frame.
    pub length_bytes: u32,
    /// The operation; `None` for a padding frame.
    pub op: Option<Op>,
    /// Raw [`crate::StreamId`].
    pub stream: u64,
    /// Where the answer goes, if one is wanted.
    pub reply: Option<ReplyTo>,
    /// Bytes of the payload.
    pub payload_bytes: u32,
}

impl FrameHeader {
    /// Checks a header. Takes the bytes by value: a guest can change the window, but not this copy.
    ///
    /// # Errors
    /// The first breach found. A version-1 peer sets all flags and reserved bytes to zero.
    pub fn parse(bytes: [u8; HEADER_BYTES as usize]) -> Result<Self, Violation> {
        let raw = RawHeader::read_from_bytes(&bytes).map_err(|_| Violation::FrameLength)?;
        let length_bytes = raw.length_bytes.get();
        if !(HEADER_BYTES..=FRAME_BYTES_MAX).contains(&length_bytes) || length_bytes % FRAME_ALIGN_BYTES != 0
        {
            return Err(Violation::FrameLength);
        }
        if raw.op.get() == PADDING {
            return Ok(Self { length_bytes, op: None, stream: 0, reply: None, payload_bytes: 0 });
        }
        let op = Op::from_number(raw.op.get()).ok_or(Violation::UnknownOperation)?;
        if op.class() == Class::Local {
            return Err(Violation::LocalOperation);
        }
        if raw.flags.get() != 0 || raw.reserved.get() != 0 {
            return Err(Violation::ReservedBits);
        }
        let names_stream = op.order() == Order::Stream || op == Op::StreamCreate;
        if !names_stream && raw.stream.get() != 0 {
            return Err(Violation::ReservedBits);
        }
        let reply = match (raw.reply_slot.get(), raw.reply_tag.get()) {
            (NO_REPLY, 0) if !op.needs_reply() => None,
            (slot, tag) if slot < REPLY_SLOTS && tag != 0 => Some(ReplyTo { slot, tag }),
            _ => return Err(Violation::ReplySlot),
        };
        let payload_bytes = raw.payload_bytes.get();
        Ok(Self { length_bytes, op: Some(op), stream: raw.stream.get(), reply, payload_bytes })
    }

    /// The header as it lies in the ring.
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES as usize] {
        let (slot, tag) = self.reply.map_or((NO_REPLY, 0), |reply| (reply.slot, reply.tag));
        let raw = RawHeader {
            length_bytes: self.length_bytes.into(),
            op: self.op.map_or(PADDING, Op::number).into(),
            flags: U16::ZERO,
            stream: self.stream.into(),
            reply_slot: slot.into(),
            reply_tag: tag.into(),
            payload_bytes: self.payload_bytes.into(),
            reserved: U32::ZERO,
        };
        zerocopy::transmute!(raw)
    }
}

/// Bytes of a frame with a body of `body_bytes` and `payload_bytes` behind it, padding included.
///
/// # Errors
/// [`Violation::PayloadLimit`] when the frame would pass [`FRAME_BYTES_MAX`].
pub const fn frame_bytes(body_bytes: usize, payload_bytes: usize) -> Result<u32, Violation> {
    let Some(sum) = body_bytes.checked_add(payload_bytes) else { return Err(Violation::PayloadLimit) };
    if sum > (FRAME_BYTES_MAX - HEADER_BYTES) as usize {
        return Err(Violation::PayloadLimit);
    }
    #[expect(clippy::cast_possible_truncation, reason = "at most FRAME_BYTES_MAX, checked above")]
    let sum = sum as u32;
    Ok((HEADER_BYTES + sum).next_multiple_of(FRAME_ALIGN_BYTES))
}

macro_rules! define_request {
    ($($number:literal $name:ident $class:ident $order:ident $lease:ident $since:literal: $text:literal,)*) => {
        /// A decoded body, one variant for each operation of the table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(clippy::exhaustive_enums, reason = "a missing arm must not compile")]
        pub enum Request {
            $(#[doc = $text] $name(body::$name),)*
        }

        impl Request {
            /// Decodes what follows a header: the body, and the payload behind it.
            ///
            /// `rest` is the frame without its header, padding included.
            ///
            /// # Errors
            /// [`Violation::PayloadLength`] when body and payload do not add up to the frame.
            pub fn decode(op: Op, payload_bytes: u32, rest: &[u8]) -> Result<(Self, &[u8]), Violation> {
                match op {
                    $(Op::$name => {
                        let (body, tail) =
                            body::$name::read_from_prefix(rest).map_err(|_| Violation::PayloadLength)?;
                        Ok((Self::$name(body), payload(tail, payload_bytes)?))
                    })*
                }
            }

            /// The operation.
            pub const fn op(&self) -> Op {
                match self { $(Self::$name(_) => body::$name::OP,)* }
            }
        }
    };
}

for_each_operation!(define_request);

use crate::for_each_operation;

/// The payload at the start of `tail`, which must be padded to less than one more unit.
fn payload(tail: &[u8], payload_bytes: u32) -> Result<&[u8], Violation> {
    let bytes = usize::try_from(payload_bytes).map_err(|_| Violation::PayloadLength)?;
    let padding = tail.len().checked_sub(bytes).ok_or(Violation::PayloadLength)?;
    if padding >= FRAME_ALIGN_BYTES as usize {
        return Err(Violation::PayloadLength);
    }
    Ok(&tail[..bytes])
}

/// Builds a frame in a private buffer; the ring gets it with one copy.
///
/// Returns the frame's bytes, all of `out[..length]`.
///
/// # Errors
/// [`Violation::PayloadLimit`] when the frame would pass [`FRAME_BYTES_MAX`].
///
/// # Panics
/// Never: `out` is large enough by its type.
pub fn encode<'a, B: Operation + IntoBytes + Immutable>(
    out: &'a mut [u8; FRAME_BYTES_MAX as usize],
    stream: u64,
    reply: Option<ReplyTo>,
    body: &B,
    payload: &[u8],
) -> Result<&'a [u8], Violation> {
    let body = body.as_bytes();
    let length_bytes = frame_bytes(body.len(), payload.len())?;
    #[expect(clippy::cast_possible_truncation, reason = "frame_bytes refused what does not fit")]
    let payload_bytes = payload.len() as u32;
    let header = FrameHeader { length_bytes, op: Some(B::OP), stream, reply, payload_bytes };
    let frame = &mut out[..length_bytes as usize];
    let (head, rest) = frame.split_at_mut(HEADER_BYTES as usize);
    head.copy_from_slice(&header.to_bytes());
    let (body_out, rest) = rest.split_at_mut(body.len());
    body_out.copy_from_slice(body);
    let (payload_out, padding) = rest.split_at_mut(payload.len());
    payload_out.copy_from_slice(payload);
    padding.fill(0);
    Ok(frame)
}

#[cfg(test)]
mod tests;
