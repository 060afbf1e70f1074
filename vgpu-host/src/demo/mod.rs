//! `vgpu-host demo`: a host and four guest processes that do real work on it, checked and measured.
//!
//! Data goes one way: `arguments` say what to run on, `stage` starts a host in this process in a `scratch` folder,
//! `supervise` starts a guest process for each [`WorkKind`] (this executable again, see `guest`) and reads the line
//! that it reports, and `report` turns the four lines into one line of JSON or into a `table`. Between its checked work and
//! its report a guest takes part in a `contest`: all four have work all the time, and the host says who had how much.

mod arguments;
mod contest;
mod error;
mod guest;
mod output;
mod progress;
mod report;
mod scratch;
mod stage;
mod supervise;
mod table;
mod work;

pub use self::arguments::{Arguments, DeviceChoice, DeviceChoiceError, answer_usage_error};
pub use self::guest::{GuestArguments, guest_main};
pub use self::work::WorkKind;

use self::progress::Progress;
use self::report::Report;
use crate::config::Card;
use crate::{WorkerCommand, probe};

/// The software GPU, as the configuration names it.
const SOFT: &str = "soft";

/// The device as the configuration names it. `auto` asks for the first card and says what became of it.
fn choose(choice: DeviceChoice, progress: &Progress) -> String {
    let device = |card: Card| card.to_string();
    match choice {
        DeviceChoice::Soft => SOFT.into(),
        DeviceChoice::Cuda(number) => device(Card::Number(number)),
        DeviceChoice::Auto => {
            let first = Card::Number(0);
            let command =
                WorkerCommand::own().map_err(|error| format!("cannot find this executable: {error}"));
            match command.and_then(|command| probe::ask(&command, first)) {
                Ok(card) => {
                    progress.line(&format!("device auto: {first}, {}", card.name));
                    device(first)
                }
                Err(text) => {
                    progress.line(&format!("device auto: the software GPU (soft); no card: {text}"));
                    SOFT.into()
                }
            }
        }
    }
}

/// Runs the demo and prints what came out of it. Returns the exit status: 0 all results and shares are right, 1 one is wrong,
/// 2 it could not run.
pub fn run(arguments: &Arguments) -> u8 {
    // What a healthy host says of itself would drown the progress.
    crate::logging::start_at("warn");
    let progress = Progress::start();
    let device = choose(arguments.device, &progress);
    let outcome = stage::run(arguments, &device, &progress);
    progress.finish();
    let (report, status) = match outcome {
        Ok((outcomes, shares)) => report::of_guests(device, outcomes, shares),
        Err(error) => (Report::of_failure(Some(device), error.to_string()), report::COULD_NOT_RUN),
    };
    if arguments.json {
        output::line(&report.to_json());
        return status;
    }
    if !report.guests.is_empty() {
        output::line(table::table(&report).trim_end());
    }
    if let Some(error) = &report.error {
        output::error_line(&format!("vgpu-host: {error}"));
    }
    status
}
