//! What programs do: memory, copies, kernels, streams, events, pinned memory, modules.

use std::sync::atomic::Ordering;

use crate::{
    Builder, Error, ImageName, JitKind, JitOption, LaunchConfig, LinkInput, LinkKind, MemoryKind, Misuse, Op,
    Status, StreamOptions, args,
};

use super::eventually;
use super::fake_host::{open, open_with};

#[test]
fn a_kernel_doubles_what_was_copied() {
    let (_host, client) = open();
    client.ping().unwrap();
    let context = client.context().unwrap();
    let module = context.load_module("// ptx").unwrap();
    assert_eq!(module.function_names().unwrap(), ["double_it", "nothing", "mixed"]);
    assert_eq!(module.function_count(), 3);
    let double = module.function("double_it").unwrap();
    let stream = context.stream().unwrap();
    let buffer = context.alloc::<f32>(1000).unwrap();
    let numbers: Vec<f32> = (0..1000_u16).map(f32::from).collect();
    stream.copy_to_device(&buffer, &numbers).unwrap();
    for _ in 0..3 {
        stream.launch(&double, LaunchConfig::linear(1000, 256), args![&buffer, 1000_u32]).unwrap();
    }
    let mut out = vec![0.0; 1000];
    stream.copy_to_host(&buffer, &mut out).unwrap();
    assert!(out.iter().zip(&numbers).all(|(out, number)| *out == number * 8.0));
    assert!(stream.query().unwrap());
    let launches = client.calls().into_iter().find(|(op, _)| *op == Op::LaunchKernel).unwrap().1;
    assert_eq!(launches, 3);
}

#[test]
fn long_copies_go_through_staging_in_pieces_both_ways() {
    for threads in [1, 3, 4] {
        let (_host, client) = open_with(Builder::new().copy_threads(threads), |_| {});
        let stream = client.context().unwrap().stream().unwrap();
        let buffer = stream.context().alloc_bytes((40 << 20) + 12345).unwrap();
        let source: Vec<u8> = (0..buffer.len()).map(|at| (at * 7 + at / 4096) as u8).collect();
        stream.copy_to_device(&buffer, &source).unwrap();
        let mut back = vec![0; source.len()];
        stream.copy_to_host(&buffer, &mut back).unwrap();
        assert!(back == source);
    }
}

#[test]
fn everything_works_without_spinning_and_synchronously() {
    for builder in [Builder::new().spin_ns(0), Builder::new().synchronous(true)] {
        let (_host, client) = open_with(builder, |_| {});
        let context = client.context().unwrap();
        let double = context.load_module("// ptx").unwrap().function("double_it").unwrap();
        let stream = context.stream().unwrap();
        let buffer = context.alloc::<f32>(4).unwrap();
        stream.memset(&buffer, 1.0_f32, 4).unwrap();
        for _ in 0..2000 {
            stream.launch(&double, LaunchConfig::linear(4, 4), args![&buffer, 1_u32]).unwrap();
        }
        stream.synchronize().unwrap();
        context.synchronize().unwrap();
        let mut out = [0.0; 4];
        stream.copy_to_host(&buffer, &mut out).unwrap();
        assert_eq!(out, [f32::INFINITY, 1.0, 1.0, 1.0]);
    }
}

#[test]
fn pinned_memory_is_one_memory_on_both_sides() {
    let (host, client) = open();
    let context = client.context().unwrap();
    let stream = context.stream().unwrap();
    let pinned = context.pinned::<u32>(100).unwrap();
    let other = context.pinned::<u32>(100).unwrap();
    pinned.write(10, &[1, 2, 3]).unwrap();
    stream.copy(&other, pinned.at(10), 12).unwrap();
    stream.write_value32(other.at(3), 4).unwrap();
    stream.synchronize().unwrap();
    let mut out = [0; 4];
    other.read(0, &mut out).unwrap();
    assert_eq!(out, [1, 2, 3, 4]);
    assert_eq!(other.atomic_u32(12).unwrap().load(Ordering::Acquire), 4);
    let attributes = client.pointer_attributes(pinned.at(50)).unwrap();
    assert_eq!((attributes.kind, attributes.base), (MemoryKind::Pinned, pinned.address()));
    assert_eq!(host.machine.heap.lock().len(), 1, "small allocations share a region");
    let large = context.pinned::<u8>(9 << 20).unwrap();
    assert_eq!(host.machine.heap.lock().len(), 2);
    drop((pinned, other, large));
    assert!(host.machine.heap.lock().is_empty(), "empty regions go back");
}

