//! Memory that the guest maps itself: CUDA's rules, credit, and what a hostile guest tries.

use std::sync::Arc;

use vgpu_proto::limits::{ARENA_HOST_BYTES, ARENA_RANGE_BYTES, MEMORY_UNIT_BYTES as UNIT};
use vgpu_proto::{Status, body};
use zerocopy::{Immutable, IntoBytes};

use super::guest::Guest;
use super::mock::MockDevice;
use super::{session, session_with};

const INVALID: Status = Status::ERROR_INVALID_VALUE;

struct Mapper {
    device: Arc<MockDevice>,
    guest: Guest,
    /// First address of the guest's part of the arena.
    base: u64,
}

impl Mapper {
    fn new(credit_bytes: u64) -> Self {
        let device = Arc::new(MockDevice::default());
        let guest = session_with(&device, credit_bytes);
        let base = guest.session.arena.base() + ARENA_HOST_BYTES;
        Self { device, guest, base: base.next_multiple_of(UNIT) }
    }

    fn ask<B>(&mut self, body: &B) -> Status
    where
        B: vgpu_proto::operation::Operation + IntoBytes + Immutable,
    {
        self.guest.call(0, body, &[]).0
    }

    fn reserve(&mut self, address: u64, bytes: u64) -> Status {
        self.ask(&body::AddressReserve { address: address.into(), bytes: bytes.into() })
    }

    fn free(&mut self, address: u64, bytes: u64) -> Status {
        self.ask(&body::AddressFree { address: address.into(), bytes: bytes.into() })
    }

    fn create(&mut self, bytes: u64) -> Result<u64, Status> {
        match self.guest.call(0, &body::MemoryCreate { bytes: bytes.into() }, &[]) {
            (Status::SUCCESS, number) => Ok(number),
            (status, _) => Err(status),
        }
    }

    fn release(&mut self, memory: u64) -> Status {
        self.ask(&body::MemoryRelease { memory: memory.into() })
    }

    fn map(&mut self, address: u64, bytes: u64, memory: u64) -> Status {
        self.ask(&body::MemoryMap { address: address.into(), bytes: bytes.into(), memory: memory.into() })
    }

    fn unmap(&mut self, address: u64, bytes: u64) -> Status {
        self.ask(&body::MemoryUnmap { address: address.into(), bytes: bytes.into() })
    }

    fn access(&mut self, address: u64, bytes: u64, access: u32) -> Status {
        self.ask(&body::MemorySetAccess {
            address: address.into(),
            bytes: bytes.into(),
            access: access.into(),
            reserved: 0.into(),
        })
    }

    fn used(&self) -> u64 {
        self.guest.session.counts().memory_bytes
    }

    fn told(&self) -> Vec<String> {
        self.device.take().into_iter().map(|(_, text)| text).collect()
    }
}

#[test]
fn memory_is_charged_until_it_is_released_and_mapped_nowhere() {
    let mut mapper = Mapper::new(u64::MAX);
    let base = mapper.base;
    assert_eq!(mapper.reserve(base, 8 * UNIT), Status::SUCCESS);
    assert_eq!(mapper.used(), 0, "addresses cost nothing");
    let memory = mapper.create(2 * UNIT).unwrap();
    let other = mapper.create(UNIT).unwrap();
    assert_eq!(mapper.used(), 3 * UNIT);
    assert_eq!(mapper.map(base, 2 * UNIT, memory), Status::SUCCESS);
    assert_eq!(mapper.map(base + 4 * UNIT, 2 * UNIT, memory), Status::SUCCESS);
    assert_eq!(mapper.map(base + 2 * UNIT, UNIT, other), Status::SUCCESS);
    assert_eq!(mapper.access(base, 3 * UNIT, 3), Status::SUCCESS);
    assert_eq!(mapper.release(memory), Status::SUCCESS);
    assert_eq!(mapper.release(memory), INVALID, "released twice");
    assert_eq!(mapper.map(base + 6 * UNIT, 2 * UNIT, memory), INVALID, "released");
    assert_eq!((mapper.unmap(base, 3 * UNIT), mapper.used()), (Status::SUCCESS, 3 * UNIT));
    assert_eq!((mapper.release(other), mapper.used()), (Status::SUCCESS, 2 * UNIT));
    assert_eq!((mapper.unmap(base + 4 * UNIT, 2 * UNIT), mapper.used()), (Status::SUCCESS, 0));
    assert_eq!(mapper.free(base, 8 * UNIT), Status::SUCCESS);
    let told = mapper.told();
    let releases = told.iter().filter(|text| *text == "release").count();
    assert_eq!(releases, 2, "{told:?}");
    assert!(told.contains(&format!("access {base:#x} {} ReadWrite", 3 * UNIT)), "{told:?}");
}

