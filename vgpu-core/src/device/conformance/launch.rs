//! What kernels are launched with: attributes, limits of their context, tensor maps.

use vgpu_proto::attribute::AccessPolicyWindow;
use vgpu_proto::{LaunchAttribute, Status};

use super::rig::{Param, Rig, TINY, launch_config};
use super::{Make, case_list};
use crate::device::{EventKey, LaunchConfig, TensorMap, TensorMapKind, Work};

case_list!(
    attributes_that_advise_change_no_result,
    kernels_that_may_overlap_all_run,
    a_launch_records_its_events,
    clusters_are_there_from_compute_capability_9,
    launches_that_name_no_event_are_refused,
    limits_are_read_and_set,
    tensor_maps_are_encoded_where_kernels_have_them,
);

/// Compute capability, major, from which on cards have clusters (CUDA C++ Programming Guide, "Thread Block Clusters").
const CLUSTERS_SINCE: u32 = 9;

/// `CU_DEVICE_ATTRIBUTE_TENSOR_MAP_ACCESS_SUPPORTED`.
const TENSOR_MAP_ACCESS: u32 = 127;

fn attributes_that_advise_change_no_result(make: &Make) {
    let rig = Rig::new(make);
    let increment = rig.kernel(TINY, "increment");
    let (word, stream) = (rig.alloc(4), rig.stream());
    let attributes = vec![
        LaunchAttribute::ProgrammaticStreamSerialization(false),
        LaunchAttribute::Priority(-1),
        LaunchAttribute::PreferredSharedMemoryCarveout(50),
        LaunchAttribute::MemSyncDomain(0),
    ];
    for _ in 0..1_000 {
        rig.make_room(stream);
        let config = launch_config(increment, 1, 1, &[Param::Address(word)]);
        rig.submit(stream, Work::Launch(LaunchConfig { attributes: attributes.clone(), ..config }));
    }
    rig.wait(stream);
    assert_eq!(rig.word(word), 1_000, "kernels that do not ask to overlap do not");
}

fn kernels_that_may_overlap_all_run(make: &Make) {
    let rig = Rig::new(make);
    // A kernel that touches memory would have to wait for the one in front of it by itself.
    let empty = rig.kernel(TINY, "empty");
    let stream = rig.stream();
    for _ in 0..2_000 {
        rig.make_room(stream);
        let attributes = vec![LaunchAttribute::ProgrammaticStreamSerialization(true)];
        rig.submit(stream, Work::Launch(LaunchConfig { attributes, ..launch_config(empty, 1, 32, &[]) }));
    }
    rig.wait(stream);
    rig.synchronize();
    assert_eq!(rig.context.stream_pending(stream), 0);
}

fn a_launch_records_its_events(make: &Make) {
    let rig = Rig::new(make);
    let fill = rig.kernel(TINY, "fill");
    let word = rig.alloc(4);
    let event = rig.context.event_create(false).expect("an event");
    let params = [Param::Address(word), Param::Word(7), Param::Word(1)];
    let attributes = vec![LaunchAttribute::LaunchCompletionEvent { event, flags: 0 }];
    let config = LaunchConfig { attributes, ..launch_config(fill, 1, 1, &params) };
    let stream = rig.stream();
    rig.submit(stream, Work::Launch(config));
    rig.context.event_synchronize(event).expect("it comes");
    // The event tells that the kernel has started, so its result is waited for.
    rig.wait(stream);
    assert_eq!(rig.word(word), 7);
}

fn clusters_are_there_from_compute_capability_9(make: &Make) {
    let rig = Rig::new(make);
    let empty = rig.kernel(TINY, "empty");
    let launch = |size| {
        let attributes = vec![LaunchAttribute::ClusterDimension(size)];
        Work::Launch(LaunchConfig { attributes, ..launch_config(empty, 4, 32, &[]) })
    };
    if rig.device.description().compute_major >= CLUSTERS_SINCE {
        rig.submit(rig.stream(), launch([2, 1, 1]));
        rig.synchronize();
    } else {
        assert_eq!(rig.refused(rig.stream(), launch([2, 1, 1])), Status::ERROR_NOT_SUPPORTED);
    }
}

