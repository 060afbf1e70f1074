//! One error, told twice: by the card through NVML, which names no process, and by the kernel's log, which may.
//!
//! The log is told at once and is exact. NVML's event waits a moment for its line in the log and counts as nobody's when
//! none comes. Lines that repeat what was told a moment ago (the driver writes one for each unit of the GPU) are dropped.

use std::collections::VecDeque;

use vgpu_sched::{Deadline, Duration, Instant, Xid};

/// How long an event waits for its line in the log. The driver writes the line before it raises the event; the rest is for
/// a busy machine.
const WAIT: Duration = Duration::from_millis(500);

/// How long what was told makes the same again a repetition.
const SAME: Duration = Duration::from_millis(1_000);

/// Told errors that are remembered, and events that wait, at most: more than all tenants of a card cause in [`SAME`]. Beyond
/// them, an error may be told twice.
const REMEMBERED_MAX: usize = 256;

/// An error to act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sighting {
    /// Index of the GPU.
    pub gpu: usize,
    pub xid: Xid,
    /// The process that caused it, where that is known.
    pub pid: Option<u32>,
}

#[derive(Debug, Default)]
pub(crate) struct Sightings {
    /// Whether the log is read.
    log: bool,
    waiting: VecDeque<(Sighting, Deadline)>,
    told: VecDeque<(Sighting, Instant)>,
}

impl Sightings {
    /// Whether the log is read from now on. Without it no event waits.
    pub(crate) fn set_log(&mut self, readable: bool) {
        self.log = readable;
    }

    /// The card reported an error. What is returned is to be acted on now.
    pub(crate) fn by_card(&mut self, now: Instant, gpu: usize, xid: Xid) -> Option<Sighting> {
        let seen = Sighting { gpu, xid, pid: None };
        if self.was_told(now, |told| (told.gpu, told.xid) == (gpu, xid)) {
            return None;
        }
        if !self.log || self.waiting.len() >= REMEMBERED_MAX {
            return Some(self.tell(now, seen));
        }
        if !self.waiting.iter().any(|(waiting, _)| *waiting == seen) {
            self.waiting.push_back((seen, Deadline::after(now, WAIT)));
        }
        None
    }

    /// A line of the log, or a monitor that knows processes. What is returned is to be acted on now.
    pub(crate) fn by_log(&mut self, now: Instant, seen: Sighting) -> Option<Sighting> {
        self.waiting.retain(|(waiting, _)| (waiting.gpu, waiting.xid) != (seen.gpu, seen.xid));
        let repeats = |told: &Sighting| {
            (told.gpu, told.xid) == (seen.gpu, seen.xid) && (seen.pid.is_none() || told.pid == seen.pid)
        };
        if self.was_told(now, repeats) {
            return None;
        }
        Some(self.tell(now, seen))
    }

    /// An event for which no line came.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Sighting> {
        let (_, deadline) = self.waiting.front()?;
        if !deadline.has_passed(now) {
            return None;
        }
        let (seen, _) = self.waiting.pop_front()?;
        Some(self.tell(now, seen))
    }

    pub(crate) fn next_deadline(&self) -> Option<Deadline> {
        self.waiting.front().map(|(_, deadline)| *deadline)
    }

    fn was_told(&self, now: Instant, same: impl Fn(&Sighting) -> bool) -> bool {
        self.told.iter().any(|(told, at)| now.since(*at) <= SAME && same(told))
    }

    fn tell(&mut self, now: Instant, seen: Sighting) -> Sighting {
        if self.told.len() >= REMEMBERED_MAX {
            self.told.pop_front();
        }
        self.told.push_back((seen, now));
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    const fn seen(number: u32, pid: Option<u32>) -> Sighting {
        Sighting { gpu: 0, xid: Xid(number), pid }
    }

    fn with_log() -> Sightings {
        let mut sightings = Sightings::default();
        sightings.set_log(true);
        sightings
    }

    #[test]
    fn an_event_and_its_line_are_one_error_in_either_order() {
        let mut first_event = with_log();
        assert_eq!(first_event.by_card(at(0), 0, Xid(31)), None);
        assert_eq!(first_event.by_log(at(10), seen(31, Some(7))), Some(seen(31, Some(7))));
        assert_eq!((first_event.next_deadline(), first_event.due(at(9_000))), (None, None));
        let mut first_line = with_log();
        assert_eq!(first_line.by_log(at(0), seen(31, Some(7))), Some(seen(31, Some(7))));
        assert_eq!(first_line.by_card(at(10), 0, Xid(31)), None);
        assert_eq!(first_line.next_deadline(), None);
    }

    #[test]
    fn an_event_without_a_line_is_nobodys_when_its_time_is_up() {
        let mut sightings = with_log();
        assert_eq!(sightings.by_card(at(0), 0, Xid(79)), None);
        assert_eq!(sightings.by_card(at(1), 0, Xid(79)), None, "and is one error");
        assert_eq!(sightings.next_deadline().map(Deadline::at), Some(at(500)));
        assert_eq!(sightings.due(at(499)), None);
        assert_eq!(sightings.due(at(500)), Some(seen(79, None)));
        assert_eq!(sightings.due(at(9_000)), None);
    }

    #[test]
    fn without_a_log_nothing_waits() {
        let mut sightings = Sightings::default();
        assert_eq!(sightings.by_card(at(0), 0, Xid(31)), Some(seen(31, None)));
        assert_eq!(sightings.by_card(at(2_000), 0, Xid(31)), Some(seen(31, None)));
    }

    #[test]
    fn lines_that_repeat_are_dropped_and_other_processes_are_not() {
        let mut sightings = with_log();
        assert!(sightings.by_log(at(0), seen(13, Some(7))).is_some());
        assert!(sightings.by_log(at(1), seen(13, Some(7))).is_none());
        assert!(sightings.by_log(at(2), seen(13, None)).is_none(), "the same, told without the process");
        assert!(sightings.by_log(at(3), seen(13, Some(8))).is_some());
        assert!(sightings.by_log(at(4), seen(31, Some(7))).is_some());
        assert!(sightings.by_log(at(5), Sighting { gpu: 1, ..seen(13, Some(7)) }).is_some());
        assert!(sightings.by_log(at(2_000), seen(13, Some(7))).is_some(), "again, later");
    }

    #[test]
    fn a_line_without_a_process_does_not_hide_one_with() {
        let mut sightings = with_log();
        assert_eq!(sightings.by_log(at(0), seen(13, None)), Some(seen(13, None)));
        assert_eq!(sightings.by_log(at(1), seen(13, Some(7))), Some(seen(13, Some(7))));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut sightings = with_log();
        for number in 0..2_000 {
            sightings.by_log(at(0), seen(number, None));
            sightings.by_card(at(0), 1, Xid(number));
        }
        assert!(sightings.told.len() <= REMEMBERED_MAX && sightings.waiting.len() <= REMEMBERED_MAX);
    }
}
