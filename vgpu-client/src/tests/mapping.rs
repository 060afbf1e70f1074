//! Virtual memory: what is decided here, and what travels.

use crate::{DevicePtr, Error, MemoryKind, Misuse, Op, VirtualMemory};

use super::fake_host::open;

const UNIT: u64 = VirtualMemory::UNIT_BYTES;

#[test]
fn memory_goes_back_once_it_is_held_no_more_and_mapped_nowhere() {
    let (_host, client) = open();
    let memory = client.virtual_memory();
    let count = |wanted: Op| client.calls().into_iter().find(|(op, _)| *op == wanted).unwrap().1;
    let base = memory.reserve(16 * UNIT, 0, 0).unwrap();
    assert!(client.is_device_address(DevicePtr(base)));
    assert_eq!(memory.range(base + 16 * UNIT - 1), Some((base, 16 * UNIT)));
    let first = memory.create(UNIT, 7).unwrap();
    let second = memory.create(2 * UNIT, 0).unwrap();
    assert_eq!((memory.note(first).unwrap(), memory.note(second).unwrap()), (7, 0));
    memory.map(base, UNIT, first).unwrap();
    memory.map(base + UNIT, 2 * UNIT, second).unwrap();
    memory.map(base + 8 * UNIT, UNIT, first).unwrap();
    assert_eq!(memory.access(base + 2 * UNIT).unwrap(), 0);
    memory.set_access(base, 3 * UNIT, 3).unwrap();
    assert_eq!(memory.access(base + 2 * UNIT).unwrap(), 3);
    assert_eq!(client.pointer_attributes(DevicePtr(base + 5)).unwrap().kind, MemoryKind::Device);
    assert_eq!(memory.retain(base + 1).unwrap(), first);
    memory.release(first).unwrap();
    memory.release(first).unwrap();
    assert!(memory.release(first).is_err() && memory.note(first).is_err(), "held no more");
    assert_eq!(memory.retain(base).unwrap(), first, "it is mapped, so it is there");
    memory.release(first).unwrap();
    memory.unmap(base, 3 * UNIT).unwrap();
    assert_eq!(count(Op::MemoryRelease), 0);
    memory.unmap(base + 8 * UNIT, UNIT).unwrap();
    assert_eq!(count(Op::MemoryRelease), 1);
    assert!(client.pointer_attributes(DevicePtr(base)).is_none());
    memory.release(second).unwrap();
    assert_eq!(count(Op::MemoryRelease), 2);
    memory.free(base, 16 * UNIT).unwrap();
    assert_eq!(memory.range(base), None);
}

#[test]
fn what_breaks_the_rules_is_not_sent() {
    let (_host, client) = open();
    let memory = client.virtual_memory();
    let base = memory.reserve(4 * UNIT, 4 * UNIT, 0).unwrap();
    let piece = memory.create(UNIT, 0).unwrap();
    memory.map(base + UNIT, UNIT, piece).unwrap();
    let before = client.calls();
    #[track_caller]
    fn refused<T: std::fmt::Debug>(outcome: Result<T, Error>) {
        let error = outcome.unwrap_err();
        assert!(matches!(error, Error::Misuse(Misuse::Mapping { .. })), "{error}");
    }
    for (bytes, align) in [(0, 0), (UNIT + 1, 0), (UNIT, 3 * UNIT)] {
        refused(memory.reserve(bytes, align, 0));
    }
    refused(memory.create(0, 0));
    refused(memory.create(UNIT - 1, 0));
    for (address, bytes, number) in [
        (base, UNIT, piece + 1),
        (base, 2 * UNIT, piece),
        (base + 1, UNIT, piece),
        (base + UNIT, UNIT, piece),
        (base + 4 * UNIT, UNIT, piece),
        (base, 0, piece),
        (u64::MAX - UNIT + 1, UNIT, piece),
    ] {
        refused(memory.map(address, bytes, number));
    }
    for (address, bytes) in
        [(base, 2 * UNIT), (base + UNIT, 2 * UNIT), (base + UNIT, 0), (base + UNIT, u64::MAX)]
    {
        refused(memory.unmap(address, bytes));
        refused(memory.set_access(address, bytes, 3));
    }
    refused(memory.retain(base));
    refused(memory.access(base));
    refused(memory.free(base, 4 * UNIT));
    refused(memory.free(base, 2 * UNIT));
    assert_eq!(client.calls(), before);
}
