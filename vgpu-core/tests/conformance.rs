//! The software GPU under the conformance suite: as fast as it can, with seeded delays, on one thread and on more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vgpu_core::device::Device;
use vgpu_core::device::conformance::{cases, run};
use vgpu_core::device::soft::{SoftConfig, SoftDevice};

/// Where device addresses begin. Nothing is mapped there, and host regions lie far above.
const ARENA_BASE: u64 = 1 << 40;

/// Runs the suite. While one looks for a mistake, `VGPU_CASE` picks cases by a part of their name, and `VGPU_SEED`
/// is added to each seed.
fn check(mut config: SoftConfig) {
    let filter = std::env::var("VGPU_CASE").unwrap_or_default();
    let offset = std::env::var("VGPU_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0_u64);
    config.delay_seed = config.delay_seed.map(|seed| seed.wrapping_add(offset));
    for case in cases().iter().filter(|case| case.name.contains(&filter)) {
        eprintln!("{}", case.name);
        let config = config.clone();
        // A seed gives the same choices for the same commands; each device of a case gets a seed of its own.
        let devices = AtomicU64::new(0);
        run(case, move || {
            let count = devices.fetch_add(1, Ordering::Relaxed);
            let delay_seed = config.delay_seed.map(|seed| seed ^ (count << 32));
            let config = SoftConfig { delay_seed, ..config.clone() };
            SoftDevice::new(config, ARENA_BASE).expect("the settings are in range") as Arc<dyn Device>
        });
    }
}

#[test]
fn without_delays() {
    check(SoftConfig::default());
}

#[test]
fn on_one_thread() {
    check(SoftConfig { threads: 1, ..SoftConfig::default() });
}

#[test]
fn on_many_threads() {
    check(SoftConfig { threads: 7, delay_seed: Some(7), ..SoftConfig::default() });
}

#[test]
fn with_delays_of_seed_1() {
    check(SoftConfig { delay_seed: Some(1), ..SoftConfig::default() });
}

#[test]
fn with_delays_of_seed_2() {
    check(SoftConfig { delay_seed: Some(2), ..SoftConfig::default() });
}

#[test]
fn with_delays_of_seed_3_on_one_thread() {
    check(SoftConfig { threads: 1, delay_seed: Some(3), ..SoftConfig::default() });
}
