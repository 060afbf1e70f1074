//! Memory that a program has already, pinned where it is.

use std::fmt;
use std::os::fd::AsFd;
use std::sync::Arc;

use vgpu_window::{Moved, ProgramPages};

use crate::addresses::{Kind, Span};
use crate::context::Context;
use crate::errors::{Error, HostFault, Misuse, Result};
use crate::memory::DevicePtr;
use crate::session::Session;
use crate::uses::{Pinned, Uses};

/// Memory of the program that kernels and copies reach at its own address, like a [`PinnedBuffer`](crate::PinnedBuffer).
///
/// The whole pages around it are pinned. They stay at their addresses with their bytes, but they are a file that the
/// host shares, until this is dropped: that waits for the copies, fills and waits that name the memory (not for kernels that
/// only know its address), and makes the pages private again.
#[derive(Clone, Debug)]
pub struct HostRegistration {
    memory: Arc<RegisteredMemory>,
}

#[derive(Debug)]
struct RegisteredMemory {
    session: Arc<Session>,
    address: u64,
    bytes: u64,
    region_id: u32,
    /// `None` only while it is dropped.
    moved: Option<Moved>,
    uses: Uses,
}

impl HostRegistration {
    pub(crate) fn new(context: &Context, pages: ProgramPages, address: u64, bytes: u64) -> Result<Self> {
        context.check()?;
        let session = context.session();
        let inside = address
            .checked_sub(pages.start())
            .is_some_and(|offset| bytes > 0 && bytes <= pages.bytes() && offset <= pages.bytes() - bytes);
        if !inside {
            return Err(Misuse::AllocationSize { bytes }.into());
        }
        let _turn = session.registering.lock();
        let (start, length) = (pages.start(), pages.bytes());
        if session.heap.touches(start, length) || session.addresses.has_pinned(start, length) {
            return Err(Misuse::AlreadyPinned { address, bytes }.into());
        }
        let stays = |cause: &dyn fmt::Display| Misuse::Unmovable { address, bytes, cause: cause.to_string() };
        // Before the host is asked: most of what cannot be moved is found here.
        pages.check().map_err(|cause| stays(&cause))?;
        let (region, descriptor) = session.link.region_add_at(pages.start(), pages.bytes())?;
        let give_back = |error: Error| {
            let _ = session.link.region_remove(region.id);
            error
        };
        if region.address != pages.start() || region.bytes != pages.bytes() {
            let fault = HostFault::Address { address: region.address, bytes: region.bytes };
            return Err(give_back(fault.into()));
        }
        let moved = Moved::new(pages, descriptor.as_fd()).map_err(|cause| give_back(stays(&cause).into()))?;
        let memory = Arc::new(RegisteredMemory {
            session: Arc::clone(session),
            address,
            bytes,
            region_id: region.id,
            moved: Some(moved),
            uses: Uses::default(),
        });
        let weak = Arc::downgrade(&memory);
        let span = Span { base: address, bytes, kind: Kind::Pinned(weak) };
        // A card's driver that chooses addresses itself may have chosen these.
        session.addresses.add(span).map_err(|_| stays(&"the device has memory at these addresses"))?;
        Ok(Self { memory })
    }

    /// The address of the first byte, the same here and in kernels.
    pub fn address(&self) -> DevicePtr {
        DevicePtr(self.memory.address)
    }

    /// Size in bytes.
    pub fn bytes(&self) -> u64 {
        self.memory.bytes
    }
}

impl Pinned for RegisteredMemory {
    fn uses(&self) -> &Uses {
        &self.uses
    }
}

impl Drop for RegisteredMemory {
    fn drop(&mut self) {
        // As for device memory: waiting for what a panicking thread queued could last for ever.
        if std::thread::panicking() {
            return;
        }
        self.uses.wait(&self.session);
        self.session.addresses.remove_dead(self.address);
        self.moved = None;
        // A session that is over has no regions to give back.
        let _ = self.session.link.region_remove(self.region_id);
    }
}
