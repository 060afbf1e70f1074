//! Regions: every refusal, what is shared, and a model.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::thread;

use proptest::prelude::*;

use super::*;
use crate::map::page_bytes;

const MAX: u64 = u64::MAX;

fn out_of_range(offset: u64, bytes: u64, len: u64) -> OutOfRange {
    OutOfRange { offset, bytes, len }
}

#[test]
fn regions_cross_threads() {
    fn assert_send_sync<T: Send + Sync>() {}
    assert_send_sync::<Region>();
    assert_send_sync::<Reservation>();
}

#[test]
fn lengths_no_region_has_are_refused() {
    assert!(matches!(Region::anonymous(0), Err(WindowError::Empty)));
    assert!(matches!(Region::create_shared("none", 0), Err(WindowError::Empty)));
    for bytes in [MAX, 1 << 63] {
        assert!(matches!(Region::anonymous(bytes), Err(WindowError::TooLarge { bytes: b }) if b == bytes));
        assert!(matches!(Region::create_shared("huge", bytes), Err(WindowError::TooLarge { .. })));
    }
    // More than any address space has, yet a length that an object may have.
    assert!(matches!(Region::anonymous(1 << 62), Err(WindowError::Os { call: "mmap", .. })));
}

#[test]
fn more_memory_than_the_machine_has_can_be_mapped_and_touched_in_part() {
    let bytes = 1 << 40;
    let region = Region::anonymous(bytes).unwrap();
    region.write(bytes - 1, &[9]).unwrap();
    let mut out = [0; 2];
    region.read(bytes - 2, &mut out).unwrap();
    assert_eq!(out, [0, 9]);
}

#[test]
fn accesses_beyond_the_end_are_refused_even_within_the_last_page() {
    let region = Region::anonymous(10).unwrap();
    assert_eq!(region.len(), 10);
    let mut out = [7; 4];
    for offset in [7, 10, 11, MAX, MAX - 3] {
        assert_eq!(region.read(offset, &mut out), Err(out_of_range(offset, 4, 10)));
        assert_eq!(region.write(offset, &out), Err(out_of_range(offset, 4, 10)));
        assert_eq!(region.fill(offset, &[1, 2], 2), Err(out_of_range(offset, 4, 10)));
        assert_eq!(region.copy_to(offset, &region, 0, 4), Err(out_of_range(offset, 4, 10)));
        assert_eq!(region.copy_to(0, &region, offset, 4), Err(out_of_range(offset, 4, 10)));
    }
    assert_eq!(out, [7; 4]);
    assert_eq!(region.copy_to(0, &region, 0, MAX), Err(out_of_range(0, MAX, 10)));
    region.read(10, &mut []).unwrap();
    region.read(6, &mut out).unwrap();
    assert_eq!(out, [0; 4]);
}

#[test]
fn a_copy_names_the_region_that_is_too_short() {
    let (short, long) = (Region::anonymous(10).unwrap(), Region::anonymous(20).unwrap());
    assert_eq!(long.copy_to(0, &short, 0, 15), Err(out_of_range(0, 15, 10)));
    assert_eq!(short.copy_to(0, &long, 0, 15), Err(out_of_range(0, 15, 10)));
}

#[test]
fn fills_refuse_odd_patterns_and_counts_that_overflow() {
    let region = Region::anonymous(64).unwrap();
    for pattern in [&[][..], &[1, 2, 3], &[0; 16]] {
        assert_eq!(region.fill(0, pattern, 1), Err(out_of_range(0, pattern.len() as u64, 64)));
    }
    assert_eq!(region.fill(0, &[1, 2, 3, 4], MAX / 2), Err(out_of_range(0, MAX, 64)));
    assert_eq!(region.fill(0, &[1, 2], 33), Err(out_of_range(0, 66, 64)));
}

