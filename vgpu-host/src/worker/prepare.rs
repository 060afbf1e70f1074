//! What a worker makes ready before the addresses of its session are agreed: for a guest that greets, or as a spare for one
//! that is not there yet.

use std::sync::Arc;

use vgpu_core::device::Device;
use vgpu_proto::handshake::AddressPlan;
use vgpu_proto::limits::{ARENA_RANGE_BYTES, HEAP_RANGE_BYTES};
use vgpu_window::Reservation;

use crate::wire::DeviceSetup;

/// Plans whose heaps a spare holds: as many as a greeting may offer. A guest offers the first that are free in its process;
/// for one with many sessions these may be later ones, which are then most likely free here too.
const PLANS_HELD: usize = vgpu_proto::limits::PLANS_MAX;

/// Both ranges of an address plan, held in this process.
#[derive(Debug)]
pub(super) struct Ranges {
    pub heap: Reservation,
    pub arena: Arc<Reservation>,
}

/// What was made ready.
///
/// A card's driver takes ranges of addresses when it starts, so the heaps that may be chosen are held before. It is the
/// other way round with arenas: addresses that are mapped while the driver starts are never its own later on, so these are
/// held only after it. Measured with driver 580.
#[derive(Debug)]
pub(super) struct Prepared {
    heaps: Vec<(AddressPlan, Reservation)>,
    device: Option<Arc<dyn Device>>,
}

impl Prepared {
    /// Makes a device ready, for a guest with any of the first plans. As [`Prepared::for_plans`].
    pub(super) fn as_spare(setup: &DeviceSetup) -> Result<Self, String> {
        Self::for_plans(setup, AddressPlan::CANDIDATES.into_iter())
    }

    /// Makes a device ready, for one of these plans. May block: some 400 ms for a card. The error is for the operator's log
    /// and the guest.
    ///
    /// The software GPU's memory lies where the guest chooses, so it is opened then; it takes no time.
    pub(super) fn for_plans(
        setup: &DeviceSetup,
        plans: impl Iterator<Item = AddressPlan>,
    ) -> Result<Self, String> {
        let heaps = plans.filter_map(|plan| Some((plan, hold_heap(plan)?))).take(PLANS_HELD).collect();
        let device = match setup {
            DeviceSetup::Soft { .. } => None,
            DeviceSetup::Cuda(card) => Some(super::device::open_card(*card)?),
        };
        Ok(Self { heaps, device })
    }

    /// The first of the guest's plans whose ranges are held or free here, and taken by the device that is ready, with its
    /// place in the list; every other range that was held is free after it.
    pub(super) fn choose(&mut self, plans: &[AddressPlan]) -> Option<(u8, Ranges)> {
        let mut heaps = std::mem::take(&mut self.heaps);
        (0..).zip(plans).find_map(|(index, plan)| {
            let mine = heaps.iter().position(|(held, _)| held == plan);
            let heap = match mine {
                Some(at) => heaps.swap_remove(at).1,
                None => hold_heap(*plan)?,
            };
            let arena = Arc::new(Reservation::new_at(plan.arena_base, ARENA_RANGE_BYTES).ok()?);
            if let Some(device) = &self.device {
                device
                    .arena_set(&arena)
                    .inspect_err(|error| tracing::info!(%error, "a plan is passed over"))
                    .ok()?;
            }
            Some((index, Ranges { heap, arena }))
        })
    }

    /// The device, if it was made ready.
    pub(super) fn take_device(&mut self) -> Option<Arc<dyn Device>> {
        self.device.take()
    }
}

fn hold_heap(plan: AddressPlan) -> Option<Reservation> {
    Reservation::new_at(plan.heap_base, HEAP_RANGE_BYTES).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Far from the candidates, which other tests of this process may hold.
    fn plan(number: u64) -> AddressPlan {
        let heap_base = (1 << 46) + number * (2 << 40);
        AddressPlan { heap_base, arena_base: heap_base + (1 << 39) }
    }

    fn soft() -> DeviceSetup {
        DeviceSetup::Soft {
            memory_bytes: 1 << 30,
            compute_major: 8,
            compute_minor: 0,
            threads: 1,
            delay_seed: None,
            faults: String::new(),
        }
    }

    #[test]
    fn held_plans_are_given_to_the_guest_and_the_others_are_free_again() {
        let mut prepared = Prepared::for_plans(&soft(), [plan(0), plan(1)].into_iter()).unwrap();
        assert!(hold_heap(plan(0)).is_none() && hold_heap(plan(1)).is_none());
        let (index, ranges) = prepared.choose(&[plan(1), plan(0)]).unwrap();
        assert_eq!(
            (index, ranges.heap.base(), ranges.arena.base()),
            (0, plan(1).heap_base, plan(1).arena_base)
        );
        assert!(hold_heap(plan(1)).is_none() && hold_heap(plan(0)).is_some());
        assert_eq!(prepared.choose(&[plan(1), plan(2)]).unwrap().0, 1, "what is not held is tried");
        assert!(prepared.choose(&[plan(1)]).is_none());
    }

    #[test]
    fn a_plan_whose_arena_is_taken_is_passed_over() {
        let _taken = Reservation::new_at(plan(3).arena_base, ARENA_RANGE_BYTES).unwrap();
        let mut prepared = Prepared::for_plans(&soft(), [plan(3), plan(4)].into_iter()).unwrap();
        assert_eq!(prepared.choose(&[plan(3), plan(4)]).unwrap().0, 1);
    }
}
