//! Prints the figures of the latest runs of all benchmarks as the table of `README.md`. Cargo runs it last, by its name.

use serde_json::Value;
use vgpu_bench::figure::{folder, short};
use vgpu_bench::is_asked_for;

/// The benchmarks, in the table's order.
const BENCHES: [&str; 9] =
    ["ping_pong", "calls", "copies", "images", "idle", "sessions", "session_core", "sched", "soft_gpu"];

fn main() {
    if !is_asked_for("summary") {
        return;
    }
    println!("| figure | value | base | ratio | goal | |\n|---|---|---|---|---|---|");
    let reports = BENCHES.iter().filter_map(|bench| {
        let text = std::fs::read_to_string(folder().join(format!("{bench}.json"))).ok()?;
        serde_json::from_str::<Value>(&text).ok()
    });
    let mut machine = None;
    for report in reports {
        for figure in report["figures"].as_array().into_iter().flatten() {
            println!("{}", row(figure));
        }
        machine = Some(report["machine"].clone());
    }
    if let Some(machine) = machine {
        println!("\nmachine: {machine}");
    }
}

fn row(figure: &Value) -> String {
    let text = |name: &str| figure[name].as_str().unwrap_or("-").to_owned();
    let number = |name: &str| short(figure[name].as_f64().unwrap_or(f64::NAN));
    let verdict = match figure["met"].as_bool() {
        Some(true) => "met",
        Some(false) => "**missed**",
        None => "",
    };
    format!(
        "| {} | {} {unit} | {} {unit} ({}) | {} | {} | {verdict} |",
        text("name"),
        number("value"),
        number("base"),
        text("base_name"),
        number("ratio"),
        text("goal"),
        unit = text("unit"),
    )
}
