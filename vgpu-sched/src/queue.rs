//! How much a tenant may have queued.

use core::fmt;

/// The bounds of a tenant's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "hosts build it from their configuration")]
pub struct QueueBounds {
    /// Commands that wait or run. From 1; few ones let the GPU run dry, many take the host's memory.
    pub commands: u32,
    /// Bytes that these commands hold on the host. From 1; a command larger than this passes alone.
    pub bytes: u64,
}

/// What a tenant has queued, over all its sessions.
///
/// A full queue loses nothing: the host stops to read the tenant's rings, so credits are not returned and the guest
/// waits where it would wait for a slow GPU. Only where the API can say so is a call refused.
#[derive(Clone, Copy, Debug)]
pub struct Queue {
    bounds: QueueBounds,
    commands: u32,
    bytes: u64,
}

/// A queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Full {
    /// Of commands.
    Commands {
        /// The bound.
        max: u32,
    },
    /// Of bytes.
    Bytes {
        /// The bound.
        max: u64,
    },
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Commands { max } => {
                write!(f, "the tenant has {max} commands queued, its limit; it goes on when one is done")
            }
            Self::Bytes { max } => {
                write!(
                    f,
                    "the tenant's queued commands hold {max} bytes, its limit; it goes on when one is done"
                )
            }
        }
    }
}

impl core::error::Error for Full {}

impl Queue {
    /// An empty queue.
    pub const fn new(bounds: QueueBounds) -> Self {
        Self { bounds, commands: 0, bytes: 0 }
    }

    /// Takes in a command that holds `bytes` on the host.
    ///
    /// # Errors
    /// The queue is full. The command keeps its place: offer it again after [`Self::done`].
    pub const fn offer(&mut self, bytes: u64) -> Result<(), Full> {
        if self.commands >= self.bounds.commands {
            return Err(Full::Commands { max: self.bounds.commands });
        }
        let fits = self.bytes.saturating_add(bytes) <= self.bounds.bytes;
        // One that never fits would wait for ever; alone it does no more harm than its own size, which the ring bounds.
        if !fits && self.commands > 0 {
            return Err(Full::Bytes { max: self.bounds.bytes });
        }
        self.commands += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }

    /// A command that was taken in is done.
    ///
    /// # Panics
    /// When there was none like it: a count that went wrong would let the queue grow without end.
    pub const fn done(&mut self, bytes: u64) {
        assert!(self.commands > 0 && self.bytes >= bytes, "only a queued command is done");
        self.commands -= 1;
        self.bytes -= bytes;
    }

    /// Other bounds. What is above them already stays, and nothing is taken in until it is done.
    pub const fn set_bounds(&mut self, bounds: QueueBounds) {
        self.bounds = bounds;
    }

    /// Commands that wait or run.
    pub const fn commands(&self) -> u32 {
        self.commands
    }

    /// Bytes that they hold on the host.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// It takes in what fits, in order, loses nothing, and never stops for good.
        #[test]
        fn it_holds_its_bounds(commands in 1..5_u32, bytes in 1..100_u64, steps in proptest::collection::vec((any::<bool>(), 0..150_u64), 0..200)) {
            let mut queue = Queue::new(QueueBounds { commands, bytes });
            let mut model: alloc::collections::VecDeque<u64> = alloc::collections::VecDeque::new();
            for (offer, size) in steps {
                if offer {
                    let sum: u64 = model.iter().sum();
                    let full = if model.len() >= commands as usize {
                        Some(Full::Commands { max: commands })
                    } else if !model.is_empty() && sum + size > bytes {
                        Some(Full::Bytes { max: bytes })
                    } else {
                        None
                    };
                    prop_assert_eq!(queue.offer(size).err(), full);
                    if full.is_none() {
                        model.push_back(size);
                    }
                } else if let Some(size) = model.pop_front() {
                    queue.done(size);
                }
                prop_assert_eq!(queue.commands() as usize, model.len());
                prop_assert_eq!(queue.bytes(), model.iter().sum::<u64>());
            }
        }
    }

    #[test]
    #[should_panic(expected = "only a queued command is done")]
    fn a_command_is_done_once() {
        let mut queue = Queue::new(QueueBounds { commands: 1, bytes: 1 });
        queue.done(0);
    }

    #[test]
    fn lower_bounds_take_effect_when_there_is_room() {
        let mut queue = Queue::new(QueueBounds { commands: 2, bytes: 10 });
        queue.offer(5).unwrap();
        queue.offer(5).unwrap();
        queue.set_bounds(QueueBounds { commands: 1, bytes: 1 });
        queue.done(5);
        assert_eq!(queue.offer(1), Err(Full::Commands { max: 1 }));
        queue.done(5);
        assert_eq!(queue.offer(1), Ok(()));
    }
}
