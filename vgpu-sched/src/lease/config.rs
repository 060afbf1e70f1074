//! The knobs of the lease scheduler, each with what its ends do.

use core::fmt;

use crate::time::Duration;
use crate::weight::{BadShare, Share, Weight};

/// Tenants that one GPU's scheduler knows at most. A host serves some thirty; the sums of `lease::clock` are proved
/// for this many.
pub const TENANTS_MAX: usize = 4_096;

/// The longest quantum that may be set: a second, in which a neighbour sees nothing.
const QUANTUM_LIMIT: Duration = Duration::from_millis(1_000);

/// How tenants take turns on one GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "hosts build it from their configuration")]
pub struct LeaseConfig {
    /// How long all tenants together take for a turn each, which the quantum is cut to. 240 ms where nothing is said.
    /// Short rounds wait less and switch more often; from one quantum_min up.
    pub round_target: Duration,
    /// The shortest quantum, and that of the latency class. 1 ms where nothing is said; from 1 us to `quantum_max`.
    /// Small ones spend the GPU on switches, large ones keep others waiting.
    pub quantum_min: Duration,
    /// The longest quantum. 30 ms where nothing is said; from `quantum_min` to one second.
    pub quantum_max: Duration,
    /// The longest quantum while a tenant of the latency class has work. 4 ms where nothing is said; from
    /// `quantum_min` to `quantum_max`, where it does nothing.
    pub quantum_max_beside_latency: Duration,
    /// How long a tenant holds the GPU before the latency class may interrupt it. 1 ms where nothing is said; up to
    /// `quantum_max`, where it never interrupts. At zero every arrival costs a switch.
    pub run_min: Duration,
    /// How long a holder that has nothing to run keeps its lease: as long as a switch takes. 150 us where nothing is
    /// said. At zero a loop that launches and synchronises loses the GPU each time; long ones leave it unused.
    pub idle_grace: Duration,
    /// What a revoked lease is expected to take until it has drained, before any was seen. 500 us where nothing is
    /// said, which is the work that may be in flight.
    pub drain_min: Duration,
    /// After how many quanta a revoked lease that has not drained stops to keep others out. 2 where nothing is said;
    /// from 1. Few ones mix the work of two tenants often, many let one that cannot be stopped keep the GPU long.
    pub overrun_quanta: u32,
    /// How long before a draining lease is expected to end the next one begins, so that the GPU never waits. Zero
    /// where nothing is said: then leases never overlap.
    pub hand_off: Duration,
    /// What may be reserved in all. Nine tenths where nothing is said: switches and gaps take some of the rest.
    pub reservable: Share,
}

impl Default for LeaseConfig {
    fn default() -> Self {
        Self {
            round_target: Duration::from_millis(240),
            quantum_min: Duration::from_millis(1),
            quantum_max: Duration::from_millis(30),
            quantum_max_beside_latency: Duration::from_millis(4),
            run_min: Duration::from_millis(1),
            idle_grace: Duration::from_nanos(150_000),
            drain_min: Duration::from_nanos(500_000),
            overrun_quanta: 2,
            hand_off: Duration::default(),
            reservable: Share::from_millionths(900_000).expect("nine tenths are a share"),
        }
    }
}

impl LeaseConfig {
    /// Whether all knobs are in their ranges.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<(), LeaseError> {
        let bad = |knob| Err(LeaseError::Knob { knob });
        if self.quantum_min < Duration::from_nanos(1_000) || self.quantum_min > self.quantum_max {
            return bad("quantum_min");
        }
        if self.quantum_max > QUANTUM_LIMIT {
            return bad("quantum_max");
        }
        if self.round_target < self.quantum_min {
            return bad("round_target");
        }
        let beside = self.quantum_max_beside_latency;
        if beside < self.quantum_min || beside > self.quantum_max {
            return bad("quantum_max_beside_latency");
        }
        if self.run_min > self.quantum_max {
            return bad("run_min");
        }
        if self.drain_min > self.quantum_max || self.idle_grace > self.quantum_max {
            return bad(if self.drain_min > self.quantum_max { "drain_min" } else { "idle_grace" });
        }
        if self.overrun_quanta == 0 || self.overrun_quanta > 1_000 {
            return bad("overrun_quanta");
        }
        Ok(())
    }
}

/// How soon a tenant is to be served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the scheduler knows these two")]
pub enum Class {
    /// Long leases.
    #[default]
    Batch,
    /// Short leases, before the others' and interrupting them; of no more GPU time than its weight gives.
    Latency,
}

/// A limit on GPU time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "hosts build it from their configuration")]
pub struct Cap {
    /// The share that it gets at most in the long run.
    pub share: Share,
    /// GPU time that it may take at once after a pause, beyond the share.
    pub burst: Duration,
}

/// A tenant, as the lease scheduler needs to know it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "hosts build it from their configuration")]
pub struct LeaseTenant {
    /// Its weight beside others.
    pub weight: Weight,
    /// How soon it is served.
    pub class: Class,
    /// What it gets at least while it has work, whatever its weight.
    pub reservation: Option<Share>,
    /// What it gets at most, even alone.
    pub cap: Option<Cap>,
}

/// Why a setting was refused. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaseError {
    /// A knob is out of its range.
    Knob {
        /// Its name.
        knob: &'static str,
    },
    /// There is no such tenant.
    UnknownTenant,
    /// There are as many tenants as there may be.
    TooManyTenants,
    /// All reservations together pass what may be reserved.
    Reservations {
        /// Their sum, in millionths.
        sum: u64,
        /// What may be reserved, in millionths.
        max: u32,
    },
    /// A tenant's reservation is more than its cap.
    ReservationAboveCap,
    /// A number is no weight or no share.
    Share(BadShare),
}

impl From<BadShare> for LeaseError {
    fn from(error: BadShare) -> Self {
        Self::Share(error)
    }
}

impl fmt::Display for LeaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Knob { knob } => {
                write!(f, "{knob} is out of its range; its documentation says which that is")
            }
            Self::UnknownTenant => f.write_str("no such tenant; add it to the host's configuration"),
            Self::TooManyTenants => write!(f, "a GPU serves at most {TENANTS_MAX} tenants; use another GPU"),
            Self::Reservations { sum, max } => write!(
                f,
                "the reservations would sum to {sum} millionths of the GPU, and {max} may be reserved; lower one"
            ),
            Self::ReservationAboveCap => f.write_str(
                "the tenant would reserve more than its cap allows; raise the cap or reserve less",
            ),
            Self::Share(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for LeaseError {}
