//! How far tenants are from their share: the simulator of the tests, drawn as histograms of the lag.
//!
//! ```sh
//! cargo run -p vgpu-sched --release --example lag -- docs/lag.svg
//! ```
//!
//! Thirty tenants for a minute of simulated time: one of ten weighs ten times as much as the others; a third has short
//! kernels all the time, a third kernels of up to 20 ms, and a third comes and goes. Each policy is measured beside perfect sharing
//! over the same arrivals, after each event, in milliseconds that a tenant was behind.

#[path = "../tests/sim/mod.rs"]
mod sim;

use std::fmt::Write as _;

use sim::gps::Gps;
use sim::guest::{Behaviour, Spec};
use sim::policy::{Drr, Fifo, Policy, Sfq, Turns};
use sim::scenario::Scenario;
use sim::{MS, US, World};
use vgpu_sched::{Duration, LeaseConfig, LeaseTenant, Leases, Weight};

/// Simulated time.
const LENGTH_NS: u64 = 60_000 * MS;
/// Milliseconds of a bar, and bars on each side of zero. The last ones hold what lies beyond, too.
const BAR_MS: f64 = 4.0;
const BARS: usize = 24;

fn main() -> std::io::Result<()> {
    let file = std::env::args().nth(1).unwrap_or_else(|| "lag.svg".into());
    let scenario = scenario();
    let rows = [
        ("vgpu: eligible, earliest virtual deadline", histogram::<Leases>(&scenario)),
        ("start-time fair queuing", histogram::<Turns<Sfq>>(&scenario)),
        ("deficit round robin", histogram::<Turns<Drr>>(&scenario)),
        ("first come, first served", histogram::<Turns<Fifo>>(&scenario)),
    ];
    for (name, histogram) in &rows {
        println!("{name}: {:.1} ms ahead to {:.1} ms behind", -histogram.least, histogram.most);
    }
    std::fs::write(file, draw(&rows))
}

fn scenario() -> Scenario {
    let kinds = [
        Behaviour::Greedy { kernel_ns: 100 * US },
        Behaviour::Mixed { max_ns: 20 * MS },
        Behaviour::Periodic { period_ns: 100 * MS, work_ns: 2 * MS },
    ];
    let tenants = (0..30).map(|at| Spec {
        config: LeaseTenant {
            weight: Weight::new(if at % 10 == 0 { 1_000 } else { 100 }).expect("a weight"),
            ..LeaseTenant::default()
        },
        behaviour: kinds[at % kinds.len()],
        start_ns: at as u64 * MS,
    });
    Scenario { seed: 2026, tenants: tenants.collect(), ops: Vec::new() }
}

/// How often a tenant was how far behind.
struct Histogram {
    counts: [u64; 2 * BARS],
    least: f64,
    most: f64,
}

fn histogram<P: Policy>(scenario: &Scenario) -> Histogram {
    let config = LeaseConfig { idle_grace: Duration::default(), ..LeaseConfig::default() };
    let mut world: World<P> = World::new(scenario, config);
    let mut gps = Gps::new(scenario.tenants.iter().map(|spec| f64::from(spec.config.weight.get())).collect());
    let mut histogram = Histogram { counts: [0; 2 * BARS], least: 0.0, most: 0.0 };
    while world.now < LENGTH_NS && world.step().is_some() {
        let arrived: Vec<u64> = world.guests.iter().map(|guest| guest.arrived_ns).collect();
        gps.step(world.now, &arrived);
        for (at, guest) in world.guests.iter().enumerate() {
            let running = guest.run.map_or(0, |run| world.now - run.since);
            let behind = (gps.served[at] - (guest.held_ns + running) as f64) / 1e6;
            histogram.least = histogram.least.min(behind);
            histogram.most = histogram.most.max(behind);
            let bar = (behind / BAR_MS).floor().clamp(-(BARS as f64), BARS as f64 - 1.0) + BARS as f64;
            histogram.counts[bar as usize] += 1;
        }
    }
    histogram
}

/// One row of bars for each policy; heights are the square roots of the counts, so that rare ones show.
fn draw(rows: &[(&str, Histogram)]) -> String {
    const WIDTH: usize = 720;
    const HEIGHT: usize = 110;
    let bar = WIDTH / (2 * BARS);
    let all = HEIGHT * rows.len() + 50;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {all}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{all}\" fill=\"#fff\"/>\n"
    );
    for (row, (name, histogram)) in rows.iter().enumerate() {
        let floor = (row + 1) * HEIGHT;
        let top = histogram.counts.iter().max().copied().unwrap_or(1).max(1) as f64;
        for (at, count) in histogram.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let height = ((*count as f64 / top).sqrt() * 70.0).max(1.0);
            let color = if at < BARS { "#8a9bb0" } else { "#2f6f8f" };
            let _ = writeln!(
                svg,
                "<rect x=\"{}\" y=\"{:.1}\" width=\"{}\" height=\"{height:.1}\" fill=\"{color}\"/>",
                at * bar,
                floor as f64 - height,
                bar - 1
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"4\" y=\"{}\">{name}: {:.0} ms ahead to {:.0} ms behind</text>\
             <line x1=\"0\" y1=\"{floor}\" x2=\"{WIDTH}\" y2=\"{floor}\" stroke=\"#000\"/>",
            floor - 90 + 12,
            -histogram.least,
            histogram.most
        );
    }
    let below = HEIGHT * rows.len() + 18;
    let edge = BAR_MS * BARS as f64;
    let _ = writeln!(
        svg,
        "<text x=\"4\" y=\"{below}\">{edge} ms ahead or more</text>\
         <text x=\"{0}\" y=\"{below}\" text-anchor=\"middle\">its share</text>\
         <text x=\"{1}\" y=\"{below}\" text-anchor=\"end\">{edge} ms behind or more</text>\n\
         <text x=\"{0}\" y=\"{2}\" text-anchor=\"middle\">30 tenants, 60 s; heights by square root</text>\n</svg>",
        WIDTH / 2,
        WIDTH - 4,
        below + 20
    );
    svg
}
