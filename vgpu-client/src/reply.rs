//! Reply slots: where a waiting thread gets its answer.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use vgpu_proto::frame::ReplyTo;
use vgpu_proto::limits::REPLY_SLOTS;

use crate::control::Control;
use crate::errors::Result;
use crate::fate::Fate;

/// How often a thread without a slot looks whether the session is still there. All slots are in use only while 256
/// threads wait, so this is rare.
const NO_SLOT_PAUSE: Duration = Duration::from_millis(50);

/// The session's reply slots.
#[derive(Debug)]
pub(crate) struct Replies {
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Debug)]
struct State {
    /// Slots that nobody uses; the last one is taken next, as its cache line is warm.
    free: Vec<u32>,
    /// Tag of the latest use of each slot.
    tags: Box<[u32]>,
}

/// A slot that this thread owns until it drops it. It must not be dropped before the answer is there, unless the
/// session is over or the frame never went out.
#[derive(Debug)]
pub(crate) struct ReplySlot<'a> {
    replies: &'a Replies,
    pub(crate) to: ReplyTo,
}

impl Replies {
    pub(crate) fn new() -> Self {
        let free = (0..REPLY_SLOTS).rev().collect();
        let tags = vec![0; REPLY_SLOTS as usize].into_boxed_slice();
        Self { state: Mutex::new(State { free, tags }), returned: Condvar::new() }
    }

    /// Takes a slot; waits while all are in use.
    pub(crate) fn acquire(&self, fate: &Fate, control: &Control) -> Result<ReplySlot<'_>> {
        // Looked at before the lock, which in a child of `fork` a thread may hold that is not there.
        fate.gate(control)?;
        let mut state = self.state.lock();
        let slot = loop {
            if let Some(slot) = state.free.pop() {
                break slot;
            }
            fate.gate(control)?;
            self.returned.wait_for(&mut state, NO_SLOT_PAUSE);
        };
        let tag = &mut state.tags[slot as usize];
        // 0 is the tag of a slot that was never answered.
        *tag = tag.wrapping_add(1).max(1);
        Ok(ReplySlot { replies: self, to: ReplyTo { slot, tag: *tag } })
    }
}

impl Drop for ReplySlot<'_> {
    fn drop(&mut self) {
        self.replies.state.lock().free.push(self.to.slot);
        self.replies.returned.notify_one();
    }
}
