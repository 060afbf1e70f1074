//! Guests: honest ones, and some that look at what the scheduler thinks of them and act on it.

use vgpu_sched::LeaseTenant;

use super::{MS, US};

/// How a guest uses the GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Always has work, in kernels of about one length.
    Greedy { kernel_ns: u64 },
    /// Always has work: short kernels, and now and then one that is up to a thousand times longer, within `max_ns`.
    Mixed { max_ns: u64 },
    /// Some work every period.
    Periodic { period_ns: u64, work_ns: u64 },
    /// Sleeps and works by turns, for random times up to these.
    Bursty { sleep_ns: u64, work_ns: u64 },
    /// Runs long kernels that cannot be stopped while it is owed time, and short ones while it owes some.
    Hog { kernel_ns: u64 },
    /// Sleeps as soon as it owes time, hoping that this is forgotten, and comes back at once.
    Forgetful { nap_ns: u64 },
    /// Gives the GPU back just before its quantum ends, and wants it again a moment later.
    Dodger { stop_after_ns: u64 },
    /// Does nothing by itself.
    Scripted,
}

/// A tenant of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    pub config: LeaseTenant,
    pub behaviour: Behaviour,
    pub start_ns: u64,
}

impl Spec {
    /// The longest kernel that it ever runs.
    pub fn longest_kernel_ns(&self) -> u64 {
        match self.behaviour {
            Behaviour::Greedy { kernel_ns } | Behaviour::Hog { kernel_ns } => (2 * kernel_ns).max(250 * US),
            Behaviour::Mixed { max_ns } => max_ns,
            _ => 250 * US,
        }
    }
}

/// A lease that a guest has.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub epoch: u64,
    pub since: u64,
    /// Number and length of the kernel that runs.
    pub kernel: Option<(u64, u64)>,
    pub revoked: bool,
}

/// A tenant's guest.
#[derive(Clone, Debug)]
pub struct Guest {
    pub spec: Spec,
    /// Work that it has; without end for greedy ones.
    pub work_ns: u64,
    /// All work that it ever found; without end for greedy ones.
    pub arrived_ns: u64,
    pub run: Option<Run>,
    /// Whether the policy was told that it has work.
    pub told: bool,
    pub gone: bool,
    pub ready_since: u64,
    /// All time for which it held the GPU.
    pub held_ns: u64,
    chance: Chance,
}

/// Numbers by chance, from a seed (Marsaglia's xorshift).
#[derive(Clone, Copy, Debug)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        // Spread seeds that differ in few bits, and avoid zero, where the generator stays.
        let mut chance = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..4 {
            chance.next();
        }
        chance
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn up_to(&mut self, max: u64) -> u64 {
        self.next() % (max + 1)
    }
}

const ENDLESS: u64 = u64::MAX;

impl Guest {
    pub fn new(spec: Spec, seed: u64) -> Self {
        Self {
            spec,
            work_ns: 0,
            arrived_ns: 0,
            run: None,
            told: false,
            gone: false,
            ready_since: 0,
            held_ns: 0,
            chance: Chance::new(seed),
        }
    }

    /// Work comes; in how long more will.
    pub fn find_work(&mut self, owed_ns: i64) -> Option<u64> {
        let had = self.work_ns;
        let next = self.look_for_work(owed_ns);
        self.arrived_ns = self.arrived_ns.saturating_add(self.work_ns - had);
        next
    }

    fn look_for_work(&mut self, owed_ns: i64) -> Option<u64> {
        match self.spec.behaviour {
            Behaviour::Greedy { .. }
            | Behaviour::Mixed { .. }
            | Behaviour::Hog { .. }
            | Behaviour::Dodger { .. } => {
                self.work_ns = ENDLESS;
                None
            }
            Behaviour::Periodic { period_ns, work_ns } => {
                // Periods whose work was not done are not made up for without end.
                self.work_ns = (self.work_ns + work_ns).min(4 * work_ns);
                Some(period_ns.max(1))
            }
            Behaviour::Bursty { work_ns, .. } => {
                self.work_ns = self.work_ns.max(1 + self.chance.up_to(work_ns));
                None
            }
            Behaviour::Forgetful { nap_ns } => {
                if owed_ns < 0 && self.chance.up_to(3) == 0 {
                    return Some(1 + self.chance.up_to(nap_ns));
                }
                self.work_ns = ENDLESS;
                None
            }
            Behaviour::Scripted => None,
        }
    }

    pub fn kernel_length(&mut self, owed_ns: i64, now: u64) -> u64 {
        let length = match self.spec.behaviour {
            Behaviour::Greedy { kernel_ns } => kernel_ns / 2 + self.chance.up_to(kernel_ns),
            Behaviour::Mixed { max_ns } => {
                let shift = self.chance.up_to(10);
                ((20 * US) << shift).min(max_ns) - self.chance.up_to(10 * US)
            }
            Behaviour::Hog { kernel_ns } if owed_ns > 0 => kernel_ns / 2 + self.chance.up_to(kernel_ns),
            Behaviour::Dodger { stop_after_ns } => {
                let since = self.run.map_or(now, |run| run.since);
                (since + stop_after_ns).saturating_sub(now).clamp(1, 200 * US)
            }
            _ => 50 * US + self.chance.up_to(200 * US),
        };
        length.clamp(1, self.work_ns)
    }

    /// A kernel is done; in how long the guest looks for work again, where that is its own doing.
    pub fn finished(&mut self, length_ns: u64, owed_ns: i64) -> Option<u64> {
        if self.work_ns != ENDLESS {
            self.work_ns -= length_ns.min(self.work_ns);
        }
        match self.spec.behaviour {
            Behaviour::Bursty { sleep_ns, .. } if self.work_ns == 0 => Some(1 + self.chance.up_to(sleep_ns)),
            Behaviour::Forgetful { nap_ns } if owed_ns < 0 => {
                self.work_ns = 0;
                Some(1 + self.chance.up_to(nap_ns))
            }
            Behaviour::Dodger { .. } if length_ns < 200 * US => {
                self.work_ns = 0;
                Some(1 + self.chance.up_to(MS))
            }
            _ => None,
        }
    }
}