#[test]
fn what_the_device_refuses_changes_nothing() {
    let mut mapper = Mapper::new(u64::MAX);
    let base = mapper.base;
    let refused = Status::ERROR_UNKNOWN;
    mapper.device.refuse(Some(refused));
    assert_eq!(mapper.reserve(base, 2 * UNIT), refused);
    assert_eq!((mapper.create(UNIT), mapper.used()), (Err(refused), 0));
    mapper.device.refuse(None);
    assert_eq!(mapper.reserve(base, 2 * UNIT), Status::SUCCESS, "it was not taken");
    let memory = mapper.create(UNIT).unwrap();
    mapper.device.refuse(Some(refused));
    assert_eq!(mapper.map(base, UNIT, memory), refused);
    mapper.device.refuse(None);
    assert_eq!(mapper.map(base, UNIT, memory), Status::SUCCESS, "nothing lies there");
    mapper.device.refuse(Some(refused));
    assert_eq!(mapper.access(base, UNIT, 3), refused);
    assert_eq!(mapper.unmap(base, UNIT), refused);
    mapper.device.refuse(None);
    assert_eq!(mapper.free(base, 2 * UNIT), INVALID, "it is still mapped");
    assert_eq!(mapper.unmap(base, UNIT), Status::SUCCESS);
    mapper.device.refuse(Some(refused));
    assert_eq!(mapper.free(base, 2 * UNIT), refused);
    mapper.device.refuse(None);
    assert_eq!(mapper.reserve(base, UNIT), INVALID, "the range is there still");
    assert_eq!(mapper.map(base, UNIT, memory), Status::SUCCESS);
    assert_eq!(mapper.unmap(base, UNIT), Status::SUCCESS);
    assert_eq!(mapper.free(base, 2 * UNIT), Status::SUCCESS);
    assert_eq!((mapper.release(memory), mapper.used()), (Status::SUCCESS, 0));
}

