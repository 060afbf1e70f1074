//! What every device must do, as a list of cases that any device can be mounted in.
//!
//! A case gets a way to make fresh devices, and panics where a device does not keep its promises. Kernels come as
//! PTX, the lowest form that every device takes: output of NVIDIA's compiler from this crate's `fixtures`.
//!
//! ```no_run
//! use vgpu_core::device::conformance::{cases, run};
//! use vgpu_core::device::soft::{SoftConfig, SoftDevice};
//!
//! let make = || SoftDevice::new(SoftConfig::default(), 0x7000_0000_0000).expect("settings in range") as _;
//! for case in cases() {
//!     run(&case, make);
//! }
//! ```

mod events;
mod faults;
mod graphs;
mod kernels;
mod launch;
mod legacy;
mod mapping;
mod matrices;
mod memory;
mod model;
mod modules;
mod order;
pub(in crate::device) mod rig;
mod streams;
mod words;

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use super::Device;

/// Time in which anything that must happen has happened. Far more than any case needs, so that a slow machine fails
/// none of them.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Makes a fresh device, with at least 64 MiB of memory.
pub type Make = dyn Fn() -> Arc<dyn Device> + Send + Sync;

/// One thing that a device must do.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Case {
    /// Its name: `<subject>::<promise>`.
    pub name: &'static str,
    /// Tries it, and panics where the device breaks its promise.
    pub check: fn(&Make),
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Every case.
pub fn cases() -> Vec<Case> {
    let subjects = [
        memory::CASES,
        mapping::CASES,
        words::CASES,
        streams::CASES,
        legacy::CASES,
        events::CASES,
        graphs::CASES,
        kernels::CASES,
        launch::CASES,
        matrices::CASES,
        modules::CASES,
        order::CASES,
        model::CASES,
        faults::CASES,
    ];
    subjects.concat()
}

/// Runs a case on a thread of its own.
///
/// # Panics
/// The case fails, or takes longer than [`DEADLINE`].
pub fn run<F>(case: &Case, make: F)
where
    F: Fn() -> Arc<dyn Device> + Send + Sync + 'static,
{
    let (ended, end) = channel();
    let check = case.check;
    let thread = thread::spawn(move || {
        check(&make);
        // Nobody listens any more if the deadline passed.
        let _ = ended.send(());
    });
    match end.recv_timeout(DEADLINE) {
        Ok(()) => {}
        Err(RecvTimeoutError::Timeout) => panic!("{} did not end within {DEADLINE:?}", case.name),
        Err(RecvTimeoutError::Disconnected) => panic!("{} failed: see above", case.name),
    }
    thread.join().expect("the thread told that it ended");
}

/// The cases of a module, each a function of its own.
macro_rules! case_list {
    ($($name:ident),* $(,)?) => {
        pub(super) const CASES: &[$crate::device::conformance::Case] = &[$(
            $crate::device::conformance::Case {
                name: {
                    const PATH: &str = concat!(module_path!(), "::", stringify!($name));
                    $crate::device::conformance::last_two(PATH)
                },
                check: $name,
            },
        )*];
    };
}
use case_list;

/// The last two parts of a path: `a::b::c` gives `b::c`.
const fn last_two(path: &'static str) -> &'static str {
    let bytes = path.as_bytes();
    let (mut at, mut separators) = (bytes.len(), 0);
    while at > 0 {
        if bytes[at - 1] == b':' {
            separators += 1;
            // Each separator has two colons; the third one ends the part before the last two.
            if separators == 3 {
                return path.split_at(at).1;
            }
        }
        at -= 1;
    }
    path
}
