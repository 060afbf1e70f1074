//! The bounds, asserted after each event. `docs/scheduling.md` states them; the numbers are those there.

use vgpu_sched::{Class, LeaseView, Leases, Place};

use super::{Note, World};

/// What rounding may add: virtual time is a little ahead of service, never behind.
const ROUNDING_NS: i128 = 2;

/// How far a run came to its bounds, in thousandths of each.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extremes {
    pub owed: i128,
    pub owes: i128,
    pub gain: i128,
    pub wait: i128,
}

/// All checks of one run.
#[derive(Clone, Debug)]
pub struct Checks {
    views: Vec<LeaseView>,
    weights: Vec<i128>,
    virtual_time_ns: u64,
    /// The longest ceiling of each tenant so far, and the deepest debt.
    ceilings: Vec<i128>,
    debts: Vec<i128>,
    /// The least of `A_j * w_i - A_i * w_j` while `i` competes, by `j` and `i`.
    least: Vec<Vec<Option<i128>>>,
    waits: Vec<Option<Wait>>,
    overlaps: u64,
    /// Somebody was given another weight: what it owed before is paid at another pace than others counted on.
    reweighed: bool,
    pub extremes: Extremes,
}

/// A tenant that was woken and has not run since.
#[derive(Clone, Debug)]
struct Wait {
    since: u64,
    deadline_ns: i128,
    /// Service that tenants with earlier deadlines may have before.
    before_ns: i128,
    /// Time of leases that do not count: those that were out already, and those of other rules.
    exempt_ns: i128,
    old: Vec<usize>,
}

impl Checks {
    pub fn new(world: &World<Leases>) -> Self {
        let count = world.guests.len();
        let views = views(world);
        Self {
            weights: weights(world),
            views,
            virtual_time_ns: 0,
            ceilings: vec![0; count],
            debts: vec![0; count],
            least: vec![vec![None; count]; count],
            waits: vec![None; count],
            overlaps: 0,
            reweighed: false,
            extremes: Extremes::default(),
        }
    }

    pub fn after(&mut self, before_ns: u64, world: &World<Leases>) {
        let views = views(world);
        let weights = weights(world);
        let operated = world.notes.contains(&Note::Operated);
        self.reweighed |= weights != self.weights;
        self.conservation(world, &views);
        self.work_conservation(world, &views);
        self.memory(world, &views, operated);
        self.lag(&views, world);
        self.pairs(world, &views, &weights, operated);
        self.waits(before_ns, world, &views, operated);
        self.views = views;
        self.weights = weights;
        self.virtual_time_ns = world.policy.virtual_time_ns();
    }

    /// B9: what was charged is what was held, to the nanosecond.
    fn conservation(&mut self, world: &World<Leases>, views: &[LeaseView]) {
        let totals = world.policy.totals();
        let billed: u64 = views.iter().map(|view| view.billed_ns).sum();
        assert_eq!(totals.billed_ns, billed, "B9: the sum of the bills");
        assert_eq!(totals.billed_ns, totals.busy_ns + totals.shared_ns, "B9: bills and time");
        assert_eq!(totals.busy_ns, world.busy_ns, "B9: the scheduler saw the GPU busy as long as it was");
        assert_eq!(totals.stale, 0, "no message came too late");
        for (guest, view) in world.guests.iter().zip(views).filter(|(guest, _)| guest.run.is_none()) {
            assert!(view.billed_ns <= guest.held_ns, "nobody pays more than it held");
        }
        if self.overlaps == 0 && totals.overruns == 0 {
            assert_eq!(totals.shared_ns, 0, "B9: nothing is charged twice while nobody overruns");
        }
        self.overlaps = totals.overruns;
    }

    /// B5: the GPU is idle only if nobody wants it.
    fn work_conservation(&self, world: &World<Leases>, views: &[LeaseView]) {
        if world.policy.holders().next().is_none() {
            assert_eq!(world.policy.waiting(), 0, "B5: somebody waits for an idle GPU");
            assert!(views.iter().all(|view| view.place != Place::Ready), "B5: somebody is ready");
        }
    }

