//! Reservations: what is refused, what stays reserved, and that addresses agree.

use std::os::fd::AsFd;
use std::sync::Arc;

use super::*;
use crate::Region;
use crate::map::page_bytes;

fn pages(count: u64) -> u64 {
    count * page_bytes()
}

fn reservation(page_count: u64) -> Arc<Reservation> {
    Arc::new(Reservation::new_anywhere(pages(page_count)).unwrap())
}

/// Whether nothing is mapped in the range now.
fn free(base: u64, bytes: u64) -> bool {
    Reservation::new_at(base, bytes).is_ok()
}

/// The protection of the mapping that holds `address`, as `/proc` prints it.
fn protection(address: u64) -> String {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| {
        let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
        let parse = |hex| u64::from_str_radix(hex, 16).unwrap();
        (parse(start)..parse(end)).contains(&address)
    });
    line.map(|line| line.split_whitespace().nth(1).unwrap().to_owned()).unwrap_or_default()
}

#[test]
fn a_range_in_use_is_refused_and_left_alone() {
    let held = Region::anonymous(pages(4)).unwrap();
    held.write(0, &[5]).unwrap();
    let base = held.address() - pages(1);
    for (base, bytes) in [(held.address(), pages(1)), (base, pages(2)), (held.address() + pages(3), pages(9))]
    {
        assert!(matches!(
            Reservation::new_at(base, bytes),
            Err(WindowError::AddressTaken { base: b, bytes: l }) if (b, l) == (base, bytes)
        ));
    }
    let mut out = [0];
    held.read(0, &mut out).unwrap();
    assert_eq!(out, [5]);
}

#[test]
fn bases_and_lengths_are_checked() {
    let page = page_bytes();
    assert!(
        matches!(Reservation::new_at(page + 1, page), Err(WindowError::Misaligned { value, .. }) if value == page + 1)
    );
    assert!(
        matches!(Reservation::new_at(page, page + 2), Err(WindowError::Misaligned { value, .. }) if value == page + 2)
    );
    assert!(matches!(Reservation::new_at(page, 0), Err(WindowError::Empty)));
    assert!(matches!(Reservation::new_at(0, page), Err(WindowError::AddressTaken { base: 0, .. })));
    assert!(matches!(
        Reservation::new_at(0_u64.wrapping_sub(page), page * 2),
        Err(WindowError::TooLarge { .. })
    ));
    assert!(matches!(Reservation::new_anywhere(0), Err(WindowError::Empty)));
    assert!(matches!(Reservation::new_anywhere(1), Err(WindowError::Misaligned { value: 1, .. })));
    assert!(matches!(Reservation::new_anywhere(1 << 63), Err(WindowError::TooLarge { .. })));
}

#[test]
fn a_region_outlives_the_handle_and_the_range_goes_last() {
    let reservation = reservation(8);
    let (base, len) = (reservation.base(), reservation.len());
    let region = Region::anonymous_at(&reservation, pages(2), 100).unwrap();
    assert_eq!(region.address(), base + pages(2));
    drop(reservation);
    region.write(0, &[1; 100]).unwrap();
    assert!(!free(base, len));
    // Another test may map something in the freed range at any time, so only the region's own protection is looked
    // at while it is held, and nothing after it is gone.
    assert_eq!(protection(region.address()), "rw-p");
}

#[test]
fn dropping_a_region_leaves_the_addresses_reserved_and_zero_for_the_next() {
    let reservation = reservation(4);
    let region = Region::anonymous_at(&reservation, pages(1), pages(2)).unwrap();
    region.write(0, &[1; 8]).unwrap();
    let address = region.address();
    drop(region);
    assert_eq!(protection(address), "---p");
    assert!(!free(address, pages(1)));
    let next = Region::anonymous_at(&reservation, pages(1), pages(1)).unwrap();
    let mut out = [7; 8];
    next.read(0, &mut out).unwrap();
    assert_eq!(out, [0; 8]);
}

