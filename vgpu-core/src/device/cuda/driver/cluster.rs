//! Where a card's multiprocessors lie.
//!
//! No public call tells it. The driver has it for NVIDIA's own libraries in a table of functions that
//! `cuGetExportTable` answers (seen with driver 580: cuBLASLt 13 asks for it before its first product in bf16).

use std::{ptr, slice};

use cudarc::driver::sys;
use vgpu_proto::limits::DEVICE_CLUSTERS_MAX;

use super::handle::Handle;
use super::load::symbol;
use crate::device::DeviceError;

/// The table's id.
static TABLE: sys::CUuuid = sys::CUuuid {
    bytes: [
        0x17, 0x34, -0x24, 0x26, -0x80, 0x0d, 0x47, 0x45, -0x79, 0x26, -0x40, -0x0f, -0x19, -0x23, -0x75,
        -0x36,
    ],
};

type Get = unsafe extern "C" fn(*mut *mut u8, *mut *mut u8) -> u32;
type Return = unsafe extern "C" fn(*mut u8, *mut u8) -> u32;
type GetExportTable = unsafe extern "C" fn(*mut *const Table, *const sys::CUuuid) -> u32;

/// The table in the version that is known.
#[repr(C)]
struct Table {
    /// Its size. Another one is another version, which is left alone.
    bytes: usize,
    _unknown: [usize; 3],
    /// Answers two arrays of bytes, with one for each texture processing cluster of the current context's card.
    get: Option<Get>,
    _others: [usize; 8],
    /// Takes them back.
    give_back: Option<Return>,
    _rest: [usize; 3],
}

impl Handle {
    /// The graphics processing cluster of each texture processing cluster, and its number in there; none where the driver
    /// does not tell.
    pub(in crate::device::cuda) fn clusters(
        &self,
        multiprocessor_count: u32,
    ) -> Result<Vec<(u8, u8)>, DeviceError> {
        self.bind()?;
        // A texture processing cluster has two multiprocessors since compute capability 6.0.
        let count = (multiprocessor_count / 2) as usize;
        // SAFETY: the function takes a place for a pointer and an id of 16 bytes.
        let Some(get_table) = (unsafe { symbol::<GetExportTable>("cuGetExportTable") }) else {
            return Ok(Vec::new());
        };
        let mut table = ptr::null();
        // SAFETY: there is a place for the pointer, and the id lives through the call.
        let answered = unsafe { get_table(&raw mut table, &raw const TABLE) };
        if answered != 0 || table.is_null() || count == 0 || count > DEVICE_CLUSTERS_MAX {
            return Ok(Vec::new());
        }
        // SAFETY: a table begins with its size in bytes, and the driver never takes one back.
        if unsafe { table.cast::<usize>().read() } != size_of::<Table>() {
            return Ok(Vec::new());
        }
        // SAFETY: it has the size of the version that is known, in which its slots are functions of these types.
        let Table { get: Some(get), give_back: Some(give_back), .. } = (unsafe { &*table }) else {
            return Ok(Vec::new());
        };
        let (mut groups, mut numbers) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: there is a place for each array, and the context is current.
        if unsafe { get(&raw mut groups, &raw mut numbers) } != 0 || groups.is_null() || numbers.is_null() {
            return Ok(Vec::new());
        }
        // SAFETY: the array has a byte for each texture processing cluster, and nobody else has it.
        let group_of = unsafe { slice::from_raw_parts(groups, count) };
        // SAFETY: as above.
        let number_of = unsafe { slice::from_raw_parts(numbers, count) };
        let clusters = group_of.iter().copied().zip(number_of.iter().copied()).collect();
        // SAFETY: they came from the other function, and are not looked at again.
        let _ = unsafe { give_back(groups, numbers) };
        Ok(clusters)
    }
}
