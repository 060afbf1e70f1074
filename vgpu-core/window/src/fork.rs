//! Whether this process is a child of `fork`: then what it shares with others is its parent's, and it must write nothing
//! there.
//!
//! A flag that a handler sets in the child, so that asking costs one load. A process that executes another program, or
//! was started by `posix_spawn`, begins anew.

use std::ffi::c_int;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

static CHILD: AtomicBool = AtomicBool::new(false);

type Handler = Option<unsafe extern "C" fn()>;

unsafe extern "C" {
    /// POSIX.1-2024, `pthread_atfork`.
    fn pthread_atfork(prepare: Handler, parent: Handler, child: Handler) -> c_int;
}

/// From here on, children of this process and theirs know it. More than once does no harm.
pub fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        unsafe extern "C" fn in_child() {
            CHILD.store(true, Ordering::Relaxed);
            crate::moved::in_child();
        }
        // SAFETY: the handler stores to an atomic and makes system calls about pages that are the child's own business, all of
        // which is allowed between `fork` and whatever follows; the C
        // library forgets it when it unloads this code. Out of memory it refuses, and children are not known then.
        let _ = unsafe { pthread_atfork(None, None, Some(in_child)) };
    });
}

/// Whether this process was forked from one that had called [`watch`].
pub fn is_child() -> bool {
    CHILD.load(Ordering::Relaxed)
}
