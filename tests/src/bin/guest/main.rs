//! The guest programs of the tests: small CUDA programs, each in a process of its own.
//!
//! A program prints `running` when it is in the middle of what it is for, and its outcome as the last line: `ok`, or
//! `error <CUresult> <where>`.

mod latency;

use std::io::{Read, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use support::fixture::ptx;
use vgpu_client::{Client, Context, Error, Function, LaunchConfig, args};

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    program: Program,
}

#[derive(Subcommand)]
enum Program {
    /// Adds vectors and checks the sums, so many times.
    VectorAdd { rounds: u32 },
    /// Adds vectors until standard input ends or a call fails.
    VectorAddUntilEnd,
    /// Opens a session and holds it until standard input ends.
    Hold,
    /// Runs a kernel that never ends.
    Endless,
    /// Copies without end.
    Copy,
    /// Copies pageable memory to the device and back, and checks it, until a call fails.
    AllocateAll,
    /// Launches a kernel that writes where it may not.
    Wild,
    /// Kernels that print, and one whose assertion fails.
    Print,
    /// Times launches, synchronisation and copies through the whole stack, and prints medians as one line of JSON.
    Latency { rounds: u32 },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().program {
        Program::VectorAdd { rounds } => vector_add(rounds),
        Program::VectorAddUntilEnd => vector_add_until_end(),
        Program::Hold => hold(),
        Program::Endless => endless(),
        Program::Copy => copy(),
        Program::AllocateAll => allocate_all(),
        Program::Wild => wild(),
        Program::Print => print(),
        Program::Latency { rounds } => latency::measure(rounds),
    };
    match outcome {
        Ok(()) => {
            say("ok");
            ExitCode::SUCCESS
        }
        Err((place, error)) => {
            say(&format!("error {} {place}", error.status().0));
            eprintln!("{place}: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

type Outcome = Result<(), (&'static str, Error)>;

fn say(line: &str) {
    println!("{line}");
    let _ = std::io::stdout().flush();
}

/// Names the call that failed.
trait At<T> {
    fn at(self, place: &'static str) -> Result<T, (&'static str, Error)>;
}

impl<T> At<T> for Result<T, Error> {
    fn at(self, place: &'static str) -> Result<T, (&'static str, Error)> {
        self.map_err(|error| (place, error))
    }
}

fn start(fixture: &str, kernel: &str) -> Result<(Context, Function), (&'static str, Error)> {
    let client = Client::connect().at("connect")?;
    let context = client.context().at("context")?;
    let module = context.load_module(ptx(fixture)).at("load")?;
    Ok((context, module.function(kernel).at("function")?))
}

const LENGTH: u32 = 10_000;

struct Adder {
    context: Context,
    kernel: Function,
}

impl Adder {
    fn new() -> Result<Self, (&'static str, Error)> {
        let (context, kernel) = start("vector_add", "vector_add")?;
        Ok(Self { context, kernel })
    }

    fn round(&self, round: u32) -> Outcome {
        let stream = self.context.stream().at("stream")?;
        let host_a: Vec<f32> = (0..LENGTH).map(|at| (at + round) as f32).collect();
        let host_b: Vec<f32> = (0..LENGTH).map(|at| (at * 2) as f32).collect();
        let [a, b, sum] = [(); 3].map(|()| self.context.alloc::<f32>(LENGTH as usize));
        let (a, b, sum) = (a.at("alloc")?, b.at("alloc")?, sum.at("alloc")?);
        stream.copy_to_device(&a, &host_a).at("copy in")?;
        stream.copy_to_device(&b, &host_b).at("copy in")?;
        stream
            .launch(&self.kernel, LaunchConfig::linear(LENGTH, 256), args![&a, &b, &sum, LENGTH])
            .at("launch")?;
        let mut found = vec![0.0f32; LENGTH as usize];
        stream.copy_to_host(&sum, &mut found).at("copy out")?;
        for (at, found) in found.iter().enumerate() {
            let expected = host_a[at] + host_b[at];
            assert!((found - expected).abs() == 0.0, "element {at}: {found}, expected {expected}");
        }
        Ok(())
    }
}

fn vector_add(rounds: u32) -> Outcome {
    let adder = Adder::new()?;
    for round in 0..rounds {
        adder.round(round)?;
        if round == 0 {
            say("running");
        }
    }
    Ok(())
}

fn vector_add_until_end() -> Outcome {
    let adder = Adder::new()?;
    adder.round(0)?;
    say("running");
    let ended = std::thread::spawn(wait_for_end);
    let mut round = 0;
    while !ended.is_finished() {
        round += 1;
        adder.round(round)?;
    }
    Ok(())
}

fn wait_for_end() {
    let mut rest = Vec::new();
    let _ = std::io::stdin().read_to_end(&mut rest);
}

fn hold() -> Outcome {
    let client = Client::connect().at("connect")?;
    let context = client.context().at("context")?;
    context.alloc::<u8>(1 << 20).at("alloc")?;
    say("running");
    wait_for_end();
    client.ping().at("ping")
}

/// Runs the fixture that spins until a flag is set, which nobody sets, then tells how the synchronise ended and what
/// the next enqueue says.
fn endless() -> Outcome {
    let (context, kernel) = start("endless", "endless")?;
    let flag = context.alloc::<u64>(2).at("alloc")?;
    let stream = context.stream().at("stream")?;
    stream.memset(&flag, 0u32, 4).at("memset")?;
    stream.launch(&kernel, LaunchConfig::default(), args![flag.at(0), flag.at(1)]).at("launch")?;
    say("running");
    let synchronised = stream.synchronize();
    if let Err(error) = stream.launch(&kernel, LaunchConfig::default(), args![flag.at(0), flag.at(1)]) {
        say(&format!("enqueue {}", error.status().0));
    }
    synchronised.at("synchronise")
}

fn copy() -> Outcome {
    let client = Client::connect().at("connect")?;
    let context = client.context().at("context")?;
    let stream = context.stream().at("stream")?;
    let buffer = context.alloc::<u8>(64 << 20).at("alloc")?;
    let host = vec![7; 64 << 20];
    stream.copy_to_device(&buffer, &host).at("copy in")?;
    say("running");
    loop {
        stream.copy_to_device(&buffer, &host).at("copy in")?;
    }
}

fn allocate_all() -> Outcome {
    let client = Client::connect().at("connect")?;
    let context = client.context().at("context")?;
    let mut first = None;
    for _ in 0..3 {
        let mut kept = Vec::new();
        let refused = loop {
            match context.alloc::<u8>(16 << 20) {
                Ok(buffer) => kept.push(buffer),
                Err(error) => break error,
            }
        };
        assert_eq!(refused.status().0, 2, "{refused}");
        let count = kept.len();
        assert_eq!(*first.get_or_insert(count), count, "something leaked");
    }
    say(&format!("blocks {}", first.unwrap_or(0)));
    client.ping().at("ping")
}

fn wild() -> Outcome {
    let (context, kernel) = start("wild_access", "write_anywhere")?;
    let stream = context.stream().at("stream")?;
    say("running");
    let nowhere = vgpu_client::DevicePtr(0x10);
    let launched = stream.launch(&kernel, LaunchConfig::default(), args![nowhere, 1i32]);
    let synchronised = launched.and_then(|()| stream.synchronize());
    let again = context.alloc::<u8>(16);
    if let Err(error) = again {
        say(&format!("sticky {}", error.status().0));
    }
    synchronised.at("synchronise")
}

fn print() -> Outcome {
    let client = Client::connect().at("connect")?;
    let context = client.context().at("context")?;
    let module = context.load_module(ptx("printf_assert")).at("load")?;
    let stream = context.stream().at("stream")?;
    let printing = module.function("print_values").at("function")?;
    let values = context.alloc::<f32>(4).at("alloc")?;
    stream.copy_to_device(&values, &[0.5, 1.5, 2.5, 3.5]).at("copy in")?;
    stream.launch(&printing, LaunchConfig::linear(4, 4), args![&values, 4i32]).at("launch")?;
    stream.synchronize().at("synchronise")?;
    say("printed");
    let asserting = module.function("assert_below").at("function")?;
    let limits = context.alloc::<i32>(1).at("alloc")?;
    stream.copy_to_device(&limits, &[5]).at("copy in")?;
    stream.launch(&asserting, LaunchConfig::default(), args![&limits, 5i32, 1i32]).at("launch")?;
    stream.synchronize().at("assert")
}
