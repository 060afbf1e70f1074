//! Memory that the guest maps itself.

use std::sync::Arc;

use vgpu_proto::Status;
use vgpu_proto::handshake::AddressPlan;
use vgpu_proto::limits::{ARENA_HOST_BYTES, ARENA_RANGE_BYTES, MEMORY_UNIT_BYTES as UNIT};
use vgpu_window::Reservation;

use super::rig::{Param, Rig, WILD_ACCESS, copy, fill_words, launch};
use super::{Make, case_list};
use crate::device::{MemoryAccess, MemoryKey};

case_list!(
    pieces_side_by_side_are_one_array,
    memory_keeps_what_is_in_it_wherever_it_lies,
    only_what_is_mapped_with_access_is_memory,
    addresses_are_used_again,
    kernels_reach_what_is_mapped,
    an_unmapped_address_is_illegal,
    mapped_memory_runs_out_and_comes_back,
);

/// A rig with an arena, and the first address of the guest's part of it.
fn mounted(make: &Make) -> (Rig, u64) {
    let device = make();
    // Bases that a GPU can use; each case that runs in this process takes another one.
    let arena = AddressPlan::CANDIDATES
        .iter()
        .find_map(|plan| Reservation::new_at(plan.arena_base, ARENA_RANGE_BYTES).ok())
        .expect("one of the plans is free");
    let base = arena.base() + ARENA_HOST_BYTES;
    device.arena_set(&Arc::new(arena)).expect("no memory was allocated before");
    (Rig::on(device), base)
}

impl Rig {
    /// Maps fresh memory with access.
    fn map(&self, address: u64, bytes: u64) -> MemoryKey {
        let memory = self.device.memory_create(bytes).expect("memory");
        self.lay(address, bytes, memory);
        memory
    }

    fn lay(&self, address: u64, bytes: u64, memory: MemoryKey) {
        self.device.memory_map(address, memory).expect("the addresses are free");
        self.device.memory_set_access(address, bytes, MemoryAccess::ReadWrite).expect("it is mapped");
    }

    fn unmap(&self, address: u64, bytes: u64) {
        self.device.memory_unmap(address, bytes).expect("it is mapped");
    }
}

fn pieces_side_by_side_are_one_array(make: &Make) {
    let (rig, base) = mounted(make);
    rig.device.address_reserve(base, 64 * UNIT).expect("the addresses are free");
    let pieces = [rig.map(base, UNIT), rig.map(base + UNIT, 2 * UNIT), rig.map(base + 3 * UNIT, UNIT)];
    let legacy = rig.context.legacy_stream();
    rig.submit(legacy, fill_words(base, 7, 4 * UNIT / 4));
    rig.wait(legacy);
    for at in [base, base + UNIT - 4, base + UNIT, base + 3 * UNIT - 4, base + 3 * UNIT, base + 4 * UNIT - 4]
    {
        assert_eq!(rig.word(at), 7);
    }
    let data: Vec<u8> = (0..3 * UNIT).map(|at| (at * 31 + at / 255) as u8).collect();
    rig.upload(base + 3, &data);
    let other = rig.alloc(3 * UNIT);
    rig.submit(legacy, copy(other, base + 3, 3 * UNIT));
    rig.submit(legacy, copy(base + UNIT - 1, other, 3 * UNIT));
    rig.wait(legacy);
    assert!(rig.download(base + UNIT - 1, data.len()) == data, "every byte came through");
    rig.unmap(base, 4 * UNIT);
    for memory in pieces {
        rig.device.memory_release(memory);
    }
    rig.device.address_free(base).expect("nothing is mapped in it");
}

fn memory_keeps_what_is_in_it_wherever_it_lies(make: &Make) {
    let (rig, base) = mounted(make);
    rig.device.address_reserve(base, 8 * UNIT).expect("the addresses are free");
    let memory = rig.map(base, UNIT);
    rig.upload_words(base + 64, &[1, 2, 3]);
    // At two places at once it is the same memory.
    rig.lay(base + 4 * UNIT, UNIT, memory);
    assert_eq!(rig.download_words(base + 4 * UNIT + 64, 3), [1, 2, 3]);
    rig.unmap(base, UNIT);
    rig.unmap(base + 4 * UNIT, UNIT);
    rig.lay(base + UNIT, UNIT, memory);
    assert_eq!(rig.download_words(base + UNIT + 64, 3), [1, 2, 3]);
}