fn launches_that_name_no_event_are_refused(make: &Make) {
    let rig = Rig::new(make);
    let empty = rig.kernel(TINY, "empty");
    let refused = |attribute| {
        let attributes = vec![attribute];
        rig.refused(
            rig.stream(),
            Work::Launch(LaunchConfig { attributes, ..launch_config(empty, 1, 1, &[]) }),
        )
    };
    let event = EventKey(u64::MAX);
    let attribute = LaunchAttribute::LaunchCompletionEvent { event, flags: 0 };
    assert_eq!(refused(attribute), Status::ERROR_INVALID_HANDLE);
    let window = AccessPolicyWindow { base: 8, bytes: 64, hit_ratio_bits: 0, hit: 0, miss: 0 };
    assert!(!refused(LaunchAttribute::AccessPolicyWindow(window)).is_success(), "no memory lies there");
    rig.submit(rig.stream(), Work::Launch(launch_config(empty, 1, 1, &[])));
    rig.synchronize();
}

fn limits_are_read_and_set(make: &Make) {
    let rig = Rig::new(make);
    // Stack of a thread, printf buffer, heap.
    for limit in 0..3 {
        assert!(rig.context.limit(limit).expect("each device has it") > 0);
    }
    let stack = rig.context.limit(0).expect("as before");
    assert_eq!(rig.context.set_limit(0, stack + 512).expect("in range"), stack + 512);
    assert_eq!(rig.context.limit(0).expect("as before"), stack + 512);
    let error = rig.context.set_limit(0, 1 << 30).expect_err("more than a thread has");
    assert_eq!(error.status, Status::ERROR_INVALID_VALUE);
    assert_eq!(rig.context.limit(77).expect_err("no such limit").status, Status::ERROR_UNSUPPORTED_LIMIT);
    rig.context.reset_persisting_l2().expect("nothing is kept");
    let empty = rig.kernel(TINY, "empty");
    rig.submit(rig.stream(), Work::Launch(launch_config(empty, 1, 1, &[])));
    rig.synchronize();
}

fn tensor_maps_are_encoded_where_kernels_have_them(make: &Make) {
    let rig = Rig::new(make);
    let map = |address| TensorMap {
        address,
        kind: TensorMapKind::Tiled([32, 8, 0, 0, 0]),
        // CU_TENSOR_MAP_DATA_TYPE_FLOAT32
        data_type: 7,
        rank: 2,
        dims: [64, 64, 0, 0, 0],
        strides: [256, 0, 0, 0, 0],
        element_strides: [1, 1, 0, 0, 0],
        interleave: 0,
        swizzle: 0,
        l2_promotion: 0,
        fill: 0,
    };
    let address = rig.alloc(1 << 20);
    if rig.device.description().attribute(TENSOR_MAP_ACCESS) != Some(1) {
        let error = rig.context.tensor_map(&map(address)).expect_err("there are none");
        assert_eq!(error.status, Status::ERROR_NOT_SUPPORTED);
        return;
    }
    let encoded = rig.context.tensor_map(&map(address)).expect("a sound map");
    assert_eq!(rig.context.tensor_map(&map(address)).expect("as before"), encoded);
    let moved = TensorMap { kind: TensorMapKind::Replace(encoded), ..map(address + 4096) };
    let moved = rig.context.tensor_map(&moved).expect("another address");
    assert_eq!(rig.context.tensor_map(&map(address + 4096)).expect("a sound map"), moved);
    let error = rig.context.tensor_map(&map(address + 1)).expect_err("not aligned to 16 bytes");
    assert_eq!(error.status, Status::ERROR_INVALID_VALUE);
}
