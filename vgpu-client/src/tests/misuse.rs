//! Each check that the guest makes at once, by its own variant; after each the session goes on.

use super::fake_host::open;
use crate::{
    Builder, DevicePtr, Error, EventOptions, LaunchConfig, Misuse, Raw, Result, Status, WaitCondition, args,
};

fn misuse<T: std::fmt::Debug>(result: Result<T>) -> Misuse {
    match result {
        Err(Error::Misuse(misuse)) => misuse,
        other => panic!("{other:?}"),
    }
}

#[test]
fn allocations_copies_and_fills_are_checked() {
    let (_host, client) = open();
    let context = client.context().unwrap();
    let stream = context.stream().unwrap();
    let buffer = context.alloc::<u32>(4).unwrap();
    assert_eq!(misuse(context.alloc::<u32>(0)), Misuse::AllocationSize { bytes: 0 });
    assert_eq!(misuse(context.pinned::<u64>(usize::MAX)), Misuse::AllocationSize { bytes: u64::MAX });
    assert_eq!(misuse(stream.copy_to_device(&buffer, &[0; 5])), Misuse::CopyLength { bytes: 20, room: 16 });
    assert_eq!(misuse(stream.copy_to_host(&buffer, &mut [0; 5])), Misuse::CopyLength { bytes: 20, room: 16 });
    let address = buffer.address().0;
    let unknown = Misuse::UnknownPointer { address, bytes: 17 };
    assert_eq!(misuse(stream.copy(&buffer, &buffer, 17)), unknown);
    assert_eq!(
        misuse(stream.copy_bytes_to_device(DevicePtr(8), &[1])),
        Misuse::UnknownPointer { address: 8, bytes: 1 }
    );
    assert_eq!(misuse(stream.memset(&buffer, 0_u64, 1)), Misuse::FillElement { bytes: 8 });
    let odd = buffer.address().offset(1);
    assert_eq!(misuse(stream.memset(odd, 0_u32, 1)), Misuse::Misaligned { address: odd.0, align: 4 });
    assert_eq!(misuse(stream.write_value32(odd, 1)), Misuse::Misaligned { address: odd.0, align: 4 });
    let past = DevicePtr(address + 16);
    let outside = Misuse::UnknownPointer { address: past.0, bytes: 4 };
    assert_eq!(misuse(stream.wait_value32(past, 1, WaitCondition::Equal)), outside);
    drop(buffer);
    assert_eq!(client.pointer_attributes(DevicePtr(address)), None, "freed");
    stream.synchronize().unwrap();
}

#[test]
fn pinned_accesses_are_checked() {
    let (_host, client) = open();
    let pinned = client.context().unwrap().pinned::<u16>(5).unwrap();
    let outside = |offset, bytes| Misuse::BufferRange { offset, bytes, len: 10 };
    assert_eq!(misuse(pinned.write(4, &[1, 2])), outside(8, 4));
    assert_eq!(misuse(pinned.read(6, &mut [0; 0])), outside(12, 0));
    assert_eq!(misuse(pinned.read(usize::MAX, &mut [0])), outside(u64::MAX, 2));
    assert_eq!(misuse(pinned.atomic_u32(8)), outside(8, 4));
    assert_eq!(misuse(pinned.atomic_u32(2)), outside(2, 4));
    pinned.atomic_u32(4).unwrap();
}

#[test]
fn launches_are_checked() {
    let (_host, client) = open();
    let context = client.context().unwrap();
    let module = context.load_module("// ptx").unwrap();
    let (double, nothing) = (module.function("double_it").unwrap(), module.function("nothing").unwrap());
    let stream = context.stream().unwrap();
    let buffer = context.alloc::<f32>(4).unwrap();
    let shape = |grid, block, shared_bytes| {
        misuse(stream.launch(
            &nothing,
            LaunchConfig { grid, block, shared_bytes, cooperative: false },
            args![],
        ))
    };
    assert_eq!(shape([1, 0, 1], [1; 3], 0), Misuse::Grid { axis: 'y', value: 0, max: 65_535 });
    assert_eq!(shape([1, 1, 65_536], [1; 3], 0), Misuse::Grid { axis: 'z', value: 65_536, max: 65_535 });
    assert_eq!(shape([1; 3], [0, 1, 1], 0), Misuse::Block { axis: 'x', value: 0, max: 512 });
    assert_eq!(shape([1; 3], [1, 1, 65], 0), Misuse::Block { axis: 'z', value: 65, max: 64 });
    assert_eq!(shape([1; 3], [512, 2, 1], 0), Misuse::BlockThreads { threads: 1024, max: 512 });
    assert_eq!(shape([1; 3], [257, 1, 1], 0), Misuse::FunctionThreads { threads: 257, max: 256 });
    assert_eq!(shape([1; 3], [1; 3], 48 << 10), Misuse::SharedBytes { bytes: 48 << 10, max: 47 << 10 });
    let given =
        |args: &[&dyn crate::KernelArg]| misuse(stream.launch(&double, LaunchConfig::default(), args));
    assert_eq!(given(args![&buffer]), Misuse::ArgumentCount { given: 1, expected: 2 });
    assert_eq!(given(args![&buffer, 1_u32, 2_u32]), Misuse::ArgumentCount { given: 3, expected: 2 });
    assert_eq!(given(args![&buffer, 1_u64]), Misuse::ArgumentSize { index: 1, given: 8, expected: 4 });
    assert_eq!(given(args![Raw([0_u8; 3]), 1_u32]), Misuse::ArgumentSize { index: 0, given: 3, expected: 8 });
    assert_eq!(
        misuse(double.set_max_dynamic_shared(96 << 10)),
        Misuse::SharedBytes { bytes: 96 << 10, max: 95 << 10 }
    );
    stream.launch(&double, LaunchConfig::default(), args![&buffer, 4_u32]).unwrap();
}