fn only_what_is_mapped_with_access_is_memory(make: &Make) {
    let (rig, base) = mounted(make);
    let legacy = rig.context.legacy_stream();
    let refused = |address, bytes: u64| {
        assert_eq!(rig.refused(legacy, fill_words(address, 1, bytes / 4)), Status::ERROR_INVALID_VALUE);
    };
    rig.device.address_reserve(base, 8 * UNIT).expect("the addresses are free");
    refused(base, 4);
    let memory = rig.device.memory_create(UNIT).expect("memory");
    rig.device.memory_map(base, memory).expect("the addresses are free");
    refused(base, 4);
    rig.device.memory_set_access(base, UNIT, MemoryAccess::ReadWrite).expect("it is mapped");
    rig.submit(legacy, fill_words(base, 1, UNIT / 4));
    refused(base + UNIT - 4, 8);
    rig.map(base + 2 * UNIT, UNIT);
    refused(base, 3 * UNIT);
    refused(base + UNIT, 4);
    rig.wait(legacy);
    rig.unmap(base, UNIT);
    refused(base, 4);
    rig.submit(legacy, fill_words(base + 2 * UNIT, 1, UNIT / 4));
    rig.synchronize();
}

fn addresses_are_used_again(make: &Make) {
    let (rig, base) = mounted(make);
    for round in 0..10 {
        let bytes = (round % 3 + 1) * UNIT;
        rig.device.address_reserve(base, 4 * UNIT).expect("the addresses are free");
        let memory = rig.map(base + UNIT, bytes);
        rig.upload_words(base + UNIT + bytes - 4, &[round as u32]);
        assert_eq!(rig.word(base + UNIT + bytes - 4), round as u32);
        rig.unmap(base + UNIT, bytes);
        rig.device.memory_release(memory);
        rig.device.address_free(base).expect("nothing is mapped in it");
    }
}

fn kernels_reach_what_is_mapped(make: &Make) {
    let (rig, base) = mounted(make);
    rig.device.address_reserve(base, 4 * UNIT).expect("the addresses are free");
    rig.map(base, UNIT);
    rig.map(base + UNIT, UNIT);
    let legacy = rig.context.legacy_stream();
    let write = rig.kernel(WILD_ACCESS, "write_anywhere");
    for at in [base, base + UNIT - 4, base + UNIT, base + 2 * UNIT - 4] {
        rig.submit(legacy, launch(write, 1, 1, &[Param::Address(at), Param::Word(at as u32)]));
        rig.wait(legacy);
        assert_eq!(rig.word(at), at as u32);
    }
    rig.synchronize();
}

fn an_unmapped_address_is_illegal(make: &Make) {
    let (rig, base) = mounted(make);
    rig.device.address_reserve(base, 4 * UNIT).expect("the addresses are free");
    rig.map(base, UNIT);
    rig.unmap(base, UNIT);
    let write = rig.kernel(WILD_ACCESS, "write_anywhere");
    let legacy = rig.context.legacy_stream();
    rig.submit(legacy, launch(write, 1, 1, &[Param::Address(base), Param::Word(1)]));
    let error = rig.context.synchronize().expect_err("nothing is mapped there");
    assert_eq!(error.status, Status::ERROR_ILLEGAL_ADDRESS);
}

fn mapped_memory_runs_out_and_comes_back(make: &Make) {
    let (rig, _) = mounted(make);
    let total = rig.device.description().memory_bytes;
    let most = total.next_multiple_of(UNIT) + UNIT;
    let error = rig.device.memory_create(most).expect_err("more than there is");
    assert_eq!(error.status, Status::ERROR_OUT_OF_MEMORY);
    for _ in 0..3 {
        let large = rig.device.memory_create(total / 8 * 5 / UNIT * UNIT).expect("most of it");
        let again = rig.device.memory_create(total / 8 * 5 / UNIT * UNIT).expect_err("most of it is taken");
        assert_eq!(again.status, Status::ERROR_OUT_OF_MEMORY);
        rig.device.memory_release(large);
    }
}
