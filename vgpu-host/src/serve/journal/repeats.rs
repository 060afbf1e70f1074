//! Events that come again and again: the first is told at once, those that follow as one, a while later.

use std::collections::BTreeMap;

use vgpu_sched::{Deadline, Duration, Instant, TenantId};

use super::Entry;
use crate::api::EventKind;

/// How long repetitions of an event are counted before their number is told. A guest that tries again and again for an hour
/// is 360 events for each cause, and an operator learns of it within seconds.
pub(super) const WINDOW: Duration = Duration::from_millis(10_000);

/// Whose, what, and by which cause. All three are ours, so there are no more of them than tenants times causes.
type Key = (Option<TenantId>, EventKind, &'static str);

#[derive(Debug, Default)]
pub(super) struct Repeats {
    counted: BTreeMap<Key, Repeat>,
}

#[derive(Debug)]
struct Repeat {
    window: Deadline,
    /// How often it came since it was last told, and how it was the last time.
    more: Option<(u64, Entry)>,
}

impl Repeats {
    /// The event, if it is to be told now; else it was counted.
    pub(super) fn admit(&mut self, now: Instant, entry: Entry) -> Option<Entry> {
        let Some(cause) = entry.repeats else { return Some(entry) };
        let key = (entry.tenant, entry.kind, cause);
        // What was counted and not told yet is told by `due`, also where that comes late.
        let open = |repeat: &&mut Repeat| repeat.more.is_some() || !repeat.window.has_passed(now);
        if let Some(repeat) = self.counted.get_mut(&key).filter(open) {
            let count = repeat.more.as_ref().map_or(0, |(count, _)| *count);
            repeat.more = Some((count + 1, entry));
            return None;
        }
        self.counted.insert(key, Repeat { window: Deadline::after(now, WINDOW), more: None });
        Some(entry)
    }

    /// What was counted in windows that are over, each with its number. Another window begins then.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(Entry, u64)> {
        let mut due = vec![];
        self.counted.retain(|_, repeat| {
            if !repeat.window.has_passed(now) {
                return true;
            }
            repeat.window = Deadline::after(now, WINDOW);
            let more = repeat.more.take();
            let goes_on = more.is_some();
            due.extend(more.map(|(count, entry)| (entry, count)));
            goes_on
        });
        due
    }

    /// When [`Self::due`] has something to tell.
    pub(super) fn next_deadline(&self) -> Option<Deadline> {
        self.counted.values().filter(|repeat| repeat.more.is_some()).map(|repeat| repeat.window).min()
    }
}
