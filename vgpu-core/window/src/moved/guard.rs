//! Threads that write to pages on the move wait, in a handler of `SIGSEGV`, until the move is over.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use crate::{WindowError, futex};

/// Moves that are remembered after they ended. A thread may have been stopped between its fault and the handler, and
/// gets there when the move is over; it is unlikely that so many others have come and gone meanwhile.
const PAST_MOVES: usize = 256;

/// Faults that may come late for one move: more than a process has threads. Beyond, the program itself has protected what
/// was moved, and the fault is its own.
const LATE_FAULTS_MAX: u32 = 1 << 16;

const IDLE: u32 = 0;
const MOVING: u32 = 1;
const OVER: u32 = 2;

/// A move. All fields are atomics, as the handler reads them at any moment.
struct Slot {
    start: AtomicU64,
    end: AtomicU64,
    state: AtomicU32,
    late: AtomicU32,
}

#[expect(clippy::declare_interior_mutable_const, reason = "the start value of each element of one static")]
const EMPTY: Slot = Slot {
    start: AtomicU64::new(0),
    end: AtomicU64::new(0),
    state: AtomicU32::new(IDLE),
    late: AtomicU32::new(0),
};

static SLOTS: [Slot; PAST_MOVES] = [EMPTY; PAST_MOVES];
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// The thread that moves, or 0. It must not wait for itself.
static MOVER: AtomicI32 = AtomicI32::new(0);

/// The handler that was there before ours, and its flags.
static EARLIER: AtomicUsize = AtomicUsize::new(libc::SIG_DFL);
static EARLIER_FLAGS: AtomicI32 = AtomicI32::new(0);

/// The fault that was given to it last, by the addresses of its description and of a variable of [`pass_on`]: both lie on
/// the stack of the thread that met it.
static GIVEN: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];

/// Runs `replace`, which protects the pages of `start..end` against writing and replaces them. The caller makes sure that
/// there is one move at a time.
pub(super) fn while_moving(
    start: u64,
    end: u64,
    replace: impl FnOnce() -> Result<(), WindowError>,
) -> Result<(), WindowError> {
    install()?;
    // A signal that comes to this thread meanwhile could run code that writes to the pages, and wait for itself.
    let blocked = Blocked::all();
    let slot = &SLOTS[NEXT.fetch_add(1, Ordering::Relaxed) % PAST_MOVES];
    // Not to be taken for the earlier move of this slot, half overwritten.
    slot.state.store(IDLE, Ordering::SeqCst);
    slot.start.store(start, Ordering::SeqCst);
    slot.end.store(end, Ordering::SeqCst);
    slot.late.store(0, Ordering::SeqCst);
    MOVER.store(this_thread(), Ordering::SeqCst);
    slot.state.store(MOVING, Ordering::SeqCst);
    let outcome = replace();
    slot.state.store(OVER, Ordering::SeqCst);
    MOVER.store(0, Ordering::SeqCst);
    futex::wake_all(&slot.state);
    drop(blocked);
    outcome
}

/// In a child of `fork`: ends the move that a thread of the parent was at, which is not there to end it. `unprotect` lets the
/// pages of `start..end` be written again; they hold the same bytes before and after they are replaced.
pub(super) fn abandon(unprotect: impl Fn(u64, u64)) {
    for slot in SLOTS.iter().filter(|slot| slot.state.load(Ordering::SeqCst) == MOVING) {
        unprotect(slot.start.load(Ordering::SeqCst), slot.end.load(Ordering::SeqCst));
        slot.state.store(OVER, Ordering::SeqCst);
    }
    MOVER.store(0, Ordering::SeqCst);
}

fn this_thread() -> i32 {
    rustix::thread::gettid().as_raw_nonzero().get()
}

/// Makes ours the handler, if it is not: a program may have set its own since.
fn install() -> Result<(), WindowError> {
    let mut current = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: only asks, into a structure of that type.
    let asked = unsafe { libc::sigaction(libc::SIGSEGV, ptr::null(), current.as_mut_ptr()) };
    // SAFETY: all zeros are a value of the structure, which the kernel has filled in.
    let current = unsafe { current.assume_init() };
    let ours = handle as *const () as usize;
    if asked == 0 && current.sa_sigaction == ours {
        return Ok(());
    }
    EARLIER_FLAGS.store(current.sa_flags, Ordering::SeqCst);
    EARLIER.store(current.sa_sigaction, Ordering::SeqCst);
    let mut new = current;
    new.sa_sigaction = ours;
    new.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: the handler does nothing but what may be done in one: atomics, and system calls that leave `errno` alone.
    let set = unsafe { libc::sigaction(libc::SIGSEGV, &raw const new, ptr::null_mut()) };
    if asked == 0 && set == 0 {
        Ok(())
    } else {
        Err(WindowError::Os { call: "sigaction", source: std::io::Error::last_os_error() })
    }
}