#[test]
fn where_the_quota_leaves_no_whole_region_a_smaller_one_is_asked_for() {
    let (host, client) = open();
    host.orders().region_bytes_max.store(1 << 20, Ordering::Relaxed);
    let context = client.context().unwrap();
    let small = context.pinned::<u8>(1000).unwrap();
    assert_eq!(small.to_vec(), vec![0; 1000]);
    let error = context.pinned::<u8>(2 << 20).unwrap_err();
    assert_eq!(error.status(), Status::ERROR_OUT_OF_MEMORY);
}

#[test]
fn pinned_memory_outlives_the_copies_that_use_it() {
    let (host, client) = open();
    let context = client.context().unwrap();
    let stream = context.stream().unwrap();
    let buffer = context.alloc::<u8>(16).unwrap();
    let pinned = context.pinned::<u8>(16).unwrap();
    pinned.write(0, &[7; 16]).unwrap();
    host.orders().hold.store(true, Ordering::Relaxed);
    stream.copy(&buffer, &pinned, 16).unwrap();
    let dropper = std::thread::spawn(move || drop(pinned));
    std::thread::yield_now();
    assert!(!dropper.is_finished(), "the copy has not run");
    host.orders().hold.store(false, Ordering::Relaxed);
    dropper.join().unwrap();
    let mut out = [0; 16];
    stream.copy_to_host(&buffer, &mut out).unwrap();
    assert_eq!(out, [7; 16]);
}

#[test]
fn events_are_complete_when_their_stream_got_there() {
    let (host, client) = open();
    let context = client.context().unwrap();
    let stream = context.stream_with(StreamOptions { non_blocking: false, priority: -1 }).unwrap();
    let (start, end) = (context.event().unwrap(), context.event().unwrap());
    assert!(start.query().unwrap(), "never recorded");
    host.orders().hold.store(true, Ordering::Relaxed);
    start.record(&stream).unwrap();
    end.record(&stream).unwrap();
    context.legacy_stream().wait_event(&end).unwrap();
    assert!(!end.query().unwrap());
    assert!(!stream.query().unwrap());
    host.orders().hold.store(false, Ordering::Relaxed);
    eventually("the record completes", || end.query().unwrap());
    end.synchronize().unwrap();
    assert_eq!(end.elapsed_ns(&start).unwrap(), 1_500);
}

#[test]
fn slots_of_dropped_objects_come_back() {
    let (host, client) = open();
    let context = client.context().unwrap();
    for _ in 0..100 {
        let stream = context.stream().unwrap();
        let event = context.event().unwrap();
        event.record(&stream).unwrap();
        stream.synchronize().unwrap();
        drop((stream, event));
        // The slot is free once the host says that the destruction is complete.
        eventually("the stream is gone", || {
            client.ping().unwrap();
            !host.machine.executed.lock().is_empty()
        });
    }
    for _ in 0..40 {
        let further = client.create_context().unwrap();
        further.stream().unwrap().synchronize().unwrap();
    }
    for _ in 0..10 {
        let module = context.load_module("// ptx").unwrap();
        module.function("nothing").unwrap();
    }
}

#[test]
fn a_thread_has_one_default_stream_per_context_until_it_ends() {
    let (host, client) = open();
    let context = client.context().unwrap();
    let mine = context.per_thread_stream().unwrap();
    assert_eq!(mine.id(), context.per_thread_stream().unwrap().id());
    let (theirs, in_thread) = (context.clone(), mine.id());
    std::thread::spawn(move || {
        let stream = theirs.per_thread_stream().unwrap();
        assert_ne!(stream.id(), in_thread);
        stream.synchronize().unwrap();
    })
    .join()
    .unwrap();
    let destroyed = |request: &vgpu_proto::Request| matches!(request, vgpu_proto::Request::StreamDestroy(_));
    eventually("the thread's stream is destroyed", || {
        host.machine.executed.lock().iter().any(|(_, request)| destroyed(request))
    });
}

