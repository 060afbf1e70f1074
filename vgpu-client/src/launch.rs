//! Launching kernels: every check that the guest can make, then one frame.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use vgpu_proto::limits::LAUNCH_ATTRIBUTES_MAX;
use vgpu_proto::{LaunchAttribute, body};

use crate::args::{KernelArg, Packer};
use crate::errors::{Misuse, Result};
use crate::event::Event;
use crate::function::Function;
use crate::heap::PinnedAllocation;
use crate::stream::Stream;
use crate::uses::Pinned;

/// The shape of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by literal, with defaults")]
pub struct LaunchConfig {
    /// Blocks of the grid in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y, z.
    pub block: [u32; 3],
    /// Dynamic shared memory of a block, in bytes.
    pub shared_bytes: u32,
    /// Whether all blocks must be resident at once, so that they can wait for one another.
    pub cooperative: bool,
}

impl Default for LaunchConfig {
    /// One block of one thread.
    fn default() -> Self {
        Self { grid: [1; 3], block: [1; 3], shared_bytes: 0, cooperative: false }
    }
}

impl LaunchConfig {
    /// As many blocks of `block` threads as `threads` threads need, in one dimension; at least one block.
    pub const fn linear(threads: u32, block: u32) -> Self {
        let block_or_one = if block == 0 { 1 } else { block };
        let blocks = threads.div_ceil(block_or_one);
        let blocks = if blocks == 0 { 1 } else { blocks };
        Self { grid: [blocks, 1, 1], block: [block, 1, 1], shared_bytes: 0, cooperative: false }
    }

    /// The same with dynamic shared memory.
    #[must_use]
    pub const fn with_shared_bytes(self, shared_bytes: u32) -> Self {
        Self { shared_bytes, ..self }
    }
}

/// A launch, its arguments and attributes not read yet.
#[derive(Clone, Copy)]
struct Launch<'a> {
    function: &'a Function,
    config: &'a LaunchConfig,
    attributes: &'a [LaunchAttribute<&'a Event>],
    args: &'a [&'a dyn KernelArg],
}

