//! Who may run, and who runs next, on a shared GPU: pure decisions in integers.
//!
//! Nothing here reads a clock, does I/O or holds a lock: time is an argument ([`Instant`]), a change is a method, and
//! each method answers with what the caller should do. [`lease`] decides who holds a GPU, [`admission`] who may begin a session,
//! [`limits`] and [`queue`] how much passes, [`watchdog`] and [`quarantine`] what becomes of work that has stopped or fails,
//! [`xid`] and [`card`] what a card's errors ask for.
//!
//! ```
//! use vgpu_sched::{Admission, TenantId};
//!
//! let mut admission = Admission::new(8, [2]);
//! let alice = TenantId(0);
//! assert!(admission.admit(alice).is_ok());
//! assert!(admission.admit(alice).is_ok());
//! assert!(admission.admit(alice).is_err(), "two sessions are this tenant's limit");
//! admission.release(alice);
//! assert!(admission.admit(alice).is_ok());
//! ```
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod admission;
pub mod bucket;
pub mod card;
pub mod deadline;
mod heap;
pub mod lease;
pub mod limits;
pub mod quarantine;
pub mod queue;
mod tag;
pub mod time;
mod tree;
pub mod watchdog;
pub mod weight;
pub mod xid;

pub use admission::{Admission, Refused, TenantId};
pub use bucket::{BadRate, Bucket, Rate};
pub use card::{CardReason, CardSigns, CardStanding, CardState, CardVerdict, Recovery};
pub use deadline::Deadline;
pub use lease::{
    Cap, Class, Decision, LeaseConfig, LeaseError, LeaseTenant, LeaseView, Leases, Place, Reason, Totals,
};
pub use limits::{Limit, Limits};
pub use quarantine::{Fault, Outcome, Quarantine, QuarantineConfig, Standing};
pub use queue::{Full, Queue, QueueBounds};
pub use time::{Duration, Instant};
pub use watchdog::{KillReason, Verdict, Watchdog, WatchdogConfig};
pub use weight::{BadShare, Share, Weight};
pub use xid::{Action, Blame, Xid};
