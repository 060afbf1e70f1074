//! What the benchmarks share: a peer process to play ping-pong with, figures beside their bases, facts of the machine.
//!
//! A time says little on a machine that nobody knows, and less on one that others use as well. So every figure here
//! stands beside a base that was measured in turns with it, in the same run, and the ratio of the two is what counts.
//! `README.md` lists the figures and the command for each.
#![forbid(unsafe_code)]

pub mod bench;
pub mod facts;
pub mod figure;
pub mod guest;
pub mod in_process;
pub mod null;
pub mod peer;
pub mod ping_pong;

pub use bench::{Against, Bench, Quantity, is_asked_for};
pub use figure::{Figure, Goal, Report};