    /// B7, B8: virtual time never falls, nor does anybody's; whoever comes back is owed nothing.
    fn memory(&self, world: &World<Leases>, views: &[LeaseView], operated: bool) {
        assert!(world.policy.virtual_time_ns() >= self.virtual_time_ns, "virtual time never falls");
        if operated {
            return;
        }
        for (old, new) in self.views.iter().zip(views) {
            assert!(new.time_ns >= old.time_ns, "B8: debt is kept: {old:?} {new:?}");
            if old.place == Place::Idle && new.place != Place::Idle {
                // Others may have left in the same step, and moved V on.
                assert!(new.time_ns >= self.virtual_time_ns, "B7: nothing was saved up: {new:?}");
            }
        }
    }

    /// B2: nobody who competes is owed more than a ceiling, or owes more than its own.
    fn lag(&mut self, views: &[LeaseView], world: &World<Leases>) {
        for (at, view) in views.iter().enumerate() {
            self.ceilings[at] = self.ceilings[at].max(view.ceiling.as_nanos().into());
            self.debts[at] = self.debts[at].max(-i128::from(view.lag_ns));
        }
        let most = self.most(world);
        for (at, view) in views.iter().enumerate().filter(|(_, view)| view.competes) {
            let lag = i128::from(view.lag_ns);
            let own = self.ceilings[at];
            assert!(lag >= -own - ROUNDING_NS, "B2: {at} owes {} of {own}: {view:?}", -lag);
            assert!(lag <= most + ROUNDING_NS, "B2: {at} is owed {lag} of {most}: {view:?}");
            self.extremes.owes = self.extremes.owes.max(-lag * 1_000 / own.max(1));
            self.extremes.owed = self.extremes.owed.max(lag * 1_000 / most.max(1));
        }
    }

    /// The most that anybody may be owed: the longest ceiling, and a lease of each tenant that goes first by its class;
    /// another one once weights have changed.
    fn most(&self, world: &World<Leases>) -> i128 {
        let longest = self.ceilings.iter().max().copied().unwrap_or(0);
        let first = self.ceilings.iter().zip(&world.guests);
        let latency = first.filter(|(_, guest)| guest.spec.config.class == Class::Latency);
        let reweighed = if self.reweighed { longest } else { 0 };
        longest + reweighed + latency.map(|(ceiling, _)| ceiling).sum::<i128>()
    }

    /// B1, B7, B8: over no interval in which `i` competes does any `j`, whatever it does, gain more than the bound.
    fn pairs(&mut self, world: &World<Leases>, views: &[LeaseView], weights: &[i128], operated: bool) {
        let most = self.most(world);
        let any = views.iter().zip(&self.views).any(|(new, old)| new.billed_ns != old.billed_ns);
        for (i, view) in views.iter().enumerate() {
            let old = &self.views[i];
            // It left and came back in one step: it was served beyond its lease, and then had nothing saved up.
            let moved = i128::from(view.time_ns - old.time_ns.min(view.time_ns)) * self.weights[i];
            let served = i128::from(view.billed_ns - old.billed_ns);
            let came_back = moved > served + ROUNDING_NS * self.weights[i];
            if !view.competes || came_back || (operated && weights != self.weights) {
                self.least.iter_mut().for_each(|row| row[i] = None);
            } else if any || !old.competes {
                for j in (0..views.len()).filter(|j| *j != i) {
                    self.pair(j, i, most, views, weights);
                }
            }
        }
    }

