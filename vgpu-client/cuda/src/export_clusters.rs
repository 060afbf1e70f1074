//! The export table that tells where a card's multiprocessors lie.
//!
//! Seen with driver 580: slot 4 answers two arrays that the caller gives back by slot 13, with a byte for each texture
//! processing cluster: its graphics processing cluster, and its number in there.

use parking_lot::Mutex;

use crate::driver::driver;
use crate::export_table::slot;
use crate::fail::NOT_SUPPORTED;
use crate::pointers::Out;

/// Bytes of an array. Callers read as many as the card has clusters; the rest is zero, so that one who reads on finds
/// nothing of the program's.
const ARRAY_BYTES: usize = 4_096;

type Array = [u8; ARRAY_BYTES];

/// Addresses of the arrays that callers have.
static GIVEN: Mutex<Vec<u64>> = Mutex::new(Vec::new());

/// Address of an array for a caller, who gives it back.
fn array(values: impl Iterator<Item = u8>) -> u64 {
    let mut array: Box<Array> = Box::new([0; ARRAY_BYTES]);
    array.iter_mut().zip(values).for_each(|(place, value)| *place = value);
    let address = Box::into_raw(array).expose_provenance() as u64;
    GIVEN.lock().push(address);
    address
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

/// Frees an array. What is none of a caller's stays as it is: only this library's own list is trusted with memory.
fn free(address: u64) {
    let known = {
        let mut given = GIVEN.lock();
        given.iter().position(|known| *known == address).map(|at| given.swap_remove(at))
    };
    if let Some(address) = known {
        let start: *mut Array = std::ptr::with_exposed_provenance_mut(address as usize);
        // SAFETY: `array` made it of a box of this type, and it stood in the list once.
        drop(unsafe { Box::from_raw(start) });
    }
}

pub(crate) extern "C" fn give_back(groups: Out<Array>, numbers: Out<Array>) -> u32 {
    slot("clusters_given_back", || {
        free(groups.address());
        free(numbers.address());
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_freed_once_and_only_their_own() {
        let [first, second] = [1, 2].map(|value| array(std::iter::repeat_n(value, 3)));
        let given = |address| GIVEN.lock().contains(&address);
        assert!(given(first) && given(second));
        free(first + 8);
        free(0);
        free(first);
        free(first);
        assert!(!given(first) && given(second));
        free(second);
    }
}
