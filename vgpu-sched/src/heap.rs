//! A binary heap that knows where each member is, so that any member can leave or change its key.

use alloc::vec::Vec;

/// Where a slot is that is not in the heap.
const ABSENT: u32 = u32::MAX;

/// Slots by rising key; equal keys by rising slot. All operations but [`Self::peek`] take logarithmic time.
///
/// Memory is taken in [`Self::reserve`] only.
#[derive(Clone, Debug)]
pub(crate) struct Heap<K> {
    members: Vec<(K, u32)>,
    places: Vec<u32>,
}

impl<K: Ord + Copy> Heap<K> {
    pub(crate) const fn new() -> Self {
        Self { members: Vec::new(), places: Vec::new() }
    }

    /// Makes room for the slots below `slots`.
    pub(crate) fn reserve(&mut self, slots: usize) {
        self.members.reserve(slots.saturating_sub(self.members.len()));
        self.places.resize(slots.max(self.places.len()), ABSENT);
    }

    /// The member with the smallest key.
    pub(crate) fn peek(&self) -> Option<(u32, K)> {
        self.members.first().map(|&(key, slot)| (slot, key))
    }

    /// Takes a slot in, or changes its key.
    pub(crate) fn insert(&mut self, slot: u32, key: K) {
        self.remove(slot);
        let at = self.members.len();
        self.members.push((key, slot));
        self.places[slot as usize] = index(at);
        self.rise(at);
    }

    /// Takes a slot out; whether it was in.
    pub(crate) fn remove(&mut self, slot: u32) -> bool {
        let at = self.places[slot as usize];
        if at == ABSENT {
            return false;
        }
        self.places[slot as usize] = ABSENT;
        let at = at as usize;
        self.members.swap_remove(at);
        if let Some(&(_, moved)) = self.members.get(at) {
            self.places[moved as usize] = index(at);
            // The last member may belong above or below the place it took.
            self.rise(at);
            self.sink(self.places[moved as usize] as usize);
        }
        true
    }

    pub(crate) fn contains(&self, slot: u32) -> bool {
        self.places[slot as usize] != ABSENT
    }

    pub(crate) const fn len(&self) -> usize {
        self.members.len()
    }

    fn rise(&mut self, mut at: usize) {
        while at > 0 {
            let parent = (at - 1) / 2;
            if self.members[parent] <= self.members[at] {
                return;
            }
            self.swap(parent, at);
            at = parent;
        }
    }

    fn sink(&mut self, mut at: usize) {
        loop {
            let left = 2 * at + 1;
            let Some(mut child) = (left < self.members.len()).then_some(left) else { return };
            if left + 1 < self.members.len() && self.members[left + 1] < self.members[left] {
                child = left + 1;
            }
            if self.members[at] <= self.members[child] {
                return;
            }
            self.swap(at, child);
            at = child;
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.members.swap(a, b);
        self.places[self.members[a].1 as usize] = index(a);
        self.places[self.members[b].1 as usize] = index(b);
    }
}

/// A place as it is kept. There are no more places than slots, and slots are numbers of 32 bits.
fn index(at: usize) -> u32 {
    u32::try_from(at).expect("a heap has no more members than slots")
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_agrees_with_a_sorted_set(steps in proptest::collection::vec((0..20_u32, 0..3_u8, 0..9_u64), 0..300)) {
            let mut heap = Heap::new();
            heap.reserve(20);
            let mut model: BTreeSet<(u64, u32)> = BTreeSet::new();
            for (slot, what, key) in steps {
                let had = model.iter().find(|(_, other)| *other == slot).copied();
                if what == 0 {
                    prop_assert_eq!(heap.remove(slot), had.is_some());
                } else {
                    heap.insert(slot, key);
                }
                if let Some(had) = had {
                    model.remove(&had);
                }
                if what > 0 {
                    model.insert((key, slot));
                }
                prop_assert_eq!(heap.len(), model.len());
                prop_assert_eq!(heap.contains(slot), what > 0);
                prop_assert_eq!(heap.peek(), model.first().map(|&(key, slot)| (slot, key)));
            }
        }
    }
}