    fn pair(&mut self, j: usize, i: usize, most: i128, views: &[LeaseView], weights: &[i128]) {
        let ahead = i128::from(views[j].billed_ns) * weights[i] - i128::from(views[i].billed_ns) * weights[j];
        let least = self.least[j][i].map_or(ahead, |least| least.min(ahead));
        self.least[j][i] = Some(least);
        let own = self.ceilings[j].max(self.debts[j]);
        let most = most + ROUNDING_NS;
        let bound = (own + most) * weights[i] + (self.ceilings[i] + most) * weights[j];
        let gain = ahead - least;
        assert!(gain <= bound, "B1: {j} gained {gain} of {bound} over {i}");
        self.extremes.gain = self.extremes.gain.max(gain * 1_000 / bound.max(1));
    }

    /// B6: a tenant that is woken and owes nothing waits no longer than for the service of those with earlier deadlines, and for the
    /// leases that were out.
    fn waits(&mut self, before_ns: u64, world: &World<Leases>, views: &[LeaseView], operated: bool) {
        let passed = i128::from(world.now - before_ns);
        let old_holders: Vec<usize> =
            (0..self.views.len()).filter(|at| self.views[*at].place == Place::Holding).collect();
        for at in 0..views.len() {
            if let Some(wait) = &mut self.waits[at] {
                let other = |holder: &usize| {
                    wait.old.contains(holder)
                        || !self.views[*holder].competes
                        // It was served beyond its lease, and is ahead now.
                        || !views[*holder].competes
                        || world.guests[*holder].spec.config.class == Class::Latency
                };
                if old_holders.len() != 1 || old_holders.iter().any(other) {
                    wait.exempt_ns += passed;
                }
                wait.old.retain(|holder| !drained(world, *holder));
                for (j, view) in views.iter().enumerate().filter(|(j, _)| *j != at) {
                    if view.competes && !self.views[j].competes {
                        let room = wait.deadline_ns - i128::from(view.time_ns) + ROUNDING_NS;
                        wait.before_ns += (room * self.weights[j]).max(0);
                    }
                }
            }
            let granted =
                world.notes.iter().any(|note| matches!(note, Note::Granted { tenant, .. } if *tenant == at));
            let waiting = views[at].place == Place::Ready && views[at].competes;
            if let Some(wait) = self.waits[at].take_if(|_| granted || !waiting || operated)
                && granted
                && !operated
            {
                let waited = i128::from(world.now - wait.since) - wait.exempt_ns;
                assert!(waited <= wait.before_ns, "B6: {at} waited {waited} of {}: {wait:?}", wait.before_ns);
                self.extremes.wait = self.extremes.wait.max(waited * 1_000 / wait.before_ns.max(1));
            }
            // Who comes back with a debt waits for that first.
            let woken = self.views[at].place == Place::Idle && waiting && views[at].lag_ns >= 0 && !operated;
            if woken && world.guests[at].spec.config.class == Class::Batch {
                self.waits[at] = Some(Wait::new(at, world, views, &self.weights));
            }
        }
    }
}

impl Wait {
    fn new(at: usize, world: &World<Leases>, views: &[LeaseView], weights: &[i128]) -> Self {
        let deadline_ns = i128::from(views[at].deadline_ns) + 1;
        let others = (0..views.len()).filter(|j| *j != at && views[*j].competes);
        let before_ns = others
            .map(|j| ((deadline_ns - i128::from(views[j].time_ns) + ROUNDING_NS) * weights[j]).max(0))
            .sum();
        let old = world.policy.holders().map(|tenant| tenant.0 as usize).collect();
        Self { since: world.now, deadline_ns, before_ns, exempt_ns: 0, old }
    }
}

fn drained(world: &World<Leases>, holder: usize) -> bool {
    world.notes.iter().any(|note| matches!(note, Note::Drained { tenant, .. } if *tenant == holder))
}

fn views(world: &World<Leases>) -> Vec<LeaseView> {
    (0..world.guests.len()).map(|at| world.policy.tenant(super::id(at)).expect("it was added")).collect()
}

fn weights(world: &World<Leases>) -> Vec<i128> {
    world.guests.iter().map(|guest| guest.spec.config.weight.get().into()).collect()
}
