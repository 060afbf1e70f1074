//! Who of the ready tenants is eligible and has the earliest deadline, in logarithmic time.

use alloc::vec::Vec;

/// No node: the child of a leaf.
const NONE: u32 = u32::MAX;

/// Where a ready tenant stands: its deadline, and since when it waits, which is a number of its own.
pub(crate) type Key = (i128, u64);

/// A balanced search tree (after Adelson-Velsky and Landis) over slots, sorted by deadline, in which each node also
/// knows the smallest virtual time below it. So the search for the earliest deadline among the eligible needs one way
/// down: it goes left wherever anybody there is eligible.
///
/// Memory is taken in [`Self::reserve`] only. The height is at most 1.44 times the logarithm of the number of
/// members, which also bounds the recursion.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
    root: u32,
    len: usize,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    left: u32,
    right: u32,
    /// 0 where the slot is not in the tree.
    height: u8,
    key: Key,
    time: i128,
    least: i128,
}

const EMPTY: Node = Node { left: NONE, right: NONE, height: 0, key: (0, 0), time: 0, least: 0 };

impl Tree {
    pub(crate) const fn new() -> Self {
        Self { nodes: Vec::new(), root: NONE, len: 0 }
    }

    /// Makes room for the slots below `slots`.
    pub(crate) fn reserve(&mut self, slots: usize) {
        self.nodes.resize(slots.max(self.nodes.len()), EMPTY);
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn contains(&self, slot: u32) -> bool {
        self.nodes[slot as usize].height > 0
    }

    /// Takes in a slot that is not there.
    pub(crate) fn insert(&mut self, slot: u32, key: Key, time: i128) {
        debug_assert!(!self.contains(slot), "a tenant waits once");
        self.nodes[slot as usize] = Node { height: 1, key, time, least: time, ..EMPTY };
        self.root = self.insert_below(self.root, slot);
        self.len += 1;
    }

    /// Takes a slot out; whether it was in.
    pub(crate) fn remove(&mut self, slot: u32) -> bool {
        if !self.contains(slot) {
            return false;
        }
        self.root = self.remove_below(self.root, slot);
        self.nodes[slot as usize] = EMPTY;
        self.len -= 1;
        true
    }

    /// The slot with the earliest deadline among those whose time is at most `now`.
    pub(crate) fn earliest_eligible(&self, now: i128) -> Option<u32> {
        let mut at = self.root;
        if self.least_below(at)? > now {
            return None;
        }
        loop {
            let node = self.nodes[at as usize];
            at = if self.least_below(node.left).is_some_and(|least| least <= now) {
                node.left
            } else if node.time <= now {
                return Some(at);
            } else {
                node.right
            };
        }
    }

    /// The slot with the smallest time.
    pub(crate) fn least_time(&self) -> Option<u32> {
        self.earliest_eligible(self.least()?)
    }

    /// The smallest time.
    pub(crate) fn least(&self) -> Option<i128> {
        self.least_below(self.root)
    }

    fn least_below(&self, at: u32) -> Option<i128> {
        (at != NONE).then(|| self.nodes[at as usize].least)
    }

    fn height(&self, at: u32) -> u8 {
        if at == NONE { 0 } else { self.nodes[at as usize].height }
    }

    fn insert_below(&mut self, at: u32, slot: u32) -> u32 {
        if at == NONE {
            return slot;
        }
        let node = self.nodes[at as usize];
        if self.nodes[slot as usize].key < node.key {
            self.nodes[at as usize].left = self.insert_below(node.left, slot);
        } else {
            self.nodes[at as usize].right = self.insert_below(node.right, slot);
        }
        self.balance(at)
    }

    fn remove_below(&mut self, at: u32, slot: u32) -> u32 {
        let node = self.nodes[at as usize];
        if at != slot {
            if self.nodes[slot as usize].key < node.key {
                self.nodes[at as usize].left = self.remove_below(node.left, slot);
            } else {
                self.nodes[at as usize].right = self.remove_below(node.right, slot);
            }
            return self.balance(at);
        }
        if node.right == NONE {
            return node.left;
        }
        let (rest, heir) = self.take_first(node.right);
        self.nodes[heir as usize].left = node.left;
        self.nodes[heir as usize].right = rest;
        self.balance(heir)
    }

    /// Takes the first node out of the tree below `at`: what remains, and the node.
    fn take_first(&mut self, at: u32) -> (u32, u32) {
        let node = self.nodes[at as usize];
        if node.left == NONE {
            return (node.right, at);
        }
        let (rest, first) = self.take_first(node.left);
        self.nodes[at as usize].left = rest;
        (self.balance(at), first)
    }

    /// Restores balance and the facts about the tree below `at`; its new root.
    fn balance(&mut self, at: u32) -> u32 {
        let Node { left, right, .. } = self.nodes[at as usize];
        let (l, r) = (self.height(left), self.height(right));
        if l > r + 1 {
            let Node { left: outer, right: inner, .. } = self.nodes[left as usize];
            if self.height(inner) > self.height(outer) {
                self.nodes[at as usize].left = self.rotate_left(left);
            }
            return self.rotate_right(at);
        }
        if r > l + 1 {
            let Node { left: inner, right: outer, .. } = self.nodes[right as usize];
            if self.height(inner) > self.height(outer) {
                self.nodes[at as usize].right = self.rotate_right(right);
            }
            return self.rotate_left(at);
        }
        self.update(at);
        at
    }

    fn rotate_left(&mut self, at: u32) -> u32 {
        let up = self.nodes[at as usize].right;
        self.nodes[at as usize].right = self.nodes[up as usize].left;
        self.nodes[up as usize].left = at;
        self.update(at);
        self.update(up);
        up
    }

    fn rotate_right(&mut self, at: u32) -> u32 {
        let up = self.nodes[at as usize].left;
        self.nodes[at as usize].left = self.nodes[up as usize].right;
        self.nodes[up as usize].right = at;
        self.update(at);
        self.update(up);
        up
    }

    fn update(&mut self, at: u32) {
        let node = self.nodes[at as usize];
        let mut least = node.time;
        for below in [node.left, node.right] {
            least = self.least_below(below).map_or(least, |other| least.min(other));
        }
        let height = 1 + self.height(node.left).max(self.height(node.right));
        self.nodes[at as usize] = Node { least, height, ..node };
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn check(tree: &Tree, at: u32) -> u8 {
        if at == NONE {
            return 0;
        }
        let node = tree.nodes[at as usize];
        let (l, r) = (check(tree, node.left), check(tree, node.right));
        assert!(l.abs_diff(r) <= 1, "balanced");
        assert_eq!(node.height, 1 + l.max(r));
        node.height
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_scan(
            steps in proptest::collection::vec((0..40_u32, any::<bool>(), 0..50_i128, 0..50_i128, 0..50_i128), 0..400)
        ) {
            let mut tree = Tree::new();
            tree.reserve(40);
            let mut model: BTreeMap<u32, (Key, i128)> = BTreeMap::new();
            for (order, (slot, insert, deadline, time, now)) in (0..).zip(steps) {
                if insert && !tree.contains(slot) {
                    tree.insert(slot, (deadline, order), time);
                    model.insert(slot, ((deadline, order), time));
                } else if !insert {
                    prop_assert_eq!(tree.remove(slot), model.remove(&slot).is_some());
                }
                check(&tree, tree.root);
                prop_assert_eq!(tree.len(), model.len());
                prop_assert_eq!(tree.is_empty(), model.is_empty());
                let best = |now: i128| {
                    let eligible = model.iter().filter(|(_, (_, time))| *time <= now);
                    eligible.min_by_key(|(_, (key, _))| *key).map(|(slot, _)| *slot)
                };
                prop_assert_eq!(tree.earliest_eligible(now), best(now));
                let least = model.values().map(|(_, time)| *time).min();
                prop_assert_eq!(tree.least_time(), least.and_then(best));
            }
        }
    }
}
