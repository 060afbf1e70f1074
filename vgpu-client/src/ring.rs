//! The producer's side of the command ring: credit, place, copy and publication, all under one short lock.
//!
//! The lock gives frames the same order in the ring as their per-stream numbers. It is never held while a thread
//! waits, so a stream without credit holds up its own writer and nobody else.

use parking_lot::Mutex;
use vgpu_proto::frame::HEADER_BYTES;
use vgpu_proto::limits::{STREAM_BYTES_MAX, STREAM_COMMANDS_MAX, STREAMS_MAX};
use vgpu_proto::{FrameHeader, Op, ring};

use crate::control::Control;

/// A command that was placed: its number in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// Slot of the stream.
    pub(crate) stream: u32,
    /// Number of the command in the slot, from 1.
    pub(crate) number: u64,
    /// The ring's tail behind the frame: later frames have larger ones, whatever their stream.
    pub(crate) position: u64,
}

/// Why a frame could not be placed now. Holds what was seen, so that a waiter knows what must change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocked {
    /// The stream holds as much as it may.
    Credit {
        /// Its retired commands and bytes.
        retired: (u64, u64),
    },
    /// The ring has no room.
    Room {
        /// Its head.
        head: u64,
    },
}

/// The producer.
#[derive(Debug)]
pub(crate) struct Ring {
    producer: Mutex<Producer>,
}

#[derive(Debug)]
struct Producer {
    tail: u64,
    /// What was last read of the consumer's head. Read again only when there seems to be no room, as each read takes
    /// the cache line away from the consumer.
    head: u64,
    /// Slots that were ever given to a stream: the first so many.
    used: usize,
    streams: Box<[Account]>,
}

/// What a stream slot has issued and got back, over all its generations.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    /// Slot of the context that the stream there belongs to. A slot is given away only once all its work is done.
    context: u32,
    issued: (u64, u64),
    /// The latest command that a thread waits for without a word to the host, 0 for none. What another thread sends next
    /// must not share its mark: it may wait for what the first thread does once it is through.
    waited: u64,
    /// As last read of the window.
    retired: (u64, u64),
}

impl Account {
    /// Whether all that was issued is complete.
    fn is_idle(&self, control: &Control, stream: u32) -> bool {
        self.issued.0 == 0 || control.completed(stream) >= self.issued.0
    }

    /// Notes that a thread waits for all that was issued.
    fn wait_for_all(&mut self, stream: u32) -> Ticket {
        self.waited = self.issued.0;
        Ticket { stream, number: self.issued.0, position: 0 }
    }

    /// Whether a frame of `bytes` fits. A retired counter ahead of the issued one wraps to a huge number in use: a
    /// broken host takes credit away from a guest, never gives it too much.
    fn has_room(&self, bytes: u64) -> bool {
        self.issued.0.wrapping_sub(self.retired.0) < STREAM_COMMANDS_MAX
            && self.issued.1.wrapping_sub(self.retired.1).saturating_add(bytes) <= STREAM_BYTES_MAX
    }
}

impl Ring {
    pub(crate) fn new() -> Self {
        let streams = vec![Account::default(); STREAMS_MAX as usize].into_boxed_slice();
        Self { producer: Mutex::new(Producer { tail: 0, head: 0, used: 0, streams }) }
    }

    /// Places a frame, for a command of the stream in slot `stream` where it is stream-ordered. The caller kicks.
    pub(crate) fn try_put(
        &self,
        control: &Control,
        stream: Option<u32>,
        frame: &[u8],
    ) -> Result<Ticket, Blocked> {
        self.producer.lock().try_put(control, stream, frame)
    }

    /// Whether every command of every stream is complete.
    pub(crate) fn is_idle(&self, control: &Control) -> bool {
        let producer = self.producer.lock();
        let mut accounts = (0..).zip(&producer.streams);
        accounts.all(|(slot, account)| account.is_idle(control, slot))
    }

