//! Asking a card what it is, without loading its driver into this process.
//!
//! A driver that hangs or crashes must take neither the daemon nor a demo with it, and a process that has loaded it must
//! not serve. So a child is asked, `vgpu-host worker --probe CARD`: it opens the card as a worker would and prints one line
//! ([`ProbeLine`]).

mod ask;
mod card;
mod line;

use std::io::Write as _;

pub(crate) use self::ask::ask;
pub(crate) use self::card::open;
pub use self::line::{CardDescription, ProbeLine};
use crate::config::Card;
use crate::exit;

/// The argument behind `worker` that asks for a line and not for a session.
pub(crate) const ARGUMENT: &str = "--probe";

/// Opens the card as a worker would and prints one line of JSON that says what it is, or why it cannot be used. Returns
/// the exit status.
pub fn probe_main(card: Card) -> u8 {
    let opened = open(card);
    let status = if opened.is_ok() { exit::OK } else { exit::UNAVAILABLE };
    let line = ProbeLine::new(card, opened.as_deref());
    let text = serde_json::to_string(&line).expect("the line has only texts and numbers");
    let mut out = std::io::stdout().lock();
    // A parent that is gone does not want it.
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    status
}
