//! The streams of a context.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use vgpu_proto::Status;

use super::order::{Kind, Order};
use super::queue::Queue;
use crate::device::{DeviceError, StreamKey};

/// Kernels that the text of a fault names, at most.
const NAMED_MAX: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Streams {
    pub(super) order: Order,
    pub(super) lanes: FxHashMap<StreamKey, Lane>,
    /// Destroyed streams whose work may still run.
    pub(super) leaving: Vec<Arc<Queue>>,
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) queue: Arc<Queue>,
    pub(super) latest_kernel: Option<Arc<str>>,
}

impl Streams {
    pub(super) fn add(&mut self, key: StreamKey, kind: Kind, queue: Arc<Queue>) {
        self.leaving.retain(|queue| !queue.is_complete());
        self.order.add(key, kind);
        self.lanes.insert(key, Lane { queue, latest_kernel: None });
    }

    pub(super) fn queue(&self, key: StreamKey) -> Result<Arc<Queue>, DeviceError> {
        let unknown = || DeviceError::new(Status::ERROR_INVALID_HANDLE, "no such stream in this context");
        self.lanes.get(&key).map(|lane| Arc::clone(&lane.queue)).ok_or_else(unknown)
    }

    /// Writes the stream's counter, if there is something new to tell.
    pub(super) fn write_due(&mut self, key: StreamKey) -> Result<(), DeviceError> {
        let (Some(count), Some(lane)) = (self.order.due(key), self.lanes.get(&key)) else { return Ok(()) };
        lane.queue.write(count)?;
        self.order.count_write(key, count);
        Ok(())
    }

    /// Names of kernels that may be running.
    pub(super) fn running_kernels(&self) -> String {
        let running = self.lanes.values().filter(|lane| !lane.queue.is_complete());
        let mut names: Vec<&str> = running.filter_map(|lane| lane.latest_kernel.as_deref()).collect();
        names.sort_unstable();
        names.dedup();
        names.truncate(NAMED_MAX);
        names.join(", ")
    }
}