/// The handler. A write to pages on the move, or that were on the move when it happened, is done again when they are there.
extern "C" fn handle(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a valid structure.
    let described = unsafe { &*info };
    let code = described.si_code;
    // SAFETY: a fault's description has an address.
    let address = unsafe { described.si_addr() };
    // A signal that another process or thread sent has no address of a fault; its code is 0 or below.
    if code > 0 && is_waited_out(address as u64) {
        return;
    }
    pass_on(signal, info, context);
}

/// Waits for the move that `address` is part of; false where it is part of none.
fn is_waited_out(address: u64) -> bool {
    let held = |slot: &&Slot| {
        slot.state.load(Ordering::SeqCst) != IDLE
            && (slot.start.load(Ordering::SeqCst)..slot.end.load(Ordering::SeqCst)).contains(&address)
    };
    if let Some(slot) = SLOTS.iter().filter(held).find(|slot| slot.state.load(Ordering::SeqCst) == MOVING) {
        if MOVER.load(Ordering::SeqCst) == this_thread() {
            return false;
        }
        while slot.state.load(Ordering::SeqCst) == MOVING {
            futex::wait(&slot.state, MOVING, None);
        }
        return true;
    }
    let past = SLOTS.iter().find(held);
    past.is_some_and(|slot| slot.late.fetch_add(1, Ordering::SeqCst) < LATE_FAULTS_MAX)
}

/// Does with a fault that is none of ours what would be done without this handler.
fn pass_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let earlier = EARLIER.load(Ordering::SeqCst);
    let here = 0u8;
    let here = &raw const here as usize;
    // A handler may give what it cannot do to the one that was there before it, and that may be ours: then we are deeper in
    // the stack than when we gave it the same fault. A handler that leaves by `longjmp` brings the next fault to the
    // same place, not deeper.
    let comes_back =
        GIVEN[0].load(Ordering::SeqCst) == info as usize && here < GIVEN[1].load(Ordering::SeqCst);
    if earlier == libc::SIG_DFL || earlier == libc::SIG_IGN || comes_back {
        return give_up(signal, info);
    }
    GIVEN[0].store(info as usize, Ordering::SeqCst);
    GIVEN[1].store(here, Ordering::SeqCst);
    if EARLIER_FLAGS.load(Ordering::SeqCst) & libc::SA_SIGINFO != 0 {
        type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
        // SAFETY: the program set it as a handler with these arguments.
        let handler = unsafe { std::mem::transmute::<usize, Handler>(earlier) };
        handler(signal, info, context);
    } else {
        // SAFETY: the program set it as a handler with this argument.
        let handler = unsafe { std::mem::transmute::<usize, extern "C" fn(c_int)>(earlier) };
        handler(signal);
    }
}

/// Lets the fault end the process: it happens again when the handler returns. A signal that was sent is sent again.
fn give_up(signal: c_int, info: *mut libc::siginfo_t) {
    // SAFETY: allowed in a handler.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    // SAFETY: the kernel's description of the signal.
    let code = unsafe { (*info).si_code };
    if code <= 0 {
        // SAFETY: allowed in a handler. The signal is blocked until this one returns.
        unsafe { libc::raise(signal) };
    }
}

/// Signals of this thread, held back until this is dropped; but not those of faults, which cannot wait.
struct Blocked(libc::sigset_t);

impl Blocked {
    fn all() -> Self {
        let mut all = MaybeUninit::<libc::sigset_t>::zeroed();
        let mut before = MaybeUninit::<libc::sigset_t>::zeroed();
        // SAFETY: fills the set.
        unsafe { libc::sigfillset(all.as_mut_ptr()) };
        for fault in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE] {
            // SAFETY: the set was filled.
            unsafe { libc::sigdelset(all.as_mut_ptr(), fault) };
        }
        // SAFETY: both are sets of this function.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
        // SAFETY: all zeros are an empty set, and the call has filled it in.
        Self(unsafe { before.assume_init() })
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: the mask that this thread had.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, ptr::null_mut()) };
    }
}

/// Whether `start..end` has bytes of this thread's stack, thread-local variables included. Says yes where it cannot tell.
pub(super) fn is_own_stack(start: u64, end: u64) -> bool {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::zeroed();
    // SAFETY: always allowed.
    let this = unsafe { libc::pthread_self() };
    // SAFETY: asks about the calling thread, into a structure of that type.
    let asked = unsafe { libc::pthread_getattr_np(this, attributes.as_mut_ptr()) };
    if asked != 0 {
        return true;
    }
    let (mut stack, mut bytes) = (ptr::null_mut::<c_void>(), 0usize);
    // SAFETY: the attributes were filled in.
    let told = unsafe { libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut stack, &raw mut bytes) };
    // SAFETY: as above, and they are not used again.
    unsafe { libc::pthread_attr_destroy(attributes.as_mut_ptr()) };
    told != 0 || ((stack as u64) < end && stack as u64 + bytes as u64 > start)
}
