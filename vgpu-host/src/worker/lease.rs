//! A worker's end of its lease: the pages, and the thread that sleeps on the grant.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use vgpu_core::lease::{DemandWriter, GateConfig, GrantReader, LeaseEnd};
use vgpu_core::session::Session;
use vgpu_window::WindowError;

use crate::clock::SharedClock;
use crate::leases::Caller;

/// What the daemon handed over for it.
#[derive(Debug)]
pub(super) struct LeaseFiles {
    /// The grant page.
    pub grant: OwnedFd,
    /// The demand page.
    pub demand: OwnedFd,
    /// What the broker is called with.
    pub call: OwnedFd,
}

impl LeaseFiles {
    /// In the order in which they are handed over.
    pub(super) fn files(&self) -> [std::os::fd::BorrowedFd<'_>; 3] {
        [self.grant.as_fd(), self.demand.as_fd(), self.call.as_fd()]
    }

    /// Maps the pages.
    ///
    /// # Errors
    /// They are none.
    pub(super) fn open(self, config: GateConfig) -> Result<LeaseEnd, WindowError> {
        Ok(LeaseEnd {
            grant: Arc::new(GrantReader::map(self.grant.as_fd())?),
            demand: DemandWriter::map(self.demand.as_fd())?,
            config,
            clock: Arc::new(SharedClock),
            kick: Arc::new(Caller::new(self.call)),
        })
    }
}

/// Starts the thread that has the dispatcher look whenever the broker changed something that a sleeper must see.
pub(super) fn start(grant: &Arc<GrantReader>, session: &Arc<Session>) -> io::Result<()> {
    let (grant, session) = (Arc::clone(grant), Arc::clone(session));
    let thread = std::thread::Builder::new().name("lease".into());
    let watch = move || {
        let mut seen = grant.change();
        loop {
            // The session looks before this thread sleeps: what changed until here may have been missed.
            session.wake();
            while grant.change() == seen {
                grant.wait(seen, None);
            }
            seen = grant.change();
        }
    };
    thread.spawn(watch).map(drop)
}