#[test]
fn objects_of_another_context_or_client_are_refused() {
    let (_host, client) = open();
    let (_other_host, other) = open();
    let (context, foreign) = (client.context().unwrap(), other.context().unwrap());
    let second = client.create_context().unwrap();
    let stream = context.stream().unwrap();
    let theirs = foreign.alloc::<u8>(8).unwrap();
    assert_eq!(misuse(stream.copy_to_device(&theirs, &[1])), Misuse::Foreign { what: "destination" });
    assert_eq!(misuse(stream.copy_to_host(&theirs, &mut [1])), Misuse::Foreign { what: "source" });
    assert_eq!(misuse(stream.wait_event(&foreign.event().unwrap())), Misuse::Foreign { what: "event" });
    assert_eq!(misuse(second.event().unwrap().record(&stream)), Misuse::Foreign { what: "stream" });
    let module = second.load_module("// ptx").unwrap();
    let function = module.function("double_it").unwrap();
    let refused = stream.launch(&function, LaunchConfig::default(), args![&theirs, 1_u32]);
    assert_eq!(misuse(refused), Misuse::Foreign { what: "function" });
    let on_second = second.stream().unwrap();
    let refused = on_second.launch(&function, LaunchConfig::default(), args![&theirs, 1_u32]);
    assert_eq!(misuse(refused), Misuse::Foreign { what: "buffer argument" });
}

#[test]
fn names_images_and_events_are_checked() {
    let (_host, client) = open();
    let context = client.context().unwrap();
    assert!(matches!(misuse(context.load_module("")), Misuse::ImageSize { bytes: 0, .. }));
    let module = context.load_module("// ptx").unwrap();
    assert!(matches!(misuse(module.function("")), Misuse::Name { bytes: 0, .. }));
    assert!(matches!(misuse(module.function("a\0")), Misuse::Name { bytes: 2, .. }));
    assert!(matches!(misuse(module.global(&"x".repeat(16_385))), Misuse::Name { bytes: 16_385, .. }));
    let timed = context.event().unwrap();
    let untimed = context.event_with(EventOptions { timing: false, ..Default::default() }).unwrap();
    assert_eq!(misuse(timed.elapsed_ns(&untimed)), Misuse::EventWithoutTiming);
    assert_eq!(misuse(timed.elapsed_ns(&timed)), Misuse::EventNotRecorded);
}

#[test]
fn limits_of_each_kind_are_reported_and_nothing_is_lost() {
    let (_host, client) = super::fake_host::open_with(Builder::new(), |limits| {
        limits.streams = 3;
        limits.events = 2;
        limits.modules = 1;
        limits.functions = 1;
        limits.contexts = 1;
    });
    let context = client.context().unwrap();
    let streams = [context.stream().unwrap(), context.stream().unwrap()];
    let limit = |error: Error, what: &str| {
        assert!(matches!(error, Error::Limit { what: found, .. } if found == what), "{error:?}");
        assert_eq!(error.status(), Status::ERROR_OUT_OF_MEMORY);
    };
    limit(context.stream().unwrap_err(), "streams");
    let events = [context.event().unwrap(), context.event().unwrap()];
    limit(context.event().unwrap_err(), "events");
    let module = context.load_module("// ptx").unwrap();
    limit(context.load_module("// ptx").unwrap_err(), "modules");
    module.function("nothing").unwrap();
    limit(module.function("mixed").unwrap_err(), "functions");
    module.function("nothing").unwrap();
    limit(client.create_context().unwrap_err(), "contexts");
    drop(events);
    context.event().unwrap();
    drop(streams);
    super::eventually("a slot comes back", || context.stream().is_ok());
}