/// What a thread fills for each launch, kept to save the allocations.
#[derive(Debug, Default)]
struct Scratch {
    block: Vec<u8>,
    pinned: Vec<Arc<PinnedAllocation>>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Stream {
    /// Launches a kernel with [`args!`](crate::args). Returns once it is queued; the first launch of each kernel
    /// waits until the host has submitted it, as that may fail for memory.
    ///
    /// # Errors
    /// One of the checks of [`Misuse`] (dimensions, shared memory, arguments, [`Misuse::Foreign`]); what the host
    /// answers to the first launch; or what [`Stream::synchronize`] reports.
    pub fn launch(&self, function: &Function, config: LaunchConfig, args: &[&dyn KernelArg]) -> Result<()> {
        self.launch_with(function, config, &[], args)
    }

    /// As [`Stream::launch`], with attributes (`cuLaunchKernelEx`): clusters, programmatic order, cache policies. Events
    /// that they name are complete, for this library, when the kernel is.
    ///
    /// # Errors
    /// As [`Stream::launch`]; [`Misuse::LaunchAttributes`]; `NOT_SUPPORTED` where the device lacks what an attribute asks
    /// for.
    pub fn launch_with(
        &self,
        function: &Function,
        config: LaunchConfig,
        attributes: &[LaunchAttribute<&Event>],
        args: &[&dyn KernelArg],
    ) -> Result<()> {
        self.context().check()?;
        self.context().is_same(function.context(), "function")?;
        function.check_shape(&config)?;
        self.check_attributes(attributes)?;
        if attributes.iter().any(LaunchAttribute::is_programmatic) {
            self.note_programmatic();
        }
        let launch = Launch { function, config: &config, attributes, args };
        let sent = SCRATCH.try_with(|scratch| {
            let mut scratch = scratch.try_borrow_mut().ok()?;
            let sent = self.pack_and_send(&launch, &mut scratch);
            // After a failure too: what stays here would keep memory and session alive until the next launch.
            scratch.pinned.clear();
            Some(sent)
        });
        match sent {
            Ok(Some(sent)) => sent,
            // An argument's `pack` launches by itself, or the thread is at its end.
            _ => self.pack_and_send(&launch, &mut Scratch::default()),
        }?;
        self.settle()
    }

    fn pack_and_send(&self, launch: &Launch<'_>, scratch: &mut Scratch) -> Result<()> {
        let Launch { function, config, attributes, args } = *launch;
        let data = function.data();
        let Scratch { block, pinned } = scratch;
        let mut packer = Packer::new(self.session(), &data.description.params, block, pinned);
        for arg in args {
            arg.pack(&mut packer);
        }
        packer.finish()?;
        let params_bytes = block.len();
        for attribute in attributes {
            let named = attribute.try_map_event(|event| Ok::<_, Misuse>(event.id()))?;
            named.encode(block);
        }
        let attribute_bytes =
            u32::try_from(block.len() - params_bytes).expect("attributes are bounded by their limit");
        let body = body::LaunchKernel {
            function: data.id.raw().into(),
            grid: config.grid.map(Into::into),
            block: config.block.map(Into::into),
            shared_bytes: config.shared_bytes.into(),
            flags: if config.cooperative { body::LAUNCH_COOPERATIVE } else { 0 }.into(),
            attribute_bytes: attribute_bytes.into(),
            reserved: 0.into(),
        };
        let session = self.session();
        let ticket = if data.launched.load(Ordering::Relaxed) {
            session.send(self.id().raw(), None, &body, block)?
        } else {
            let ticket = session.call_ordered(self.id().raw(), &body, block)?;
            data.launched.store(true, Ordering::Relaxed);
            ticket
        };
        for event in attributes.iter().filter_map(LaunchAttribute::event) {
            event.recorded_by(ticket);
        }
        for allocation in pinned.drain(..) {
            allocation.uses().note(ticket);
        }
        Ok(())
    }

    fn check_attributes(&self, attributes: &[LaunchAttribute<&Event>]) -> Result<()> {
        if attributes.len() > LAUNCH_ATTRIBUTES_MAX {
            return Err(
                Misuse::LaunchAttributes { count: attributes.len(), max: LAUNCH_ATTRIBUTES_MAX }.into()
            );
        }
        for event in attributes.iter().filter_map(LaunchAttribute::event) {
            self.context().is_same(event.context(), "event")?;
        }
        Ok(())
    }
}

impl Function {
    /// Checks the shape of a launch, as [`Stream::launch`] does.
    ///
    /// # Errors
    /// The checks of [`Misuse`] for dimensions and shared memory.
    pub fn check_shape(&self, config: &LaunchConfig) -> Result<()> {
        let device = &self.context().session().device;
        for (at, axis) in ['x', 'y', 'z'].into_iter().enumerate() {
            let (value, max) = (config.grid[at], device.grid_dim_max[at]);
            if value == 0 || value > max {
                return Err(Misuse::Grid { axis, value, max }.into());
            }
            let (value, max) = (config.block[at], device.block_dim_max[at]);
            if value == 0 || value > max {
                return Err(Misuse::Block { axis, value, max }.into());
            }
        }
        let threads =
            config.block.iter().fold(1, |all: u64, threads| all.saturating_mul(u64::from(*threads)));
        let max = device.threads_per_block_max;
        if threads > u64::from(max) {
            return Err(Misuse::BlockThreads { threads, max }.into());
        }
        let data = self.data();
        let max = data.description.threads_per_block_max;
        if threads > u64::from(max) {
            return Err(Misuse::FunctionThreads { threads, max }.into());
        }
        let max = data.dynamic_shared_bytes_max.load(Ordering::Relaxed);
        if config.shared_bytes > max {
            return Err(Misuse::SharedBytes { bytes: config.shared_bytes, max }.into());
        }
        Ok(())
    }
}