#[test]
fn modules_report_the_compilers_message_and_find_their_symbols() {
    let (_host, client) = open();
    let context = client.context().unwrap();
    let error = context.load_module("bad ptx").unwrap_err();
    assert_eq!(error.status(), Status::ERROR_INVALID_PTX);
    assert!(error.to_string().contains("line 1: expected a directive"), "{error}");
    let large = "/".repeat(3 << 20);
    let module = context.load_module(&large).unwrap();
    let error = module.function("absent").unwrap_err();
    assert!(matches!(&error, Error::Call { status: Status::ERROR_NOT_FOUND, .. }), "{error:?}");
    let global = module.global("table").unwrap();
    assert_eq!(module.global("table").unwrap(), global);
    let stream = context.stream().unwrap();
    stream.copy_bytes_to_device(global.address, &[5; 64]).unwrap();
    let mut out = [0; 8];
    stream.copy_bytes_to_host(global.address.offset(56), &mut out).unwrap();
    assert_eq!(out, [5; 8]);
    let function = module.function("mixed").unwrap();
    assert_eq!(function.attributes().params, 4);
    function.set_max_dynamic_shared(90 << 10).unwrap();
    assert_eq!(function.attributes().dynamic_shared_bytes_max, 90 << 10);
}

#[test]
fn an_image_that_the_host_keeps_does_not_travel() {
    let (host, client) = open();
    let context = client.context().unwrap();
    let calls = |op| client.calls().into_iter().find(|(found, _)| *found == op).unwrap().1;
    let image = vec![b'/'; 3 << 20];
    assert_ne!(context.load_module(&image).unwrap().report().log, "kept");
    assert_eq!((calls(Op::ModuleLoadKept), calls(Op::ModuleLoad)), (1, 1));
    assert!(host.machine.heap.lock().is_empty(), "it lay in pinned memory while it was sent");
    assert_eq!(context.load_module(&image).unwrap().report().log, "kept");
    assert_eq!((calls(Op::ModuleLoadKept), calls(Op::ModuleLoad)), (2, 1));
    let name = ImageName::of(&image).unwrap();
    assert_eq!(context.load_kept_module(name, &[]).unwrap().unwrap().report().log, "kept");
    let other = ImageName::of(&vec![b' '; 3 << 20]).unwrap();
    assert!(context.load_kept_module(other, &[]).unwrap().is_none());
    context.load_module("// small").unwrap();
    assert_eq!((calls(Op::ModuleLoadKept), calls(Op::ModuleLoad)), (4, 2), "nobody asks for a small one");
}

#[test]
fn a_launch_that_fails_keeps_no_pinned_memory() {
    let (host, client) = open();
    let context = client.context().unwrap();
    let nothing = context.load_module("// ptx").unwrap().function("nothing").unwrap();
    let stream = context.stream().unwrap();
    let pinned = context.pinned::<u32>(4).unwrap();
    stream.launch(&nothing, LaunchConfig::default(), args![&pinned]).unwrap_err();
    drop(pinned);
    assert!(host.machine.heap.lock().is_empty(), "its region went back");
}

#[test]
fn options_travel_and_a_link_that_outgrows_its_room_is_repeated() {
    let (_host, client) = open();
    let context = client.context().unwrap();
    let option = JitOption { kind: JitKind::MaxRegisters, value: 32 };
    let module = context.load_module_with("// ptx", &[option]).unwrap();
    assert_eq!(module.report().log, format!("{:?}", [option]));
    let input = LinkInput { kind: LinkKind::Ptx, name: b"a.ptx", data: b"x" };
    let linked = context.link(&[input], &[option]).unwrap();
    assert!(linked.image == vec![b'x'; 3 << 20]);
    let misuse = |inputs: &[LinkInput<'_>], options: &[JitOption]| match context.link(inputs, options) {
        Err(Error::Misuse(misuse)) => misuse,
        other => panic!("{other:?}"),
    };
    assert!(matches!(misuse(&[], &[]), Misuse::ImageSize { bytes: 0, .. }));
    assert!(matches!(misuse(&[LinkInput { name: b"a\0", ..input }], &[]), Misuse::Name { .. }));
    assert!(matches!(misuse(&[input], &[option; 33]), Misuse::LinkInputs { options: 33, .. }));
    assert!(matches!(context.load_module_with("// ptx", &[option; 33]), Err(Error::Misuse(_))));
}
