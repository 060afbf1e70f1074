//! What calls cost a guest, through the whole stack.

use std::time::Instant;

use support::fixture::ptx;
use vgpu_client::{Client, Context, LaunchConfig, Stream, args};

use super::{At, Outcome, say};

/// Launches that are queued before a synchronise, in the burst.
const BURST: u32 = 64;

/// Size of the small copy, in bytes, and of the large one.
const SMALL: usize = 4;
const LARGE: usize = 16 << 20;

/// Prints medians and 99th percentiles in nanoseconds, of `rounds` rounds after as many that only warm up, at most 100.
pub(super) fn measure(rounds: u32) -> Outcome {
    let began = Instant::now();
    let client = Client::connect().at("connect")?;
    let context = client.context().at("context")?;
    let connect_ns = began.elapsed().as_nanos();
    let began = Instant::now();
    let module = context.load_module(ptx("tiny")).at("load")?;
    let load_ns = began.elapsed().as_nanos();
    let empty = module.function("empty").at("function")?;
    let stream = context.stream().at("stream")?;
    let launch = || stream.launch(&empty, LaunchConfig::default(), args![]);
    let mut lines = vec![format!("\"connect_ns\":{connect_ns},\"module_load_ns\":{load_ns}")];

    let mut calls = Vec::new();
    lines.push(row("launch_burst", rounds, || {
        let start = Instant::now();
        for _ in 0..BURST {
            launch().at("launch")?;
        }
        calls.push(start.elapsed().as_nanos() / u128::from(BURST));
        stream.synchronize().at("synchronise")
    })?);
    lines.push(summary("launch_call", calls.split_off(calls.len().min(100))));
    lines.push(row("launch_synchronise", rounds, || {
        launch().at("launch")?;
        stream.synchronize().at("synchronise")
    })?);
    lines.push(row("synchronise_idle", rounds, || stream.synchronize().at("synchronise"))?);
    lines.push(row("alloc_free", rounds, || context.alloc::<u8>(1 << 20).map(drop).at("alloc"))?);
    copies(&context, &stream, rounds, &mut lines)?;
    say(&format!("latency {{{}}}", lines.join(",")));
    client.ping().at("ping")
}

fn copies(context: &Context, stream: &Stream, rounds: u32, lines: &mut Vec<String>) -> Outcome {
    for (size, rounds, [copy_in, copy_out]) in [
        (SMALL, rounds, ["copy_in_4B", "copy_out_4B"]),
        (LARGE, rounds.min(100), ["copy_in_16MiB", "copy_out_16MiB"]),
    ] {
        let buffer = context.alloc::<u8>(size).at("alloc")?;
        let mut host = vec![1; size];
        lines.push(row(copy_in, rounds, || {
            stream.copy_to_device(&buffer, &host).at("copy in")?;
            stream.synchronize().at("synchronise")
        })?);
        lines.push(row(copy_out, rounds, || stream.copy_to_host(&buffer, &mut host).at("copy out"))?);
    }
    Ok(())
}

fn row(
    name: &str,
    rounds: u32,
    mut round: impl FnMut() -> Outcome,
) -> Result<String, (&'static str, vgpu_client::Error)> {
    for _ in 0..rounds.min(100) {
        round()?;
    }
    let mut times = Vec::new();
    for _ in 0..rounds {
        let start = Instant::now();
        round()?;
        times.push(start.elapsed().as_nanos());
    }
    Ok(summary(name, times))
}

fn summary(name: &str, mut times: Vec<u128>) -> String {
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
    format!("\"{name}\":{{\"p50_ns\":{},\"p99_ns\":{}}}", at(50), at(99))
}