#[test]
fn overlap_with_a_live_region_is_refused_and_harmless() {
    let reservation = reservation(8);
    let live = Region::anonymous_at(&reservation, pages(2), pages(2) - 1).unwrap();
    live.write(0, &[3]).unwrap();
    for (first, count) in [(2, 1), (3, 1), (1, 2), (0, 8), (3, 4)] {
        assert!(matches!(
            Region::anonymous_at(&reservation, pages(first), pages(count)),
            Err(WindowError::Overlap { live_offset, .. }) if live_offset == pages(2)
        ));
    }
    let _below = Region::anonymous_at(&reservation, 0, pages(2)).unwrap();
    let _above = Region::anonymous_at(&reservation, pages(4), pages(4)).unwrap();
    let mut out = [0];
    live.read(0, &mut out).unwrap();
    assert_eq!(out, [3]);
}

#[test]
fn regions_stay_inside_and_on_pages() {
    let reservation = reservation(4);
    for (offset, bytes) in [(0, pages(4) + 1), (pages(4), 1), (pages(3), pages(2)), (pages(1) * 1000, 1)] {
        assert!(matches!(
            Region::anonymous_at(&reservation, offset, bytes),
            Err(WindowError::OutsideReservation { offset: o, .. }) if o == offset
        ));
    }
    let last = 0_u64.wrapping_sub(page_bytes());
    assert!(matches!(
        Region::anonymous_at(&reservation, last, pages(2)),
        Err(WindowError::OutsideReservation { .. })
    ));
    assert!(matches!(
        Region::anonymous_at(&reservation, 1, 1),
        Err(WindowError::Misaligned { value: 1, .. })
    ));
}

#[test]
fn a_reservation_holds_a_bounded_number_of_regions() {
    let reservation = reservation(1);
    {
        // Filling the table with real mappings would take the kernel long, and the check looks at it alone.
        let mut occupied = reservation.lock();
        for at in 1..=RESERVATION_REGIONS_MAX as u64 {
            occupied.parts.insert(pages(at), 1);
        }
    }
    assert!(matches!(
        Region::anonymous_at(&reservation, 0, 1),
        Err(WindowError::TooManyRegions { max: RESERVATION_REGIONS_MAX })
    ));
}

#[test]
fn a_shared_region_lies_where_both_ends_agreed() {
    // One process cannot have the same address twice, so the first reservation is given up for the second.
    let first = reservation(4);
    let base = first.base();
    let (region, file) = Region::create_shared_at("agreed", &first, pages(1), pages(2)).unwrap();
    assert_eq!(region.address(), base + pages(1));
    assert_eq!(protection(region.address()), "rw-s");
    region.write(10, &[42]).unwrap();
    let second = reservation(4);
    let mapped = Region::map_shared_at(file.as_fd(), &second, pages(1), pages(2)).unwrap();
    assert_eq!(mapped.address() - second.base(), region.address() - first.base());
    let mut out = [0];
    mapped.read(10, &mut out).unwrap();
    assert_eq!(out, [42]);
}

/// A reservation far below where the kernel places mappings by itself, so that no other test gets what is ceded.
fn remote(base: u64, page_count: u64) -> Arc<Reservation> {
    Arc::new(Reservation::new_at(base, pages(page_count)).unwrap())
}

#[test]
fn ceded_addresses_are_free_for_others_and_come_back() {
    let held = remote(3 << 43, 8);
    held.cede(pages(2), pages(3)).unwrap();
    assert!(free(held.base() + pages(2), pages(3)));
    assert!(!free(held.base(), pages(2)) && !free(held.base() + pages(5), pages(3)));
    let overlap = held.cede(pages(4), pages(2)).unwrap_err();
    assert!(matches!(overlap, WindowError::Overlap { live_offset, .. } if live_offset == pages(2)));
    assert!(Region::create_shared_at("vgpu-test", &held, pages(3), pages(1)).is_err());
    let other = Reservation::new_at(held.base() + pages(3), pages(1)).unwrap();
    assert!(matches!(held.reclaim(pages(2)), Err(WindowError::AddressTaken { .. })));
    drop(other);
    held.reclaim(pages(2)).unwrap();
    assert!(!free(held.base() + pages(2), pages(1)));
    assert!(Region::create_shared_at("vgpu-test", &held, pages(3), pages(1)).is_ok());
    let (base, bytes) = (held.base(), held.len());
    drop(held);
    assert!(free(base, bytes));
}

#[test]
fn what_others_mapped_in_a_ceded_part_outlives_the_reservation() {
    let held = remote(5 << 42, 4);
    held.cede(pages(1), pages(1)).unwrap();
    let other = Reservation::new_at(held.base() + pages(1), pages(1)).unwrap();
    drop(held);
    assert!(!free(other.base(), other.len()));
}
