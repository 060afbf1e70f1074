//! What a load or store moves: 1, 2, 4 or 8 bytes.

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use vgpu_window::Region;

use super::super::lanes::Bits;

/// An unsigned integer of the size of an access.
pub(in super::super) trait Element: Copy + 'static {
    /// Its size.
    const BYTES: u64;
    /// The register that takes it.
    type Bits: Bits;
    /// The atomic of its size.
    type Cell;
    /// All whole elements of a region.
    fn cells(region: &Region) -> &[Self::Cell];
    /// Reads a cell.
    fn get(cell: &Self::Cell) -> Self::Bits;
    /// Writes a cell.
    fn put(cell: &Self::Cell, value: Self::Bits);
    /// Changes a cell atomically and gives the old value.
    fn change(cell: &Self::Cell, change: impl Fn(Self::Bits) -> Self::Bits) -> Self::Bits;
    /// The element in a pair of words, where it starts `shift` bits up.
    fn extract(low: u32, high: u32, shift: u32) -> Self::Bits;
    /// A pair of words with the element put in.
    fn insert(low: u32, high: u32, shift: u32, value: Self::Bits) -> (u32, u32);
}

macro_rules! element {
    ($ty:ty, $bits:ty, $cell:ty, $cells:ident) => {
        #[allow(
            clippy::cast_possible_truncation,
            reason = "a register holds more bits than a narrow element"
        )]
        impl Element for $ty {
            const BYTES: u64 = size_of::<$ty>() as u64;
            type Bits = $bits;
            type Cell = $cell;
            #[inline(always)]
            fn cells(region: &Region) -> &[$cell] {
                // Addresses of regions are checked for alignment when they are inserted.
                region.$cells(0, region.len() / Self::BYTES).unwrap_or(&[])
            }
            #[inline(always)]
            fn get(cell: &$cell) -> $bits {
                cell.load(Ordering::Relaxed).into()
            }
            #[inline(always)]
            fn put(cell: &$cell, value: $bits) {
                cell.store(value as $ty, Ordering::Relaxed);
            }
            fn change(cell: &$cell, change: impl Fn($bits) -> $bits) -> $bits {
                let mut old = cell.load(Ordering::Relaxed);
                loop {
                    let new = change(old.into()) as $ty;
                    match cell.compare_exchange_weak(old, new, Ordering::AcqRel, Ordering::Relaxed) {
                        Ok(_) => return old.into(),
                        Err(now) => old = now,
                    }
                }
            }
            #[inline(always)]
            fn extract(low: u32, high: u32, shift: u32) -> $bits {
                ((u64::from(low) | u64::from(high) << 32) >> shift) as $ty as $bits
            }
            #[inline(always)]
            fn insert(low: u32, high: u32, shift: u32, value: $bits) -> (u32, u32) {
                let hole = u64::from(<$ty>::MAX) << shift;
                let both = u64::from(low) | u64::from(high) << 32;
                let both = (both & !hole) | (u64::from(value as $ty) << shift);
                (both as u32, (both >> 32) as u32)
            }
        }
    };
}

element!(u8, u32, AtomicU8, atomics_u8);
element!(u16, u32, AtomicU16, atomics_u16);
element!(u32, u32, AtomicU32, atomics_u32);
element!(u64, u64, AtomicU64, atomics_u64);