#[test]
fn atomics_are_aligned_and_in_range() {
    let region = Region::anonymous(16).unwrap();
    region.write(0, &[1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
    assert_eq!(region.atomic_u8(1).unwrap().load(Ordering::Relaxed), 2);
    assert_eq!(region.atomic_u16(2).unwrap().load(Ordering::Relaxed), u16::from_ne_bytes([3, 4]));
    assert_eq!(region.atomic_u32(4).unwrap().load(Ordering::Relaxed), u32::from_ne_bytes([5, 6, 7, 8]));
    assert_eq!(region.atomics_u64(0, 2).unwrap()[1].load(Ordering::Relaxed), 0);
    assert_eq!(region.atomics_u8(16, 0).unwrap().len(), 0);
    assert_eq!(region.atomic_u16(1).unwrap_err(), out_of_range(1, 2, 16));
    assert_eq!(region.atomic_u32(2).unwrap_err(), out_of_range(2, 4, 16));
    assert_eq!(region.atomic_u64(4).unwrap_err(), out_of_range(4, 8, 16));
    assert_eq!(region.atomic_u8(16).unwrap_err(), out_of_range(16, 1, 16));
    assert_eq!(region.atomics_u16(0, 9).unwrap_err(), out_of_range(0, 18, 16));
    assert_eq!(region.atomics_u32(0, 5).unwrap_err(), out_of_range(0, 20, 16));
    assert_eq!(region.atomics_u64(8, MAX / 4).unwrap_err(), out_of_range(8, MAX, 16));
}

#[test]
fn two_mappings_of_one_file_share_bytes_and_words() {
    let (ours, file) = Region::create_shared("shared", 10_000).unwrap();
    let theirs = Region::map_shared(file.as_fd(), 10_000).unwrap();
    drop(file);
    ours.write(9_000, b"there").unwrap();
    let mut out = [0; 5];
    theirs.read(9_000, &mut out).unwrap();
    assert_eq!(&out, b"there");
    theirs.atomic_u64(8).unwrap().fetch_add(5, Ordering::AcqRel);
    assert_eq!(ours.atomic_u64(8).unwrap().load(Ordering::Acquire), 5);
    drop(ours);
    theirs.read(9_000, &mut out).unwrap();
    assert_eq!(&out, b"there");
}

#[test]
fn files_are_checked_before_they_are_mapped() {
    let zero = File::open("/dev/zero").unwrap();
    assert!(matches!(Region::map_shared(zero.as_fd(), 4096), Err(WindowError::NotMemfd)));
    let (_, file) = Region::create_shared("file", 4096).unwrap();
    assert!(matches!(Region::map_shared(file.as_fd(), 8192), Err(WindowError::SizeMismatch { .. })));
    let reservation = Arc::new(Reservation::new_anywhere(16 * page_bytes()).unwrap());
    assert!(matches!(
        Region::map_shared_at(file.as_fd(), &reservation, 0, 4095),
        Err(WindowError::SizeMismatch { .. })
    ));
}

#[test]
fn what_was_read_stays_as_it_was_read_while_a_writer_races() {
    let (ours, file) = Region::create_shared("race", 8192).unwrap();
    let theirs = Region::map_shared(file.as_fd(), 8192).unwrap();
    thread::scope(|scope| {
        let writer = scope.spawn(move || {
            for round in 0..2_000_u32 {
                theirs.fill(0, &[round as u8], 8192).unwrap();
            }
        });
        let mut out = vec![0; 8192];
        while !writer.is_finished() {
            ours.read(0, &mut out).unwrap();
            let once = out.clone();
            thread::yield_now();
            assert_eq!(out, once);
        }
    });
}

/// One step of the model test; all offsets and lengths in bytes.
#[derive(Debug, Clone)]
enum Step {
    Write { offset: u64, byte: u8, bytes: usize },
    Fill { offset: u64, pattern: Vec<u8>, count: u64 },
    Copy { from: usize, to: usize, offset: u64, to_offset: u64, bytes: u64 },
}

const MODEL_BYTES: u64 = 6000;

fn step() -> impl Strategy<Value = Step> {
    // Some steps stick out of the region, and then must change nothing.
    let offset = 0..MODEL_BYTES + 10;
    let pattern = prop::sample::select(vec![1_usize, 2, 4, 8])
        .prop_flat_map(|length| prop::collection::vec(any::<u8>(), length));
    prop_oneof![
        (offset.clone(), any::<u8>(), 0_usize..700).prop_map(|(offset, byte, bytes)| Step::Write {
            offset,
            byte,
            bytes
        }),
        (offset.clone(), pattern, 0_u64..1000).prop_map(|(offset, pattern, count)| Step::Fill {
            offset,
            pattern,
            count
        }),
        (0_usize..2, 0_usize..2, offset.clone(), offset, 0_u64..MODEL_BYTES).prop_map(
            |(from, to, offset, to_offset, bytes)| Step::Copy { from, to, offset, to_offset, bytes }
        ),
    ]
}

fn apply(step: &Step, regions: &[Region; 2], models: &mut [Vec<u8>; 2]) {
    let fits = |offset: u64, bytes: u64| offset + bytes <= MODEL_BYTES;
    let range = |offset: u64, bytes: u64| offset as usize..(offset + bytes) as usize;
    match step {
        Step::Write { offset, byte, bytes } => {
            let data: Vec<u8> = (0..*bytes).map(|at| byte.wrapping_add(at as u8)).collect();
            let result = regions[0].write(*offset, &data);
            assert_eq!(result.is_ok(), fits(*offset, *bytes as u64));
            if result.is_ok() {
                models[0][range(*offset, *bytes as u64)].copy_from_slice(&data);
            }
        }
        Step::Fill { offset, pattern, count } => {
            let bytes = count * pattern.len() as u64;
            let result = regions[1].fill(*offset, pattern, *count);
            assert_eq!(result.is_ok(), fits(*offset, bytes));
            if result.is_ok() {
                let filled = pattern.iter().cycle().take(bytes as usize).copied();
                models[1].splice(range(*offset, bytes), filled);
            }
        }
        Step::Copy { from, to, offset, to_offset, bytes } => {
            let result = regions[*from].copy_to(*offset, &regions[*to], *to_offset, *bytes);
            assert_eq!(result.is_ok(), fits(*offset, *bytes) && fits(*to_offset, *bytes));
            if result.is_ok() {
                let data = models[*from][range(*offset, *bytes)].to_vec();
                models[*to][range(*to_offset, *bytes)].copy_from_slice(&data);
            }
        }
    }
}

proptest! {
    #[test]
    fn regions_behave_like_vectors(steps in prop::collection::vec(step(), 1..20)) {
        let shared = Region::create_shared("model", MODEL_BYTES).unwrap().0;
        let regions = [Region::anonymous(MODEL_BYTES).unwrap(), shared];
        let mut models = [vec![0; MODEL_BYTES as usize], vec![0; MODEL_BYTES as usize]];
        for step in &steps {
            apply(step, &regions, &mut models);
        }
        for (region, model) in regions.iter().zip(&models) {
            let mut bytes = vec![1; MODEL_BYTES as usize];
            region.read(0, &mut bytes).unwrap();
            prop_assert_eq!(&bytes, model);
        }
    }
}
