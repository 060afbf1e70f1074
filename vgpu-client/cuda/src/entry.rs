//! The edge: every C function of the library passes here.

use std::fmt::{self, Debug};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use vgpu_client::{Ended, Status};

use crate::exports::Id;
use crate::fail::{Call, Fail};
use crate::log;

/// Makes C functions from calls of the driver API. Each name must stand in [`crate::exports`] as `bound`.
///
/// The functions are safe: their pointer arguments are the types of [`crate::pointers`], which only C callers can make.
macro_rules! driver_calls {
    ($($(#[$attribute:meta])* fn $name:ident($($argument:ident: $type:ty),* $(,)?) $body:block)*) => {
        $(
            $(#[$attribute])*
            #[unsafe(no_mangle)]
            pub(crate) extern "C" fn $name($($argument: $type),*) -> u32 {
                let arguments: &[&dyn std::fmt::Debug] = &[$(&$argument),*];
                $crate::entry::enter($crate::exports::Id::$name, arguments, move || $body)
            }

            #[cfg(test)]
            impl $crate::exports::wheels::Signature
                for $crate::exports::wheels::Arguments<{ $crate::exports::Id::$name as usize }>
            {
                fn sizes() -> Vec<[usize; 2]> {
                    vec![$($crate::exports::wheels::sizes::<$type>()),*]
                }
            }
        )*
    };
}

/// Runs a call: counts it, stops panics, and turns its outcome into a `CUresult`.
pub(crate) fn enter(id: Id, arguments: &[&dyn Debug], call: impl FnOnce() -> Call) -> u32 {
    crate::exports::count(id);
    if log::is_debug() {
        // Written before the call: one that waits for ever, or ends the process, is seen too.
        log::write(format_args!("{}({})", id.name(), Arguments(arguments)));
    }
    let status = match refusal() {
        Some(status) if needs_driver(id) => status,
        _ => shield(call),
    };
    if log::is_debug() && status != Status::SUCCESS {
        log::write(format_args!("{} = {}", id.name(), Number(status)));
    }
    status.0
}

/// Whether the process is on its way out.
static ENDING: AtomicBool = AtomicBool::new(false);

/// From now on the driver is shut down, as the real one is once a process runs its exit handlers: what destructors of
/// libraries still call must not wait for a kernel that never ends.
pub(crate) fn end() {
    ENDING.store(true, Ordering::Relaxed);
}

/// What every call that needs the driver answers, if the process can have none.
fn refusal() -> Option<Status> {
    if vgpu_client::is_forked() {
        log::once(&Ended::Forked);
        return Some(Status::ERROR_NOT_INITIALIZED);
    }
    ENDING.load(Ordering::Relaxed).then_some(DEINITIALIZED)
}

/// `CUDA_ERROR_DEINITIALIZED`.
const DEINITIALIZED: Status = Status(4);

/// Whether a call is one that a child of `fork` cannot make. Those that can do not even look at a lock, which a thread may
/// have held that is not in the child; all others answer before they do, as natively.
const fn needs_driver(id: Id) -> bool {
    !matches!(
        id,
        Id::cuDriverGetVersion
            | Id::cuGetErrorName
            | Id::cuGetErrorString
            | Id::cuGetExportTable
            | Id::cuGetProcAddress
            | Id::cuGetProcAddress_v2
    )
}

/// Runs `call` so that no panic unwinds into a C caller, where it would end the process.
pub(crate) fn shield(call: impl FnOnce() -> Call) -> Status {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(())) => Status::SUCCESS,
        Ok(Err(Fail(status))) => status,
        // The panic's own message is on standard error already.
        Err(_) => Status::ERROR_UNKNOWN,
    }
}

/// [`shield`] for a call that needs the driver, where the process can have one.
pub(crate) fn shield_driver(call: impl FnOnce() -> Call) -> Status {
    refusal().unwrap_or_else(|| shield(call))
}

/// A call of a function that is not implemented.
pub(crate) fn unsupported(id: Id) -> u32 {
    if crate::exports::count(id) == 0 {
        log::write(format_args!("{} is not supported; see docs/compatibility.md", id.name()));
    }
    Status::ERROR_NOT_SUPPORTED.0
}

struct Arguments<'a>(&'a [&'a dyn Debug]);

impl fmt::Display for Arguments<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, argument) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(", ")?;
            }
            argument.fmt(f)?;
        }
        Ok(())
    }
}

/// A status with its number in front: the guest library names the errors that a host answers, not all of CUDA's.
struct Number(Status);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0.0, self.0.name())
    }
}
