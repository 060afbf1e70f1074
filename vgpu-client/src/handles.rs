//! Tables that mint the names of a session's objects.

use parking_lot::Mutex;

use crate::errors::{Error, Result};

/// Names of one kind of object.
#[derive(Debug)]
pub(crate) struct Handles {
    what: &'static str,
    max: u32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Slots given back.
    free: Vec<u32>,
    /// Latest generation of each slot that was ever used.
    generations: Vec<u32>,
}

impl Handles {
    /// A table of at most `max` objects; `what` names them, in the plural.
    pub(crate) fn new(what: &'static str, max: u32) -> Self {
        Self { what, max, state: Mutex::default() }
    }

    /// Mints the slot and generation of a new name.
    pub(crate) fn mint(&self) -> Result<(u32, u32)> {
        let mut state = self.state.lock();
        if let Some(index) = state.free.pop() {
            let generation = &mut state.generations[index as usize];
            // Generation 0 names nothing.
            *generation = generation.wrapping_add(1).max(1);
            return Ok((index, *generation));
        }
        let index = u32::try_from(state.generations.len()).unwrap_or(u32::MAX);
        if index >= self.max {
            return Err(Error::Limit { what: self.what, max: self.max });
        }
        state.generations.push(1);
        Ok((index, 1))
    }

    /// Gives a slot back, once the host has surely freed it or will have before it reads the next use.
    pub(crate) fn release(&self, index: u32) {
        self.state.lock().free.push(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_comes_back_with_a_new_generation() {
        let handles = Handles::new("events", 2);
        assert_eq!(handles.mint().unwrap(), (0, 1));
        assert_eq!(handles.mint().unwrap(), (1, 1));
        assert!(matches!(handles.mint(), Err(Error::Limit { what: "events", max: 2 })));
        handles.release(0);
        assert_eq!(handles.mint().unwrap(), (0, 2));
    }
}
