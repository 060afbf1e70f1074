//! Per-thread state: the stack of current contexts.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use vgpu_client::Status;

use crate::context::{self, Context};
use crate::fail::{Call, Fail, INVALID_CONTEXT};
use crate::graph::capture::Mode;

/// Depth of a thread's stack. Programs push one or two; the bound keeps a loop that only pushes from growing for ever.
const STACK_DEPTH_MAX: usize = 1_024;

thread_local! {
    /// Handles; the last is current. A context on it may be gone by now.
    static STACK: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    static CAPTURE_MODE: Cell<Mode> = const { Cell::new(Mode::Global) };
}

/// Handle of the current context, 0 for none. A thread that ends has none.
pub(crate) fn handle() -> u64 {
    STACK.try_with(|stack| stack.borrow().last().copied()).ok().flatten().unwrap_or(0)
}

/// The current context.
pub(crate) fn context() -> Call<Arc<Context>> {
    let driver = crate::driver::driver()?;
    match handle() {
        0 => Err(INVALID_CONTEXT),
        handle => context::find(driver, handle).map_err(|_| Fail(Status::ERROR_CONTEXT_IS_DESTROYED)),
    }
}

/// Makes a context current in place of the one that is; 0 leaves none in its place.
pub(crate) fn set(handle: u64) {
    let _ = STACK.try_with(|stack| {
        let mut stack = stack.borrow_mut();
        stack.pop();
        if handle != 0 {
            stack.push(handle);
        }
    });
}

/// Makes a context current until it is popped.
pub(crate) fn push(handle: u64) -> Call {
    let pushed = STACK.try_with(|stack| {
        let mut stack = stack.borrow_mut();
        let room = stack.len() < STACK_DEPTH_MAX;
        if room {
            stack.push(handle);
        }
        room
    });
    if pushed == Ok(true) { Ok(()) } else { Err(Fail(Status::ERROR_OUT_OF_MEMORY)) }
}

/// Takes the current context from the stack.
pub(crate) fn pop() -> Call<u64> {
    STACK.try_with(|stack| stack.borrow_mut().pop()).ok().flatten().ok_or(INVALID_CONTEXT)
}

/// This thread's capture mode.
pub(crate) fn capture_mode() -> Mode {
    CAPTURE_MODE.try_with(Cell::get).unwrap_or(Mode::Global)
}

/// Sets this thread's capture mode and returns the one before.
pub(crate) fn exchange_capture_mode(mode: Mode) -> Mode {
    CAPTURE_MODE.try_with(|current| current.replace(mode)).unwrap_or(Mode::Global)
}
