//! A command on its way from the ring to the device, and what it waits for.

use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

use rustc_hash::FxHasher;
use vgpu_proto::Status;
use vgpu_proto::frame::ReplyTo;

use super::event::Version;
use super::gate::Unit;
use super::graph::HeldLaunch;
use crate::device::{LaunchConfig, Work};

/// A stream-ordered command in its stream's software queue.
#[derive(Debug)]
pub(super) struct Command {
    /// Bytes of its frame: the credit that it returns.
    pub(super) frame_bytes: u32,
    /// Where its answer goes, if one is wanted.
    pub(super) reply: Option<ReplyTo>,
    /// What must be submitted first.
    pub(super) after: Vec<Dependency>,
    /// What to do.
    pub(super) action: Action,
    /// What it is to the gate, where it needs the lease.
    pub(super) unit: Option<Unit>,
    /// Whether it copies bytes.
    pub(super) copies: bool,
}

/// What submitting a command means.
#[derive(Debug)]
pub(super) enum Action {
    /// Hand work to the device.
    Work(Work),
    /// Launch a kernel that records events.
    LaunchRecording(LaunchConfig, Vec<Arc<Version>>),
    /// Record an event.
    Record(Arc<Version>),
    /// Launch a graph.
    Graph(Box<HeldLaunch>),
    /// Wait for an event's record.
    Wait(Arc<Version>),
    /// Publish the completion mark.
    Synchronize,
    /// Destroy the stream.
    Destroy,
    /// Nothing: the command was refused, or has nothing to wait for.
    Finished(Status),
}

impl Action {
    /// The kernel that it launches.
    pub(super) const fn launch(&self) -> Option<&LaunchConfig> {
        match self {
            Self::Work(Work::Launch(launch)) | Self::LaunchRecording(launch, _) => Some(launch),
            _ => None,
        }
    }

    /// What it is to the gate: work of one kind and shape takes about as long each time.
    pub(super) fn unit(&self) -> Unit {
        let mut hasher = FxHasher::default();
        match self {
            Self::Work(Work::Launch(launch)) | Self::LaunchRecording(launch, _) => {
                (0, launch.function, launch.grid, launch.block).hash(&mut hasher);
            }
            Self::Graph(launch) => (1, launch.key()).hash(&mut hasher),
            Self::Work(Work::Copy { bytes, .. }) => (2, bytes.checked_ilog2()).hash(&mut hasher),
            Self::Work(Work::Memset { element_bytes, count, .. }) => {
                (3, (count * u64::from(*element_bytes)).checked_ilog2()).hash(&mut hasher);
            }
            _ => 4.hash(&mut hasher),
        }
        Unit { key: hasher.finish() }
    }

    /// Bytes that it copies.
    pub(super) const fn copied_bytes(&self) -> u64 {
        if let Self::Work(Work::Copy { bytes, .. }) = self { *bytes } else { 0 }
    }

    /// Whether it is a launch that may overlap the work in front of it.
    pub(super) fn is_programmatic(&self) -> bool {
        self.launch().is_some_and(LaunchConfig::is_programmatic)
    }
}

/// Something that must be submitted before a command or a job may go.
#[derive(Debug)]
pub(super) enum Dependency {
    /// A stream's command of that number.
    Submitted {
        /// Stream slot.
        stream: u32,
        /// Number of the command in its slot, from 1.
        sequence: u64,
    },
    /// An event's record.
    Recorded(Arc<Version>),
}
