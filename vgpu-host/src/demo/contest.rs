//! The contested time: all guests have work all the time, and the host says who had how much of the GPU.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::mpsc;

use super::report::Shares;
use super::work::WorkKind;
use crate::ctl;

/// Leases that a second has at least, over all guests: 400 in the time that is usual. The demo's quanta give more.
const LEASES_PER_SECOND: u64 = 80;

/// How many times as long it may take until there were so many leases.
const PATIENCE: u32 = 4;

/// What a guest says of where it is, as a line on its standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// All its results were checked, and it launches nothing.
    Checked,
    /// It knows how large a launch of some milliseconds is, and launches nothing.
    Sized,
    /// It has launches queued, and keeps them so.
    Queued,
}

impl Word {
    const ALL: [Self; 3] = [Self::Checked, Self::Sized, Self::Queued];

    /// The line.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Checked => "checked",
            Self::Sized => "sized",
            Self::Queued => "queued",
        }
    }

    /// The word of a line.
    pub(super) fn of(line: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|word| line.trim_ascii_end() == word.text().as_bytes())
    }
}

/// What the host counts for a tenant: a part of its answer to `GET /v1/tenants`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Counts {
    name: String,
    weight: u32,
    gpu_time_ns: u64,
    leases: u64,
    ungated_ns: u64,
}

/// That answer.
#[derive(Debug, Deserialize)]
struct AllCounts {
    tenants: Vec<Counts>,
}

/// Leads the guests through the contested time. Each order lets a guest begin with its next step.
#[derive(Debug)]
pub(super) struct Contest {
    least: Duration,
    /// Of each guest, where orders go. Empty once it is over, which ends the guests.
    orders: Vec<mpsc::UnboundedSender<()>>,
    checked: usize,
    queued: usize,
    begin: Option<(Instant, Vec<Counts>)>,
    outcome: Option<Result<Vec<Shares>, String>>,
}

impl Contest {
    /// Of guests that get their orders there, for that long at least.
    pub(super) fn new(least: Duration, orders: Vec<mpsc::UnboundedSender<()>>) -> Self {
        Self { least, orders, checked: 0, queued: 0, begin: None, outcome: None }
    }

    /// The longest that the contested time takes.
    pub(super) fn longest(least: Duration) -> Duration {
        least * PATIENCE
    }

    /// A guest says something. They find out their sizes one after the other, so that nobody is in another's way, and
    /// begin to queue all at once. Whether it is time to look at the host's counts.
    pub(super) fn said(&mut self, guest: usize, word: Word) -> bool {
        match word {
            Word::Checked => {
                self.checked += 1;
                if self.checked == WorkKind::ALL.len() {
                    self.order(0);
                }
            }
            Word::Sized if guest + 1 < WorkKind::ALL.len() => self.order(guest + 1),
            Word::Sized => (0..WorkKind::ALL.len()).for_each(|guest| self.order(guest)),
            Word::Queued => self.queued += 1,
        }
        word == Word::Queued && self.is_running()
    }

    /// Whether all guests have work.
    pub(super) const fn is_running(&self) -> bool {
        self.queued == WorkKind::ALL.len() && self.outcome.is_none()
    }

    /// The host's counts while all guests have work.
    pub(super) fn counted(&mut self, now: Instant, counts: Result<Vec<Counts>, String>) {
        if !self.is_running() {
            return;
        }
        let counts = match counts {
            Ok(counts) => counts,
            Err(error) => return self.end(Err(error)),
        };
        let Some((start, first)) = &self.begin else {
            self.begin = Some((now, counts));
            return;
        };
        let passed = now.saturating_duration_since(*start);
        let leases = leases(&counts).saturating_sub(leases(first));
        let needed = self.least.as_secs() * LEASES_PER_SECOND;
        if passed >= self.least && leases >= needed {
            let outcome = shares(first, &counts);
            self.end(outcome);
        } else if passed >= Self::longest(self.least) {
            let cause = format!(
                "{leases} leases in {:.1} s, and {needed} are needed to tell shares; run the demo again on an idle machine",
                passed.as_secs_f64()
            );
            self.end(Err(cause));
        }
    }

    /// A guest is gone.
    pub(super) fn left(&mut self, name: &str) {
        self.end(Err(format!("guest {name} ended before the shares were counted; see its error")));
    }

    /// What each guest had, in the order of [`WorkKind::ALL`], or why nobody knows.
    pub(super) fn outcome(self) -> Result<Vec<Shares>, String> {
        self.outcome.unwrap_or_else(|| Err("no guest came as far as the shares".to_owned()))
    }

    fn order(&self, guest: usize) {
        // A guest that is gone, or is told to end, needs no order.
        let _ = self.orders.get(guest).map(|orders| orders.send(()));
    }

    fn end(&mut self, outcome: Result<Vec<Shares>, String>) {
        self.orders.clear();
        self.outcome.get_or_insert(outcome);
    }
}

/// Asks the host for its counts. Blocks for a moment.
pub(super) fn counts(control_socket: &Path) -> Result<Vec<Counts>, String> {
    let body = ctl::run(control_socket, ctl::Request::Tenants, true).map_err(|error| error.to_string())?;
    let body: AllCounts = serde_json::from_str(&body).map_err(|error| {
        format!("the host's counts of its tenants cannot be read: {error}; report it as a bug")
    })?;
    Ok(body.tenants)
}

