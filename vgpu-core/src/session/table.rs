//! Tables of a session's objects, indexed by the names that the guest mints.

use vgpu_proto::{Status, Violation};

/// A bounded table. It grows with use, so that an idle session costs little.
#[derive(Debug)]
pub(super) struct Table<T> {
    slots: Vec<Slot<T>>,
    limit: u32,
}

#[derive(Debug)]
enum Slot<T> {
    Free,
    /// A create call runs on a pool thread.
    Creating {
        generation: u32,
    },
    Live {
        generation: u32,
        value: T,
    },
}

impl<T> Table<T> {
    pub(super) fn new(limit: u32) -> Self {
        Self { slots: Vec::new(), limit }
    }

    /// Takes the slot of a minted name before its object exists.
    ///
    /// # Errors
    /// What no honest client does: an index outside the table, a slot in use, generation 0.
    pub(super) fn claim(&mut self, index: u32, generation: u32) -> Result<(), Violation> {
        if index >= self.limit || generation == 0 {
            return Err(Violation::HandleIndex);
        }
        let at = index as usize;
        if at >= self.slots.len() {
            self.slots.resize_with(at + 1, || Slot::Free);
        }
        match self.slots[at] {
            Slot::Free => {
                self.slots[at] = Slot::Creating { generation };
                Ok(())
            }
            Slot::Creating { .. } | Slot::Live { .. } => Err(Violation::HandleInUse),
        }
    }

    /// Fills a claimed slot; with `None`, because its create call failed, frees it.
    pub(super) fn fill(&mut self, index: u32, value: Option<T>) {
        let slot = &mut self.slots[index as usize];
        if let Slot::Creating { generation } = *slot {
            *slot = value.map_or(Slot::Free, |value| Slot::Live { generation, value });
        }
    }

    /// The live object of that name.
    ///
    /// # Errors
    /// Outer: an index outside the table. Inner: `INVALID_HANDLE` for an object that does not exist (any more).
    pub(super) fn get(&self, index: u32, generation: u32) -> Result<Result<&T, Status>, Violation> {
        if index >= self.limit {
            return Err(Violation::HandleIndex);
        }
        Ok(match self.slots.get(index as usize) {
            Some(Slot::Live { generation: live, value }) if *live == generation => Ok(value),
            _ => Err(Status::ERROR_INVALID_HANDLE),
        })
    }

    /// The live object in a slot, whatever its generation.
    pub(super) fn at(&self, index: u32) -> Option<&T> {
        match self.slots.get(index as usize) {
            Some(Slot::Live { value, .. }) => Some(value),
            _ => None,
        }
    }

    /// As [`Table::get`], to change the object.
    pub(super) fn get_mut(
        &mut self,
        index: u32,
        generation: u32,
    ) -> Result<Result<&mut T, Status>, Violation> {
        if index >= self.limit {
            return Err(Violation::HandleIndex);
        }
        Ok(match self.slots.get_mut(index as usize) {
            Some(Slot::Live { generation: live, value }) if *live == generation => Ok(value),
            _ => Err(Status::ERROR_INVALID_HANDLE),
        })
    }

    /// Takes the object of that name out.
    pub(super) fn remove(&mut self, index: u32, generation: u32) -> Result<Result<T, Status>, Violation> {
        if let Err(status) = self.get(index, generation)? {
            return Ok(Err(status));
        }
        match std::mem::replace(&mut self.slots[index as usize], Slot::Free) {
            Slot::Live { value, .. } => Ok(Ok(value)),
            Slot::Free | Slot::Creating { .. } => Ok(Err(Status::ERROR_INVALID_HANDLE)),
        }
    }

    /// Takes out every object that meets the condition.
    pub(super) fn remove_all(&mut self, mut condition: impl FnMut(&T) -> bool) {
        for slot in &mut self.slots {
            if matches!(slot, Slot::Live { value, .. } if condition(value)) {
                *slot = Slot::Free;
            }
        }
    }

    /// The live objects, to change them.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().filter_map(|slot| match slot {
            Slot::Live { value, .. } => Some(value),
            Slot::Free | Slot::Creating { .. } => None,
        })
    }

    /// Whether no slot is taken.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.iter().all(|slot| matches!(slot, Slot::Free))
    }

    /// The live objects.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Live { value, .. } => Some(value),
            Slot::Free | Slot::Creating { .. } => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_lives_from_fill_to_remove() {
        let mut table = Table::new(4);
        assert_eq!(table.claim(1, 7), Ok(()));
        assert_eq!(table.get(1, 7), Ok(Err(Status::ERROR_INVALID_HANDLE)), "not created yet");
        table.fill(1, Some('a'));
        assert_eq!(table.get(1, 7), Ok(Ok(&'a')));
        assert_eq!(table.get(1, 6), Ok(Err(Status::ERROR_INVALID_HANDLE)), "an older use of the slot");
        assert_eq!(table.remove(1, 7), Ok(Ok('a')));
        assert_eq!(table.remove(1, 7), Ok(Err(Status::ERROR_INVALID_HANDLE)));
    }

    #[test]
    fn a_failed_creation_frees_its_slot() {
        let mut table = Table::<char>::new(4);
        assert_eq!(table.claim(0, 1), Ok(()));
        table.fill(0, None);
        assert_eq!(table.claim(0, 2), Ok(()));
    }

    #[test]
    fn names_outside_the_table_or_minted_twice_break_the_protocol() {
        let mut table = Table::<char>::new(4);
        assert_eq!(table.claim(4, 1), Err(Violation::HandleIndex));
        assert_eq!(table.claim(0, 0), Err(Violation::HandleIndex));
        assert_eq!(table.get(4, 1), Err(Violation::HandleIndex));
        assert_eq!(table.claim(0, 1), Ok(()));
        assert_eq!(table.claim(0, 2), Err(Violation::HandleInUse));
    }
}