    /// Says whose the stream in a slot is from now on.
    pub(crate) fn assign(&self, stream: u32, context: u32) {
        let mut producer = self.producer.lock();
        producer.used = producer.used.max(stream as usize + 1);
        producer.streams[stream as usize].context = context;
    }

    /// The latest command of each stream of a context that is not through, destroyed streams among them.
    pub(crate) fn unfinished(&self, control: &Control, context: u32) -> Vec<Ticket> {
        let mut producer = self.producer.lock();
        let used = producer.used;
        let of_context =
            (0..).zip(&mut producer.streams[..used]).filter(|(_, account)| account.context == context);
        of_context
            .filter(|(stream, account)| !account.is_idle(control, *stream))
            .map(|(stream, account)| account.wait_for_all(stream))
            .collect()
    }

    /// The latest command of a stream slot, for a thread that waits for it.
    pub(crate) fn latest(&self, stream: u32) -> Ticket {
        self.producer.lock().streams[stream as usize].wait_for_all(stream)
    }

    /// Number of the latest command in a stream slot.
    pub(crate) fn issued(&self, stream: u32) -> u64 {
        self.producer.lock().streams[stream as usize].issued.0
    }
}

impl Producer {
    fn try_put(&mut self, control: &Control, stream: Option<u32>, frame: &[u8]) -> Result<Ticket, Blocked> {
        if let Some(stream) = stream
            && self.is_waited_for(control, stream)
        {
            self.place(control, Some(stream), &synchronize_before(frame))?;
        }
        self.place(control, stream, frame)
    }

    /// Whether a thread waits for the latest command of a stream.
    fn is_waited_for(&mut self, control: &Control, stream: u32) -> bool {
        let account = &mut self.streams[stream as usize];
        if account.waited == 0 || account.waited != account.issued.0 {
            return false;
        }
        let is_idle = account.is_idle(control, stream);
        if is_idle {
            account.waited = 0;
        }
        !is_idle
    }

    fn place(&mut self, control: &Control, stream: Option<u32>, frame: &[u8]) -> Result<Ticket, Blocked> {
        let bytes = frame.len() as u64;
        if let Some(stream) = stream {
            let account = &mut self.streams[stream as usize];
            if !account.has_room(bytes) {
                account.retired = control.retired(stream);
                if !account.has_room(bytes) {
                    return Err(Blocked::Credit { retired: account.retired });
                }
            }
        }
        let length = u32::try_from(bytes).expect("a frame has at most FRAME_BYTES_MAX bytes");
        let slot = match ring::place(self.tail, self.head, length) {
            Some(slot) => slot,
            None => {
                self.head = control.ring_head();
                let Some(slot) = ring::place(self.tail, self.head, length) else {
                    return Err(Blocked::Room { head: self.head });
                };
                slot
            }
        };
        if slot.padding_bytes != 0 {
            let padding = FrameHeader {
                length_bytes: slot.padding_bytes,
                op: None,
                stream: 0,
                reply: None,
                payload_bytes: 0,
            };
            control.write_ring(self.tail % vgpu_proto::limits::RING_BYTES, &padding.to_bytes());
        }
        control.write_ring(slot.offset, frame);
        self.tail = slot.tail;
        control.publish_tail(slot.tail);
        let number = stream.map_or(0, |stream| {
            let account = &mut self.streams[stream as usize];
            account.issued = (account.issued.0 + 1, account.issued.1 + bytes);
            account.issued.0
        });
        Ok(Ticket { stream: stream.unwrap_or(0), number, position: slot.tail })
    }
}

/// The frame that asks for a mark of its stream, for the stream of `frame`.
fn synchronize_before(frame: &[u8]) -> [u8; HEADER_BYTES as usize] {
    const OWN: &str = "the frame was encoded here";
    let header = FrameHeader::parse(*frame.first_chunk().expect(OWN)).expect(OWN);
    let asks = FrameHeader {
        length_bytes: HEADER_BYTES,
        op: Some(Op::StreamSynchronize),
        stream: header.stream,
        reply: None,
        payload_bytes: 0,
    };
    asks.to_bytes()
}
