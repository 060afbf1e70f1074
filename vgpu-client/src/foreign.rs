//! Device addresses outside the arena: a GPU's driver chooses those of a module's variables.
//!
//! Their pages are held unreadable here, as the arena is, so that no memory of this program gets the same addresses and no
//! device pointer is mistaken for one of the program's. Several variables may lie in one page; each holds the pages that it
//! touches, and a page is free again when the last of them goes.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use vgpu_window::{Reservation, page_bytes};

use crate::errors::HostFault;

/// The pages that are held. Bounded by the variables that the session knows.
#[derive(Debug, Default)]
pub(crate) struct Foreign(Mutex<Pages>);

#[derive(Debug, Default)]
struct Pages {
    /// Runs of pages, by their first address; they do not overlap.
    runs: BTreeMap<u64, Weak<Reservation>>,
    /// What each variable holds, by its address.
    holders: HashMap<u64, Vec<Arc<Reservation>>>,
}

impl Foreign {
    /// Holds the pages of the variable of `bytes` bytes at `base`, which holds none yet.
    ///
    /// # Errors
    /// [`HostFault::AddressTaken`] where something of this program lies there; [`HostFault::Address`] where no memory can
    /// lie. Nothing new is held then.
    pub(crate) fn hold(&self, base: u64, bytes: u64) -> Result<(), HostFault> {
        let page = page_bytes();
        let beyond = HostFault::Address { address: base, bytes };
        let end = base.checked_add(bytes).and_then(|end| end.checked_next_multiple_of(page));
        let end = end.ok_or(beyond)?;
        let mut at = base - base % page;
        // Held throughout, so that nobody finds a page half gone.
        let mut pages = self.0.lock();
        let Pages { runs, holders } = &mut *pages;
        runs.retain(|_, run| run.strong_count() > 0);
        let mut held = Vec::new();
        while at < end {
            let (run, next) = match covering(runs, at) {
                Some(run) => {
                    let next = run.base() + run.len();
                    (run, next)
                }
                None => {
                    let next = runs.range(at..end).next().map_or(end, |(start, _)| *start);
                    let made = Reservation::new_at(at, next - at);
                    let taken = |_| HostFault::AddressTaken { address: base, bytes };
                    let run = made.map(Arc::new).map_err(taken)?;
                    runs.insert(at, Arc::downgrade(&run));
                    (run, next)
                }
            };
            held.push(run);
            at = next;
        }
        holders.insert(base, held);
        Ok(())
    }

    /// Lets go of what the variable at `base` holds.
    pub(crate) fn release(&self, base: u64) {
        self.0.lock().holders.remove(&base);
    }
}

/// The run that has `address` in it.
fn covering(runs: &BTreeMap<u64, Weak<Reservation>>, address: u64) -> Option<Arc<Reservation>> {
    let (start, run) = runs.range(..=address).next_back()?;
    let run = run.upgrade()?;
    (address - start < run.len()).then_some(run)
}

#[cfg(test)]
mod tests {
    use vgpu_window::Region;

    use super::*;

    /// Far below where the kernel places mappings by itself.
    const BASE: u64 = 7 << 42;

    fn is_free(page: u64) -> bool {
        Reservation::new_at(BASE + page * page_bytes(), page_bytes()).is_ok()
    }

    #[test]
    fn pages_are_shared_and_go_with_their_last_variable() {
        let (foreign, page) = (Foreign::default(), page_bytes());
        let [first, same_page, across, beyond, around] =
            [BASE + 8, BASE + 16, BASE + page - 4, BASE + 5 * page, BASE + 4 * page];
        foreign.hold(first, 8).unwrap();
        foreign.hold(same_page, 8).unwrap();
        // Touches the held page, a new one, and ends in a third.
        foreign.hold(across, page + 8).unwrap();
        foreign.hold(beyond, page).unwrap();
        foreign.hold(around, 3 * page).unwrap();
        assert!((0..7).map(is_free).eq([false, false, false, true, false, false, false]));
        foreign.release(first);
        foreign.release(across);
        assert!((0..3).map(is_free).eq([false, true, true]));
        foreign.release(same_page);
        foreign.release(around);
        assert!((0..7).map(is_free).eq([true, true, true, true, true, false, true]));
        foreign.release(beyond);
        assert!(is_free(5));
    }

    #[test]
    fn memory_of_the_program_is_left_alone() {
        let (foreign, page) = (Foreign::default(), page_bytes());
        let region = Region::anonymous(page).unwrap();
        region.write(0, &[7]).unwrap();
        let (address, bytes) = (region.address() + 8, 8);
        assert_eq!(foreign.hold(address, bytes).unwrap_err(), HostFault::AddressTaken { address, bytes });
        let mut out = [0];
        region.read(0, &mut out).unwrap();
        assert_eq!(out, [7]);
        assert!(foreign.hold(0, 8).is_err());
        assert!(foreign.hold(u64::MAX - 4, 4).is_err());
        assert!(foreign.hold(u64::MAX, 4).is_err());
    }
}