fn leases(tenants: &[Counts]) -> u64 {
    tenants.iter().map(|tenant| tenant.leases).sum()
}

/// What each guest had between two counts.
fn shares(first: &[Counts], last: &[Counts]) -> Result<Vec<Shares>, String> {
    let find = |tenants: &[Counts], kind: WorkKind| {
        let found = tenants.iter().find(|tenant| tenant.name == kind.name());
        found.cloned().ok_or_else(|| format!("the host does not know {kind} any more; report it as a bug"))
    };
    let pairs = WorkKind::ALL.map(|kind| Ok((find(first, kind)?, find(last, kind)?)));
    let pairs = pairs.into_iter().collect::<Result<Vec<_>, String>>()?;
    let had = |pair: &(Counts, Counts)| pair.1.gpu_time_ns.saturating_sub(pair.0.gpu_time_ns);
    let (all, weights) = pairs
        .iter()
        .fold((0, 0), |(all, weights), pair| (all + had(pair), weights + u64::from(pair.1.weight)));
    let part = |of: u64, all: u64| (of as f64 / all.max(1) as f64 * 10_000.0).round() / 10_000.0;
    let shares = pairs.iter().map(|pair| Shares {
        share: Some(part(had(pair), all)),
        entitled: Some(part(pair.1.weight.into(), weights)),
        ungated_ms: Some(pair.1.ungated_ns as f64 / 1e6),
    });
    Ok(shares.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: Duration = Duration::from_secs(5);

    /// A contest whose guests have all work, and where their orders come out.
    fn running() -> (Contest, Vec<mpsc::UnboundedReceiver<()>>) {
        let (orders, received): (Vec<_>, Vec<_>) = (0..4).map(|_| mpsc::unbounded_channel()).unzip();
        let mut contest = Contest::new(LEAST, orders);
        for word in Word::ALL {
            for guest in 0..4 {
                assert_eq!(contest.said(guest, word), word == Word::Queued && guest == 3);
            }
        }
        (contest, received)
    }

    fn counts(ms: [u64; 4], leases: u64) -> Result<Vec<Counts>, String> {
        let count = |(kind, ms): (WorkKind, u64)| Counts {
            name: kind.name().into(),
            weight: kind.weight(),
            gpu_time_ns: ms * 1_000_000,
            leases,
            ungated_ns: 0,
        };
        Ok(WorkKind::ALL.into_iter().zip(ms).map(count).collect())
    }

    #[test]
    fn guests_find_their_sizes_alone_and_begin_together() {
        let (orders, mut received): (Vec<_>, Vec<_>) = (0..4).map(|_| mpsc::unbounded_channel()).unzip();
        let mut contest = Contest::new(LEAST, orders);
        let mut ordered = || -> Vec<usize> {
            received.iter_mut().map(|orders| std::iter::from_fn(|| orders.try_recv().ok()).count()).collect()
        };
        for guest in [3, 0, 1] {
            contest.said(guest, Word::Checked);
            assert_eq!(ordered(), [0; 4], "one still works");
        }
        contest.said(2, Word::Checked);
        assert_eq!(ordered(), [1, 0, 0, 0]);
        contest.said(0, Word::Sized);
        assert_eq!(ordered(), [0, 1, 0, 0]);
        contest.said(1, Word::Sized);
        contest.said(2, Word::Sized);
        assert_eq!(ordered(), [0, 0, 1, 1]);
        contest.said(3, Word::Sized);
        assert_eq!(ordered(), [1; 4]);
        assert!(!contest.is_running(), "none has work yet");
    }

    #[test]
    fn shares_are_what_came_between_the_counts_while_all_had_work() {
        let (mut contest, mut orders) = running();
        let start = Instant::now();
        contest.counted(start, counts([100, 0, 0, 900], 10));
        contest.counted(start + LEAST, counts([200, 50, 20, 910], 10));
        assert!(contest.is_running(), "too few leases");
        contest.counted(start + 2 * LEAST, counts([500, 200, 100, 1_000], 110));
        assert!(!contest.is_running());
        assert!(orders.iter_mut().all(|orders| orders.blocking_recv().is_some() || orders.is_closed()));
        contest.left("matmul");
        let shares = contest.outcome().unwrap();
        let had: Vec<_> = shares.iter().map(|shares| shares.share.unwrap()).collect();
        assert_eq!(had, [0.5, 0.25, 0.125, 0.125]);
        assert!(shares.iter().all(|shares| shares.share == shares.entitled));
        assert!(shares.iter().all(|shares| shares.ungated_ms == Some(0.0)));
    }

    #[test]
    fn no_shares_have_a_cause() {
        let cause = |contest: Contest| contest.outcome().unwrap_err();
        assert!(cause(Contest::new(LEAST, Vec::new())).contains("no guest"));
        let (mut contest, _orders) = running();
        contest.left("nbody");
        contest.left("matmul");
        assert!(cause(contest).contains("guest nbody ended"));
        let (mut contest, _orders) = running();
        let start = Instant::now();
        contest.counted(start, counts([0; 4], 0));
        contest.counted(start + Contest::longest(LEAST), counts([1; 4], 99));
        assert!(cause(contest).contains("396 leases in 20.0 s, and 400"));
        let (mut contest, _orders) = running();
        contest.counted(start, Err("no host".into()));
        assert_eq!(cause(contest), "no host");
    }
}
