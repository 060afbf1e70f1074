//! What a stream has in flight of the work that needs the lease, and whether it waits for the guest.

use std::collections::VecDeque;

use super::forecast::Batch;

/// A stream's leased work that the GPU has and has not told of.
#[derive(Debug, Default)]
pub(super) struct Flight {
    /// Submitted since the latest mark.
    open: Batch,
    /// Submitted before marks that were not reached yet, with the number of each mark.
    marked: VecDeque<(u64, Batch)>,
    /// Numbers of the commands that wait for the guest and were not seen to pass.
    waits: VecDeque<u64>,
}

impl Flight {
    /// A unit was submitted.
    pub(super) fn add(&mut self, key: u64, ns: u64, known: bool) {
        self.open.add(key, ns, known);
    }

    /// A mark was asked for behind command `number`.
    pub(super) fn mark(&mut self, number: u64) {
        if self.open.units > 0 {
            self.marked.push_back((number, std::mem::take(&mut self.open)));
        }
    }

    /// The GPU has reached that number; what it has done since the last call, if anything.
    pub(super) fn reached(&mut self, number: u64) -> Option<Batch> {
        let mut done: Option<Batch> = None;
        while let Some((_, batch)) = self.marked.pop_front_if(|(mark, _)| *mark <= number) {
            done.get_or_insert_default().merge(&batch);
        }
        done
    }

    /// Whether anything is in flight.
    pub(super) fn is_empty(&self) -> bool {
        self.open.units == 0 && self.marked.is_empty()
    }

    /// Whether there is something that no mark covers.
    pub(super) const fn is_unmarked(&self) -> bool {
        self.open.units > 0
    }

    /// Command `number` waits for something that the guest does, now that the GPU has reached another number.
    pub(super) fn park(&mut self, number: u64, reached: u64) {
        while self.waits.pop_front_if(|wait| *wait <= reached).is_some() {}
        self.waits.push_back(number);
    }

    /// Whether the stream waits for the guest in or in front of command `number`, now that the GPU has reached another one.
    pub(super) fn is_parked(&self, reached: u64, number: u64) -> bool {
        self.waits.iter().any(|wait| *wait > reached && *wait <= number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_end_at_their_marks() {
        let mut flight = Flight::default();
        flight.mark(1);
        assert!(flight.is_empty(), "nothing was submitted before that mark");
        flight.add(7, 10, true);
        flight.add(7, 10, true);
        assert!(flight.is_unmarked() && !flight.is_empty());
        flight.mark(3);
        flight.add(8, 5, false);
        flight.mark(4);
        assert_eq!(flight.reached(2).map(|batch| batch.units), None);
        assert_eq!(flight.reached(3).map(|batch| (batch.units, batch.ns)), Some((2, 20)));
        flight.add(8, 5, false);
        flight.mark(9);
        assert_eq!(flight.reached(100).map(|batch| batch.units), Some(2), "both at once");
        assert!(flight.is_empty());
    }

    #[test]
    fn a_stream_is_parked_until_its_wait_has_passed() {
        let mut flight = Flight::default();
        assert!(!flight.is_parked(0, u64::MAX));
        flight.park(5, 0);
        flight.park(7, 0);
        assert!(
            flight.is_parked(4, u64::MAX) && flight.is_parked(5, u64::MAX) && !flight.is_parked(7, u64::MAX)
        );
        assert!(!flight.is_parked(4, 4), "what comes before the wait does not wait");
        assert!(flight.is_parked(4, 6), "an event between two waits waits for the first");
        flight.park(9, 7);
        assert_eq!(flight.waits, [9], "those that have passed are forgotten");
    }
}
