use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;
use crate::Region;

const PAGE: u64 = 4096;

/// Memory of a program: page-aligned words that threads write.
fn words(pages: usize) -> &'static [AtomicU64] {
    let bytes = pages * PAGE as usize;
    let start = map_anywhere(bytes);
    // SAFETY: fresh memory, zeros, never unmapped.
    unsafe { std::slice::from_raw_parts(start.cast::<AtomicU64>(), bytes / 8) }
}

fn map_anywhere(bytes: usize) -> *mut u8 {
    // SAFETY: a new mapping.
    unsafe { map::map(ptr::null_mut(), bytes, MapFlags::empty(), Backing::Zeros) }.unwrap().as_ptr()
}

fn pages_of(words: &[AtomicU64]) -> ProgramPages {
    // SAFETY: the words stay mapped, and only threads write to them.
    unsafe { ProgramPages::new(words.as_ptr() as u64, size_of_val(words) as u64) }.unwrap()
}

fn file(bytes: u64) -> (Region, OwnedFd) {
    Region::create_shared("moved", bytes).unwrap()
}

#[test]
fn both_sides_see_what_the_other_writes_and_the_bytes_stay() {
    let words = words(3);
    words[0].store(1, Ordering::Relaxed);
    words[700].store(2, Ordering::Relaxed);
    let pages = pages_of(words);
    let (other, descriptor) = file(pages.bytes());
    let moved = Moved::new(pages, descriptor.as_fd()).unwrap();
    assert_eq!(other.atomic_u64(5_600).unwrap().load(Ordering::SeqCst), 2);
    words[1].store(3, Ordering::SeqCst);
    assert_eq!(other.atomic_u64(8).unwrap().load(Ordering::SeqCst), 3);
    other.atomic_u64(16).unwrap().store(4, Ordering::SeqCst);
    assert_eq!(words[2].load(Ordering::SeqCst), 4);
    assert!(matches!(pages.check(), Err(Unmovable::Other { .. })), "it is a file now");
    drop(moved);
    pages.check().unwrap();
    other.atomic_u64(16).unwrap().store(9, Ordering::SeqCst);
    let seen = [0, 1, 2, 700].map(|at: usize| words[at].load(Ordering::SeqCst));
    assert_eq!(seen, [1, 3, 4, 2], "private again");
}

#[test]
fn writers_lose_nothing_while_pages_come_and_go() {
    let words = words(64);
    let over = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let over = Arc::clone(&over);
            std::thread::spawn(move || {
                let mut count = 0u64;
                while !over.load(Ordering::Relaxed) {
                    // Each writer has words of its own, a few in each page.
                    for at in (writer..words.len()).step_by(131 * 3) {
                        words[at].fetch_add(1, Ordering::Relaxed);
                    }
                    count += 1;
                }
                count
            })
        })
        .collect();
    let pages = pages_of(words);
    for _ in 0..50 {
        let (_, descriptor) = file(pages.bytes());
        drop(Moved::new(pages, descriptor.as_fd()).unwrap());
    }
    over.store(true, Ordering::Relaxed);
    for (writer, thread) in writers.into_iter().enumerate() {
        let count = thread.join().unwrap();
        for at in (writer..words.len()).step_by(131 * 3) {
            assert_eq!(words[at].load(Ordering::Relaxed), count, "word {at}");
        }
    }
}

#[test]
fn what_is_no_private_memory_stays() {
    let (region, descriptor) = file(PAGE);
    // SAFETY: not moved, as the test shows.
    let shared = unsafe { ProgramPages::new(region.address(), PAGE) }.unwrap();
    assert!(matches!(Moved::new(shared, descriptor.as_fd()), Err(Unmovable::Other { .. })));
    let local = 0u8;
    // SAFETY: as above.
    let stack = unsafe { ProgramPages::new(&raw const local as u64, 1) }.unwrap();
    assert!(matches!(Moved::new(stack, descriptor.as_fd()), Err(Unmovable::Stack)));
    // SAFETY: as above.
    let nothing = unsafe { ProgramPages::new(PAGE, 1) }.unwrap();
    assert!(matches!(Moved::new(nothing, descriptor.as_fd()), Err(Unmovable::Unmapped { .. })));
    // SAFETY: only the lengths are looked at.
    let wrong = |address, bytes| unsafe { ProgramPages::new(address, bytes) };
    assert!(matches!(wrong(PAGE, 0), Err(WindowError::Empty)));
    assert!(matches!(wrong(u64::MAX, 1), Err(WindowError::TooLarge { .. })));
    assert!(matches!(wrong(1 << 63, 1), Err(WindowError::TooLarge { .. })));
    let words = words(2);
    assert!(
        matches!(Moved::new(pages_of(words), descriptor.as_fd()), Err(Unmovable::Window(_))),
        "too short"
    );
}

