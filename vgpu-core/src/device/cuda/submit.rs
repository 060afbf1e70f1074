//! Work and marks on their way to the driver.

use std::sync::Arc;

use vgpu_proto::limits::STREAM_PENDING_MAX;

use super::context::Shared;
use super::order::Plan;
use super::queue::Queue;
use super::streams::Streams;
use super::transfer::Checked;
use super::watch::Outstanding;
use crate::device::{DeviceError, Mark, StreamKey};

/// Commands after which a stream writes its counter even without a mark, so that `stream_pending` stays near the truth.
/// A write costs about a microsecond; one for 64 commands makes that less than 1 % of a launch. The driver blocks its
/// caller at about 1,000 pending commands of a stream (measured), which the pending limit and the writes stay below.
const WRITE_EVERY: u64 = STREAM_PENDING_MAX as u64 / 8;

/// As [`WRITE_EVERY`], before a kernel that may overlap the one in front of it: a write between the two would make it
/// wait. The rest of the pending limit is left for the writes to be seen.
const WRITE_EVERY_PROGRAMMATIC: u64 = STREAM_PENDING_MAX as u64 / 2;

impl Shared {
    pub(super) fn submit(&self, key: StreamKey, work: &Checked) -> Result<(), DeviceError> {
        let mut streams = self.streams();
        let queue = streams.queue(key)?;
        let sent = self.send(&mut streams, key, &queue, work);
        sent.map_err(|error| self.judged(error, &streams))
    }

    fn send(
        &self,
        streams: &mut Streams,
        key: StreamKey,
        queue: &Queue,
        work: &Checked,
    ) -> Result<(), DeviceError> {
        self.fault().check()?;
        for (other, count) in streams.order.before_work(key) {
            if let Some(lane) = streams.lanes.get(&other) {
                lane.queue.write(count)?;
                streams.order.count_write(other, count);
            }
        }
        let interval = if work.is_programmatic() { WRITE_EVERY_PROGRAMMATIC } else { WRITE_EVERY };
        if streams.order.unwritten(key) >= interval {
            streams.write_due(key)?;
        }
        if let Checked::Launch(launch) = work {
            self.printing().launched(&launch.kernel.name);
        }
        work.submit(queue.stream(), self.card().space())?;
        queue.set_submitted(streams.order.count_work(key));
        let name = match work {
            Checked::Launch(launch) => Some(Arc::clone(&launch.kernel.name)),
            Checked::Graph(launch) => Some(launch.graph.name()),
            _ => None,
        };
        if name.is_some()
            && let Some(lane) = streams.lanes.get_mut(&key)
        {
            lane.latest_kernel = name;
        }
        Ok(())
    }

    /// Marks what was submitted. After a fault too: the watcher tells it then.
    pub(super) fn mark(&self, key: StreamKey, mark: Arc<dyn Mark>, value: u64) -> Result<(), DeviceError> {
        let word = self.mark_word(&*mark);
        let mut streams = self.streams();
        let queue = streams.queue(key)?;
        let plan = match self.fault().get() {
            Some(_) => Plan::Refer(queue.submitted()),
            None => streams.order.plan_mark(key).unwrap_or(Plan::Refer(0)),
        };
        let (count, refers) = match plan {
            Plan::Write(count) => {
                let sent = match word {
                    // SAFETY: the word is aligned, as marks promise, and its region is registered for the device's life.
                    Some(address) => unsafe { queue.write_with((address, value), count) },
                    None => queue.write(count),
                };
                if let Err(error) = sent.map_err(|error| self.judged(error, &streams)) {
                    self.fault().get().ok_or(error)?;
                }
                streams.order.count_write(key, count);
                queue.set_submitted(count);
                (count, false)
            }
            Plan::Refer(count) => {
                queue.refer();
                (count, true)
            }
        };
        let written = word.is_some() && !refers;
        // Under the lock, so that the watcher gets marks in the order of their submission.
        self.watch().push(Outstanding { queue, count, mark, value, written, refers });
        drop(streams);
        Ok(())
    }

    /// Where the GPU writes a mark; `None` where the CPU must, because the word's memory cannot be registered, or because
    /// what kernels printed has to be with the guest first.
    fn mark_word(&self, mark: &dyn Mark) -> Option<u64> {
        let (region, offset) = mark.word();
        let is_word =
            offset.is_multiple_of(8) && offset.checked_add(8).is_some_and(|end| end <= region.len());
        if !is_word || self.is_printing() || self.fault().get().is_some() {
            return None;
        }
        self.card().pinned().find(region).ok().map(|base| base + offset)
    }
}
