//! A guest of the demo: one process, one tenant, one kind of work, checked against a CPU reference and measured.
//!
//! It is a program like any other that uses [`vgpu_client`]; only its report is for the demo.

mod compare;
mod error;
mod histogram;
mod input;
mod load;
mod matmul;
mod measure;
mod nbody;
mod reduction;
mod rounds;
mod statistics;

use std::time::Duration;

use rustix::process::Signal;
use vgpu_client::{Client, Context};

use self::error::GuestError;
use self::rounds::Work;
use super::output;
use super::report::{COULD_NOT_RUN, Figures, GuestReport, RIGHT, Shares, WRONG};
use super::work::WorkKind;

/// The hidden subcommand that makes the executable a guest.
const SUBCOMMAND: &str = "demo-guest";

/// Arguments of the hidden subcommand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
#[non_exhaustive]
pub struct GuestArguments {
    /// What to do.
    #[arg(long)]
    pub work: WorkKind,
    /// For how long, in seconds.
    #[arg(long)]
    pub seconds: u32,
}

/// The command line of a guest, without the program.
pub(super) fn words(work: WorkKind, seconds: u32) -> Vec<String> {
    let words = [SUBCOMMAND, "--work", work.name(), "--seconds"];
    words.into_iter().map(str::to_owned).chain([seconds.to_string()]).collect()
}

/// Does the work and prints the report on standard output, in one line. Returns the exit status, in the demo's meaning.
pub fn guest_main(arguments: &GuestArguments) -> u8 {
    // Without its demo nobody reads the report. A kernel that does not know the call lets it run to its end.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let name = arguments.work.name();
    let (report, status) = match run(arguments) {
        Ok(figures) => {
            let shares = Shares::default();
            (GuestReport { name: name.into(), verified: true, error: None, figures, shares }, RIGHT)
        }
        Err(error) => {
            let status = if matches!(error, GuestError::Wrong(_)) { WRONG } else { COULD_NOT_RUN };
            (GuestReport::failed(name, error.to_string()), status)
        }
    };
    output::line(&serde_json::to_string(&report).expect("the report has only texts and numbers"));
    status
}

fn run(arguments: &GuestArguments) -> Result<Figures, GuestError> {
    // Standard output belongs to the report.
    let client = Client::builder().output(std::io::stderr()).connect()?;
    let context = client.context()?;
    let mut work = prepare(arguments.work, &context)?;
    let stream = context.stream()?;
    let figures = measure::measure(work.as_mut(), &stream, Duration::from_secs(arguments.seconds.into()))?;
    let orders = std::io::BufReader::new(std::io::stdin());
    load::contend(work.as_ref(), &context, &stream, orders)?;
    Ok(figures)
}

fn prepare(kind: WorkKind, context: &Context) -> Result<Box<dyn Work>, GuestError> {
    Ok(match kind {
        WorkKind::Matmul => Box::new(matmul::Matmul::new(context)?),
        WorkKind::Reduction => Box::new(reduction::Reduction::new(context)?),
        WorkKind::Histogram => Box::new(histogram::Histogram::new(context)?),
        WorkKind::Nbody => Box::new(nbody::Nbody::new(context)?),
    })
}