#[test]
fn what_breaks_the_rules_never_reaches_the_device() {
    let mut mapper = Mapper::new(u64::MAX);
    let base = mapper.base;
    let arena = mapper.guest.session.arena.base();
    for (address, bytes) in [
        (arena, UNIT),
        (base - UNIT, UNIT),
        (base, 0),
        (base + 1, UNIT),
        (base, UNIT + 1),
        (arena + ARENA_RANGE_BYTES, UNIT),
        (base, ARENA_RANGE_BYTES),
        (u64::MAX - UNIT + 1, UNIT),
        (0, UNIT),
    ] {
        assert_eq!(mapper.reserve(address, bytes), INVALID, "{address:#x} {bytes}");
    }
    assert_eq!(mapper.create(0), Err(INVALID));
    assert_eq!(mapper.create(UNIT - 1), Err(INVALID));
    assert!(mapper.told().is_empty());
    assert_eq!(mapper.reserve(base, 8 * UNIT), Status::SUCCESS);
    assert_eq!(mapper.reserve(base + 7 * UNIT, 2 * UNIT), INVALID, "overlaps");
    assert_eq!(mapper.reserve(base + 8 * UNIT, UNIT), Status::SUCCESS);
    let memory = mapper.create(2 * UNIT).unwrap();
    mapper.told();
    for (address, bytes, number, status) in [
        (base, 2 * UNIT, memory + 1, INVALID),
        (base + 7 * UNIT, 2 * UNIT, memory, INVALID),
        (base + 64 * UNIT, 2 * UNIT, memory, INVALID),
        (base, 4 * UNIT, memory, INVALID),
        (base, UNIT, memory, Status::ERROR_NOT_SUPPORTED),
        (base + 1, 2 * UNIT, memory, INVALID),
        (base, 0, memory, INVALID),
    ] {
        assert_eq!(mapper.map(address, bytes, number), status, "{address:#x} {bytes} {number}");
    }
    assert!(mapper.told().is_empty());
    assert_eq!(mapper.map(base + UNIT, 2 * UNIT, memory), Status::SUCCESS);
    mapper.told();
    assert_eq!(mapper.map(base, 2 * UNIT, memory), INVALID, "overlaps");
    for (address, bytes) in [
        (base + UNIT, UNIT),
        (base, 3 * UNIT),
        (base + UNIT, 3 * UNIT),
        (base + 2 * UNIT, UNIT),
        (base + 4 * UNIT, UNIT),
        (base + UNIT, 0),
        (base + UNIT, u64::MAX - UNIT + 1),
    ] {
        assert_eq!(mapper.unmap(address, bytes), INVALID, "{address:#x} {bytes}");
        assert_eq!(mapper.access(address, bytes, 3), INVALID, "{address:#x} {bytes}");
    }
    assert_eq!(mapper.access(base + UNIT, 2 * UNIT, 2), INVALID, "no such access");
    assert_eq!(mapper.free(base, 8 * UNIT), INVALID, "something is mapped there");
    assert_eq!(mapper.free(base, 9 * UNIT), INVALID, "two ranges");
    assert_eq!(mapper.release(99), INVALID);
    assert!(mapper.told().is_empty());
}

#[test]
fn memory_beyond_the_quota_is_refused_and_comes_back() {
    let mut mapper = Mapper::new(64 << 20);
    let memory = mapper.create(48 << 20).unwrap();
    assert_eq!(mapper.create(32 << 20), Err(Status::ERROR_OUT_OF_MEMORY));
    assert_eq!(mapper.release(memory), Status::SUCCESS);
    mapper.device.refuse(Some(Status::ERROR_OUT_OF_MEMORY));
    assert_eq!(mapper.create(64 << 20), Err(Status::ERROR_OUT_OF_MEMORY));
    mapper.device.refuse(None);
    assert_eq!(mapper.used(), 0, "what the device refused is not charged");
    assert!(mapper.create(64 << 20).is_ok());
}

#[test]
fn what_the_device_refuses_did_not_happen() {
    let mut mapper = Mapper::new(u64::MAX);
    let base = mapper.base;
    let refusal = Some(Status::ERROR_OUT_OF_MEMORY);
    mapper.device.refuse(refusal);
    assert_eq!(mapper.reserve(base, UNIT), Status::ERROR_OUT_OF_MEMORY);
    mapper.device.refuse(None);
    assert_eq!(mapper.reserve(base, UNIT), Status::SUCCESS);
    let memory = mapper.create(UNIT).unwrap();
    mapper.device.refuse(refusal);
    assert_eq!(mapper.map(base, UNIT, memory), Status::ERROR_OUT_OF_MEMORY);
    mapper.device.refuse(None);
    assert_eq!(mapper.map(base, UNIT, memory), Status::SUCCESS);
    // After a fault a driver unmaps nothing: the memory is there, and paid for.
    mapper.device.refuse(Some(Status::ERROR_ILLEGAL_ADDRESS));
    assert_eq!(mapper.unmap(base, UNIT), Status::ERROR_ILLEGAL_ADDRESS);
    assert_eq!((mapper.release(memory), mapper.used()), (Status::SUCCESS, UNIT));
    mapper.device.refuse(None);
    assert_eq!((mapper.unmap(base, UNIT), mapper.used()), (Status::SUCCESS, 0));
}

#[test]
fn reserved_fields_end_the_session() {
    let mut guest = session(&Arc::new(MockDevice::default()));
    let reply = guest.reply(5);
    let body = body::MemorySetAccess { reserved: 1.into(), ..Default::default() };
    guest.send(0, Some(reply), &body, &[]);
    assert_eq!(guest.run().unwrap().closing.reason, "protocol:reserved-bits");
}