#[test]
fn parts_that_a_program_took_away_are_left_alone() {
    let words = words(3);
    let pages = pages_of(words);
    let (_, descriptor) = file(pages.bytes());
    words[0].store(5, Ordering::Relaxed);
    let moved = Moved::new(pages, descriptor.as_fd()).unwrap();
    let middle = words[512].as_ptr().cast::<c_void>();
    // SAFETY: memory of this test; zeros of its own take the middle page's place.
    unsafe { map::map(middle, PAGE as usize, MapFlags::FIXED, Backing::Zeros) }.unwrap();
    words[512].store(6, Ordering::Relaxed);
    words[1024].store(7, Ordering::Relaxed);
    drop(moved);
    pages.check().unwrap();
    assert_eq!([0, 512, 1024].map(|at: usize| words[at].load(Ordering::Relaxed)), [5, 6, 7]);
}

#[test]
fn a_child_of_fork_has_its_own_edges() {
    crate::fork::watch();
    let words = words(3);
    let inside = &words[1..words.len() - 1];
    let pages = pages_of(inside);
    assert_eq!((pages.start(), pages.bytes()), (words.as_ptr() as u64, 3 * PAGE));
    let (_, descriptor) = file(pages.bytes());
    words[0].store(1, Ordering::SeqCst);
    let moved = Moved::new(pages, descriptor.as_fd()).unwrap();
    in_a_child(|| {
        let seen = words[0].load(Ordering::SeqCst) == 1;
        for at in [0, 600, words.len() - 1] {
            words[at].store(9, Ordering::SeqCst);
        }
        seen
    });
    let seen = [0, 600, words.len() - 1].map(|at: usize| words[at].load(Ordering::SeqCst));
    assert_eq!(seen, [1, 9, 0], "edges are the child's own, the rest is shared");
    drop(moved);
    pages.check().unwrap();
}

#[test]
fn a_child_of_fork_does_not_wait_for_its_parents_move() {
    crate::fork::watch();
    let words = words(2);
    let pages = pages_of(words);
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let moving = guard::while_moving(pages.start(), pages.end(), || {
        // SAFETY: memory of this test.
        unsafe { protect(pages, MprotectFlags::READ) }.unwrap();
        in_a_child(|| {
            words[700].store(9, Ordering::SeqCst);
            true
        });
        // SAFETY: as above.
        unsafe { protect(pages, MprotectFlags::READ | MprotectFlags::WRITE) }.unwrap();
        Ok(())
    });
    moving.unwrap();
    assert_eq!(words[700].load(Ordering::SeqCst), 0, "private pages are the child's own");
}

/// Runs `act` in a child of `fork`, which must neither allocate nor fail, and waits for it.
fn in_a_child(act: impl FnOnce() -> bool) {
    // SAFETY: the child does what is allowed there, and ends.
    match unsafe { libc::fork() } {
        0 => {
            let done = act();
            // SAFETY: allowed at any moment.
            unsafe { libc::_exit(i32::from(!done)) }
        }
        child => {
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
            let mut status = -1;
            // SAFETY: asks about the child, into a variable of this function.
            while unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } == 0 {
                if std::time::Instant::now() > deadline {
                    // SAFETY: the child of this function, which nobody has waited for.
                    unsafe { libc::kill(child, libc::SIGKILL) };
                }
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            assert_eq!(status, 0, "how the child ended");
        }
    }
}
