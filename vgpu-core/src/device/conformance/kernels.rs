//! Kernels: results, launch checks, attributes.

use vgpu_proto::Status;
use vgpu_proto::control::OutputStream;

use super::rig::{
    GRID_BARRIER, PRINTF_ASSERT, Param, Rig, SCAN, TINY, VECTOR_ADD, find, launch, launch_config,
};
use super::{Make, case_list};
use crate::device::{FunctionKey, LaunchConfig, Occupancy, Work};

case_list!(
    vectors_are_added,
    kernels_of_a_stream_run_one_after_the_other,
    kernels_reach_pinned_memory,
    dynamic_shared_memory_comes_from_the_launch,
    cooperative_blocks_meet_at_the_barrier,
    cooperative_launches_must_fit,
    what_a_kernel_prints_is_heard,
    launches_out_of_range_are_refused,
    dynamic_shared_memory_is_opted_in,
    unknown_functions_are_refused,
    occupancy_follows_from_shape_and_memory,
);

fn vectors_are_added(make: &Make) {
    let rig = Rig::new(make);
    let add = rig.kernel(VECTOR_ADD, "vector_add");
    let count: u32 = 10_000;
    let bytes = u64::from(count) * 4;
    let (a, b, out) = (rig.alloc(bytes), rig.alloc(bytes), rig.alloc(bytes));
    let floats = |f: fn(u32) -> f32| (0..count).map(|i| f(i).to_bits()).collect::<Vec<_>>();
    rig.upload_words(a, &floats(|i| i as f32));
    rig.upload_words(b, &floats(|i| 0.5 * i as f32 + 1.0));
    let params = [Param::Address(a), Param::Address(b), Param::Address(out), Param::Word(count)];
    rig.submit(rig.stream(), launch(add, count.div_ceil(256), 256, &params));
    rig.synchronize();
    assert_eq!(rig.download_words(out, count as usize), floats(|i| i as f32 + (0.5 * i as f32 + 1.0)));
}

fn kernels_of_a_stream_run_one_after_the_other(make: &Make) {
    let rig = Rig::new(make);
    let increment = rig.kernel(TINY, "increment");
    let (word, stream) = (rig.alloc(4), rig.stream());
    for _ in 0..2_000 {
        rig.make_room(stream);
        rig.submit(stream, launch(increment, 1, 1, &[Param::Address(word)]));
    }
    rig.wait(stream);
    assert_eq!(rig.word(word), 2_000);
}

fn kernels_reach_pinned_memory(make: &Make) {
    let rig = Rig::new(make);
    let fill = rig.kernel(TINY, "fill");
    let pinned = rig.pin(4096);
    let params = [Param::Address(pinned.address()), Param::Word(77), Param::Word(1000)];
    rig.submit(rig.stream(), launch(fill, 8, 128, &params));
    rig.synchronize();
    let mut read = [0; 4096];
    pinned.read(0, &mut read).expect("in range");
    assert!(read[..4000].chunks_exact(4).all(|word| word == 77_u32.to_le_bytes()));
    assert_eq!(read[4000..], [0; 96]);
}

fn dynamic_shared_memory_comes_from_the_launch(make: &Make) {
    let rig = Rig::new(make);
    let module = rig.load(SCAN);
    let (scan, add) = (find(&module, "scan_blocks"), find(&module, "scan_add_offsets"));
    let (blocks, threads) = (10_u32, 64_u32);
    let count = blocks * threads - 5;
    let bytes = u64::from(count) * 4;
    let (input, out) = (rig.alloc(bytes), rig.alloc(bytes));
    let (totals, scanned) = (rig.alloc(u64::from(blocks) * 4), rig.alloc(u64::from(blocks) * 4));
    let values: Vec<u32> = (0..count).map(|i| i % 17).collect();
    rig.upload_words(input, &values);
    let stream = rig.stream();
    let run = |function, grid, params: &[Param]| {
        let config = launch_config(function, grid, threads, params);
        rig.submit(stream, Work::Launch(LaunchConfig { shared_bytes: 8 * threads, ..config }));
    };
    use Param::{Address, Word};
    run(scan, blocks, &[Address(input), Address(out), Address(totals), Word(count)]);
    run(scan, 1, &[Address(totals), Address(scanned), Address(0), Word(blocks)]);
    run(add, blocks, &[Address(out), Address(scanned), Word(count)]);
    rig.synchronize();
    let mut sum = 0;
    let expected: Vec<u32> = values
        .iter()
        .map(|value| {
            sum += value;
            sum
        })
        .collect();
    assert_eq!(rig.download_words(out, count as usize), expected);
}

