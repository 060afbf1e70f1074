//! The export table that tells where a card's multiprocessors lie.
//!
//! Seen with driver 580: slot 4 answers two arrays that the caller gives back by slot 13, with a byte for each texture
//! processing cluster: its graphics processing cluster, and its number in there.

use crate::driver::driver;
use crate::export_table::slot;
use crate::fail::NOT_SUPPORTED;
use crate::pointers::Out;

/// Bytes of an array. Callers read as many as the card has clusters; the rest is zero, so that one who reads on finds
/// nothing of the program's.
const ARRAY_BYTES: usize = 4_096;

type Array = [u8; ARRAY_BYTES];

/// Address of an array for a caller, who gives it back.
fn array(values: impl Iterator<Item = u8>) -> u64 {
    let mut array: Box<Array> = Box::new([0; ARRAY_BYTES]);
    array.iter_mut().zip(values).for_each(|(place, value)| *place = value);
    Box::into_raw(array).expose_provenance() as u64
}

pub(crate) extern "C" fn get(groups: Out<u64>, numbers: Out<u64>) -> u32 {
    slot("clusters", || {
        let clusters = &driver()?.device().clusters;
        if clusters.is_empty() {
            return Err(NOT_SUPPORTED);
        }
        groups.required()?;
        numbers.required()?;
        groups.set(array(clusters.iter().map(|cluster| cluster.0)));
        numbers.set(array(clusters.iter().map(|cluster| cluster.1)));
        Ok(())
    })
}

pub(crate) extern "C" fn give_back(groups: Out<Array>, numbers: Out<Array>) -> u32 {
    slot("clusters_given_back", || {
        for array in [groups, numbers] {
            if !array.is_null() {
                let start: *mut Array = std::ptr::with_exposed_provenance_mut(array.address() as usize);
                // SAFETY: the caller gives back what `get` answered, once: a box of this type.
                drop(unsafe { Box::from_raw(start) });
            }
        }
        Ok(())
    })
}
