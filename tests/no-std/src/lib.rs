//! Links `vgpu-proto` and `vgpu-sched` without the standard library: with it, this panic handler would be a second one
//! and the build would fail.
#![no_std]

use core::alloc::{GlobalAlloc, Layout};
use core::panic::PanicInfo;

/// An allocator that has nothing to give: the proof is in the linking, nothing runs.
struct Nothing;

// SAFETY: `alloc` may always answer null, and `dealloc` is never called with memory, because none was given.
unsafe impl GlobalAlloc for Nothing {
    unsafe fn alloc(&self, _layout: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }

    unsafe fn dealloc(&self, _memory: *mut u8, _layout: Layout) {}
}

#[global_allocator]
static ALLOCATOR: Nothing = Nothing;

#[panic_handler]
fn panic(_info: &PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

/// Names something of each crate, so that both are linked.
#[unsafe(no_mangle)]
pub extern "C" fn vgpu_no_std_proof() -> u64 {
    let ping = vgpu_proto::Op::Ping;
    let header = vgpu_proto::FrameHeader::parse([0; 32]).is_ok();
    let later = vgpu_sched::Instant::from_nanos(1).since(vgpu_sched::Instant::from_nanos(0));
    u64::from(ping.number()) + u64::from(header) + later.as_nanos()
}