/// Blocks that each device can hold at once.
const RESIDENT_BLOCKS: u32 = 16;

fn cooperative_blocks_meet_at_the_barrier(make: &Make) {
    let rig = Rig::new(make);
    let barrier = rig.kernel(GRID_BARRIER, "grid_barrier");
    let (blocks, rounds) = (RESIDENT_BLOCKS, 7_u32);
    let values = rig.alloc(u64::from(blocks) * 8);
    let mut expected: Vec<u32> = (0..blocks).collect();
    rig.upload_words(values, &expected);
    let config = launch_config(barrier, blocks, 32, &[Param::Address(values), Param::Word(rounds)]);
    rig.submit(rig.stream(), Work::Launch(LaunchConfig { cooperative: true, ..config }));
    rig.synchronize();
    for round in 0..rounds {
        let sum: u32 = expected.iter().fold(0, |sum, value| sum.wrapping_add(*value));
        expected = (0..blocks).map(|block| sum.wrapping_add(block).wrapping_add(round)).collect();
    }
    let half = u64::from(rounds % 2 * blocks * 4);
    assert_eq!(rig.download_words(values + half, blocks as usize), expected);
}

fn cooperative_launches_must_fit(make: &Make) {
    let rig = Rig::new(make);
    let device = rig.device.description();
    let most = device.blocks_per_multiprocessor_max * device.multiprocessor_count;
    let empty = rig.kernel(TINY, "empty");
    let config = LaunchConfig { cooperative: true, ..launch_config(empty, most + 1, 1, &[]) };
    let status = rig.refused(rig.stream(), Work::Launch(config));
    assert_eq!(status, Status::ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
    rig.submit(rig.stream(), launch(empty, most + 1, 1, &[]));
    rig.synchronize();
}

fn what_a_kernel_prints_is_heard(make: &Make) {
    let rig = Rig::new(make);
    let print = rig.kernel(PRINTF_ASSERT, "print_plain");
    rig.submit(rig.stream(), launch(print, 2, 2, &[]));
    rig.synchronize();
    assert_eq!(rig.ears.output(OutputStream::Stdout), "no arguments\n".repeat(4));
}

fn launches_out_of_range_are_refused(make: &Make) {
    let rig = Rig::new(make);
    let stream = rig.stream();
    let fill = rig.kernel(TINY, "fill");
    let word = rig.alloc(4);
    let good = launch_config(fill, 1, 1, &[Param::Address(word), Param::Word(1), Param::Word(1)]);
    let bad = |change: fn(&mut LaunchConfig)| {
        let mut config = good.clone();
        change(&mut config);
        rig.refused(stream, Work::Launch(config))
    };
    for status in [
        bad(|config| config.grid[0] = 0),
        bad(|config| config.grid[1] = 65_536),
        bad(|config| config.grid[2] = 65_536),
        bad(|config| config.grid[0] = u32::MAX),
        bad(|config| config.block[1] = 0),
        bad(|config| config.block[0] = 1_025),
        bad(|config| config.block[2] = 65),
        bad(|config| config.block = [1_024, 2, 1]),
        bad(|config| config.block = [1_024, 1_024, 64]),
        bad(|config| config.shared_bytes = (48 << 10) + 1),
        bad(|config| config.shared_bytes = u32::MAX),
        bad(|config| config.params = [].into()),
        bad(|config| config.params = vec![0; 17].into()),
    ] {
        assert_eq!(status, Status::ERROR_INVALID_VALUE);
    }
    rig.submit(stream, Work::Launch(good));
    rig.synchronize();
    assert_eq!(rig.word(word), 1);
}

/// `CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES`.
const MAX_DYNAMIC_SHARED: u32 = 8;

fn dynamic_shared_memory_is_opted_in(make: &Make) {
    let rig = Rig::new(make);
    let stream = rig.stream();
    let empty = rig.kernel(TINY, "empty");
    let most = rig.device.description().shared_bytes_per_block_optin_max;
    let config = LaunchConfig { shared_bytes: most, ..launch_config(empty, 1, 1, &[]) };
    assert_eq!(rig.refused(stream, Work::Launch(config.clone())), Status::ERROR_INVALID_VALUE);
    let set = |attribute, value| rig.context.function_set_attribute(empty, attribute, value);
    let most = i32::try_from(most).expect("some KiB");
    for value in [-1, most + 1, i32::MAX] {
        let error = set(MAX_DYNAMIC_SHARED, value).expect_err("out of range");
        assert_eq!(error.status, Status::ERROR_INVALID_VALUE, "{value}");
    }
    set(MAX_DYNAMIC_SHARED, most).expect("in range");
    rig.submit(stream, Work::Launch(config));
    rig.synchronize();
    let error = set(0, 1).expect_err("that attribute is read only");
    assert!(matches!(error.status, Status::ERROR_INVALID_VALUE | Status::ERROR_NOT_SUPPORTED));
}

fn unknown_functions_are_refused(make: &Make) {
    let device = make();
    let (rig, other) = (Rig::on(device.clone()), Rig::on(device));
    let foreign = other.kernel(TINY, "empty");
    let module = rig.load(TINY);
    let gone = find(&module, "empty");
    rig.context.module_unload(module.module);
    for function in [foreign, gone, FunctionKey(u64::MAX)] {
        assert_eq!(rig.refused(rig.stream(), launch(function, 1, 1, &[])), Status::ERROR_INVALID_HANDLE);
        let error = rig.context.function_set_attribute(function, MAX_DYNAMIC_SHARED, 0);
        assert_eq!(error.expect_err("no such function").status, Status::ERROR_INVALID_HANDLE);
    }
}

fn occupancy_follows_from_shape_and_memory(make: &Make) {
    let rig = Rig::new(make);
    let device = rig.device.description().clone();
    let empty = rig.kernel(TINY, "empty");
    let ask = |query: &Occupancy| rig.context.occupancy(empty, query);
    let blocks = |threads, dynamic_shared_bytes| {
        ask(&Occupancy::ActiveBlocks { threads, dynamic_shared_bytes, flags: 0 })
            .expect("a shape of launches")
    };
    assert_eq!(blocks(device.warp_size, 0), u64::from(device.blocks_per_multiprocessor_max));
    assert_eq!(blocks(1_024, 0), u64::from(device.threads_per_multiprocessor_max / 1_024));
    let two = u64::from(device.shared_bytes_per_multiprocessor / 2);
    assert!(blocks(1_024, 0) > blocks(1_024, two), "half of the memory, and what the system takes");
    let each = ask(&Occupancy::DynamicShared { blocks: 1, threads: 32 }).expect("one block fits");
    assert!(each >= u64::from(device.shared_bytes_per_block_max), "{each}");
    // So many never fit: drivers say so in one of two ways.
    match ask(&Occupancy::DynamicShared { blocks: 10_000, threads: 32 }) {
        Ok(bytes) => assert_eq!(bytes, 0),
        Err(error) => assert_eq!(error.status, Status::ERROR_INVALID_VALUE),
    }
    let unknown = rig.context.occupancy(
        FunctionKey(u64::MAX),
        &Occupancy::ActiveBlocks { threads: 1, dynamic_shared_bytes: 0, flags: 0 },
    );
    assert_eq!(unknown.expect_err("no such function").status, Status::ERROR_INVALID_HANDLE);
}
