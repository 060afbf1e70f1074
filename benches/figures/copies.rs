//! Copies of 64 MiB between a guest and the software GPU, beside what the processor does without the two.

use std::cell::RefCell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use support::Host;
use vgpu_bench::guest::Guest;
use vgpu_bench::{Against, Bench, Goal, Quantity, is_asked_for};
use vgpu_client::{DeviceBuffer, PinnedBuffer};
use vgpu_proto::limits::{STAGING_BYTES, STAGING_CHUNK_BYTES};
use vgpu_window::Region;

/// Bytes of each copy: more than the caches hold.
const BYTES: usize = 64 << 20;

fn main() {
    if !is_asked_for("copies") {
        return;
    }
    let host = Host::with_alice();
    let guest = Guest::open(&host.socket("alice"));
    let device = guest.context.alloc_bytes(BYTES).expect("memory is left");
    let pinned = guest.context.pinned::<u8>(BYTES).expect("pinned memory is left");
    let mut pageable: Vec<u8> = (0..BYTES).map(|at| (at % 251) as u8).collect();
    let expected = pageable.clone();
    let mut bench = Bench::new("copies");
    compare(&mut bench, "pageable, host to device", true, || {
        guest.stream.copy_to_device(&device, &pageable).expect("the session lives");
        guest.synchronize();
    });
    compare(&mut bench, "pageable, device to host", true, || {
        guest.stream.copy_to_host(&device, &mut pageable).expect("the session lives");
    });
    assert!(pageable == expected, "the bytes that came back are others");
    pinned_both_ways(&mut bench, &guest, &device, &pinned);
    bench.finish();
}

fn pinned_both_ways(bench: &mut Bench, guest: &Guest, device: &DeviceBuffer<u8>, pinned: &PinnedBuffer<u8>) {
    pinned.write(0, &vec![1; BYTES]).expect("the buffer is as long");
    compare(bench, "pinned, host to device", false, || {
        guest.stream.copy(device, pinned, BYTES as u64).expect("the session lives");
        guest.synchronize();
    });
    compare(bench, "pinned, device to host", false, || {
        guest.stream.copy(pinned, device, BYTES as u64).expect("the session lives");
        guest.synchronize();
    });
}

/// Compares a copy with one plain copy, and a staged one with the two plain copies that it consists of, done in turn:
/// all of staging at a time, and chunk by chunk, where the second copy finds its source in cache.
fn compare(bench: &mut Bench, figure: &'static str, staged: bool, mut copy: impl FnMut()) {
    let (source, destination) = (vec![1u8; BYTES], RefCell::new(vec![2u8; BYTES]));
    let staging = RefCell::new(vec![3u8; STAGING_BYTES as usize]);
    let mut once = || timed(|| destination.borrow_mut().copy_from_slice(black_box(&source)));
    let twice = |step: u64| {
        let (mut staging, mut destination) = (staging.borrow_mut(), destination.borrow_mut());
        timed(|| in_turn(&source, &mut staging, &mut destination, step as usize))
    };
    let mut whole = || twice(STAGING_BYTES);
    let mut chunked = || twice(STAGING_CHUNK_BYTES);
    let goal = |ratio| if staged { Goal::RatioAtLeast(ratio) } else { Goal::None };
    let regions = [(); 2].map(|()| Region::anonymous(BYTES as u64).expect("memory is left"));
    // Written, because pages that were never written all are one page.
    regions[0].fill(0, &[1], BYTES as u64).expect("the region is as long");
    let mut window =
        || timed(|| regions[0].copy_to(0, &regions[1], 0, BYTES as u64).expect("the regions are as long"));
    // Once unmeasured: pages that were never touched cost more than the copy.
    window();
    let mut bases = vec![
        Against { name: "one memcpy", goal: goal(0.65), measure: &mut once },
        Against { name: "one copy of vgpu-window", goal: Goal::None, measure: &mut window },
    ];
    if staged {
        let name = "two copies in turn, 16 MiB at a time";
        bases.push(Against { name, goal: goal(1.2), measure: &mut whole });
        let name = "two copies in turn, 256 KiB at a time";
        bases.push(Against { name, goal: Goal::None, measure: &mut chunked });
    }
    let quantity = Quantity::copied(BYTES as u64);
    bench.compare(figure, (quantity, 1), &mut bases, |count| timed(|| (0..count).for_each(|_| copy())));
}

/// The two copies of a staged transfer on one thread: `step` bytes into staging, and then out of it.
fn in_turn(source: &[u8], staging: &mut [u8], destination: &mut [u8], step: usize) {
    for (at, (from, to)) in source.chunks(step).zip(destination.chunks_mut(step)).enumerate() {
        let place = at * step % staging.len();
        let part = &mut staging[place..place + from.len()];
        part.copy_from_slice(black_box(from));
        to.copy_from_slice(black_box(part));
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}
