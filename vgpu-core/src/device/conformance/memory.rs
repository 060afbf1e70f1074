//! Memory: allocation, copies, memsets, frees.

use std::sync::Arc;
use std::thread;

use vgpu_proto::Status;
use vgpu_window::Region;

use super::rig::{Rig, copy, fill_words, let_it_block, wait_value, write_value};
use super::{Make, case_list};
use crate::device::{Place, Work};

case_list!(
    allocations_are_aligned_zeroed_and_apart,
    an_allocation_of_nothing_is_refused,
    copies_carry_every_byte,
    copies_of_nothing_pass,
    memsets_of_each_width,
    places_outside_memory_are_refused,
    freed_memory_is_gone,
    a_free_waits_for_queued_copies,
    memory_runs_out_and_comes_back,
    a_context_gives_its_memory_back,
    pinned_sources_are_read_when_the_stream_gets_there,
    host_regions_come_and_go,
);

fn allocations_are_aligned_zeroed_and_apart(make: &Make) {
    let rig = Rig::new(make);
    let mut ranges = Vec::new();
    for bytes in [1, 255, 256, 4096, 100_001] {
        let address = rig.alloc(bytes);
        assert_eq!(address % 256, 0);
        let read = rig.download(address, usize::try_from(bytes).expect("a small size"));
        assert!(read.iter().all(|byte| *byte == 0), "memory is zeroed");
        ranges.push((address, address + bytes));
    }
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0), "allocations do not overlap: {ranges:x?}");
}

fn an_allocation_of_nothing_is_refused(make: &Make) {
    let rig = Rig::new(make);
    let error = rig.context.memory_alloc(0).expect_err("nothing to allocate");
    assert_eq!(error.status, Status::ERROR_INVALID_VALUE);
}

fn copies_carry_every_byte(make: &Make) {
    let rig = Rig::new(make);
    for bytes in [1_usize, 3, 4097, (3 << 20) + 5] {
        let data: Vec<u8> = (0..bytes).map(|i| (i * 31 + i / 255) as u8).collect();
        let size = bytes as u64;
        let (first, second) = (rig.alloc(size + 7), rig.alloc(size + 9));
        rig.upload(first + 7, &data);
        rig.submit(rig.context.legacy_stream(), copy(second + 9, first + 7, size));
        rig.wait(rig.context.legacy_stream());
        assert!(rig.download(second + 9, bytes) == data, "{bytes} bytes came back");
        assert_eq!(rig.download(second, 9), [0; 9], "nothing before them was touched");
    }
}

fn copies_of_nothing_pass(make: &Make) {
    let rig = Rig::new(make);
    let address = rig.alloc(16);
    let stream = rig.stream();
    rig.submit(stream, copy(address, address, 0));
    rig.submit(stream, copy(0, u64::MAX, 0));
    rig.submit(stream, fill_words(0, 1, 0));
    rig.submit(stream, fill_words(address, 1, 0));
    rig.wait(stream);
    assert_eq!(rig.word(address), 0);
}

fn memsets_of_each_width(make: &Make) {
    let rig = Rig::new(make);
    let count: usize = 1_000_003;
    for (element_bytes, width) in [(1_u32, 1), (2, 2), (4, 4_usize)] {
        let address = rig.alloc((count * width + 8) as u64);
        let fill =
            Work::Memset { destination: address, value: 0xa1b2_c3d4, element_bytes, count: count as u64 };
        rig.submit(rig.context.legacy_stream(), fill);
        rig.wait(rig.context.legacy_stream());
        let read = rig.download(address, count * width + 8);
        let (set, rest) = read.split_at(count * width);
        let element = &0xa1b2_c3d4_u32.to_le_bytes()[..width];
        assert!(set.chunks_exact(width).all(|chunk| chunk == element), "{width} bytes wide");
        assert_eq!(rest, [0; 8], "nothing behind them was touched");
    }
}

fn places_outside_memory_are_refused(make: &Make) {
    let rig = Rig::new(make);
    let stream = rig.stream();
    let (a, b) = (rig.alloc(4096), rig.alloc(4096));
    let page = Arc::new(Region::anonymous(4096).expect("a page"));
    let from_region = |offset, bytes| Work::Copy {
        destination: Place::Address(a),
        source: Place::Region(Arc::clone(&page), offset),
        bytes,
    };
    let memset =
        |destination, element_bytes, count| Work::Memset { destination, value: 0, element_bytes, count };
    let refused = [
        copy(a, b + 1, 4096),
        copy(a + 4000, b, 97),
        copy(0, b, 1),
        copy(a, 0, 1),
        copy(u64::MAX, b, 1),
        copy(a, b, u64::MAX),
        from_region(1, 4096),
        from_region(u64::MAX, 1),
        from_region(0, u64::MAX),
        memset(a, 4, 1025),
        memset(a, 4, u64::MAX / 2),
        memset(a + 2, 4, 1),
        memset(a + 1, 2, 1),
        memset(a, 3, 1),
        memset(a, 0, 1),
        memset(0, 1, 1),
    ];
    for work in refused {
        let shown = format!("{work:?}");
        assert_eq!(rig.refused(stream, work), Status::ERROR_INVALID_VALUE, "{shown}");
    }
    rig.synchronize();
    assert_eq!(rig.context.sticky_error(), None);
}

fn freed_memory_is_gone(make: &Make) {
    let rig = Rig::new(make);
    let (kept, freed) = (rig.alloc(4096), rig.alloc(4096));
    rig.context.memory_free(freed).expect("it was allocated");
    assert_eq!(rig.refused(rig.stream(), copy(kept, freed, 1)), Status::ERROR_INVALID_VALUE);
    for address in [freed, kept + 1, kept - 256, 0, u64::MAX] {
        let error = rig.context.memory_free(address).expect_err("not an allocation");
        assert_eq!(error.status, Status::ERROR_INVALID_VALUE, "{address:#x}");
    }
    rig.context.memory_free(kept).expect("the other one is still there");
}

fn a_free_waits_for_queued_copies(make: &Make) {
    let rig = Rig::new(make);
    let (gate, out) = (rig.alloc(4), rig.alloc(4));
    let used = rig.alloc(4);
    rig.upload_words(used, &[41]);
    let (held, other) =
        (rig.context.stream_create(false, 0).expect("a stream"), rig.context.stream_create(false, 0));
    rig.submit(held, wait_value(gate, 1));
    rig.submit(held, copy(out, used, 4));
    thread::scope(|scope| {
        let free = scope.spawn(|| rig.context.memory_free(used));
        let_it_block();
        rig.submit(other.expect("a stream"), write_value(gate, 1));
        free.join().expect("no panic").expect("it was allocated");
    });
    rig.synchronize();
    assert_eq!(rig.word(out), 41);
}

fn memory_runs_out_and_comes_back(make: &Make) {
    let rig = Rig::new(make);
    let half = rig.device.description().memory_bytes / 2;
    for _ in 0..3 {
        let held = rig.alloc(half);
        for bytes in [half + 1, half * 4, u64::MAX] {
            let error = rig.context.memory_alloc(bytes).expect_err("more than there is");
            assert_eq!(error.status, Status::ERROR_OUT_OF_MEMORY);
        }
        assert_eq!(rig.context.sticky_error(), None, "out of memory is no fault");
        rig.context.memory_free(held).expect("it was allocated");
    }
}

fn a_context_gives_its_memory_back(make: &Make) {
    let device = make();
    let most = device.description().memory_bytes / 4 * 3;
    for _ in 0..3 {
        let rig = Rig::on(Arc::clone(&device));
        rig.alloc(most);
    }
}

fn pinned_sources_are_read_when_the_stream_gets_there(make: &Make) {
    let rig = Rig::new(make);
    let pinned = rig.pin(4096);
    let (gate, out) = (rig.alloc(4), rig.alloc(4));
    pinned.write(0, &1_u32.to_le_bytes()).expect("in range");
    let held = rig.context.stream_create(false, 0).expect("a stream");
    rig.submit(held, wait_value(gate, 1));
    rig.submit(held, copy(out, pinned.address(), 4));
    pinned.write(0, &2_u32.to_le_bytes()).expect("in range");
    let other = rig.context.stream_create(false, 0).expect("a stream");
    rig.submit(other, write_value(gate, 1));
    rig.wait(held);
    pinned.write(0, &3_u32.to_le_bytes()).expect("in range");
    assert_eq!(rig.word(out), 2);
}

fn host_regions_come_and_go(make: &Make) {
    let rig = Rig::new(make);
    let device_memory = rig.alloc(4096);
    let pinned = rig.pin(8192);
    let address = pinned.address();
    rig.submit(rig.stream(), copy(device_memory, address + 4096, 4096));
    rig.synchronize();
    assert!(rig.device.host_region_add(address, &pinned).is_err(), "it is there already");
    rig.device.host_region_remove(address).expect("it was added");
    assert!(rig.device.host_region_remove(address).is_err(), "it is gone");
    assert!(rig.device.host_region_remove(device_memory).is_err(), "that is no host region");
    assert_eq!(rig.refused(rig.stream(), copy(device_memory, address, 1)), Status::ERROR_INVALID_VALUE);
}
