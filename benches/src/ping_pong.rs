//! A message to another process and back, by the ways that a system offers: the measure of all calls.

use std::hint::spin_loop;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use vgpu_window::link::Link;
use vgpu_window::{Region, futex};

use crate::bench::median;
use crate::peer::{self, Peer};

/// Bytes of the shared region: the two words lie in pages of their own, so that no prefetcher couples them.
const REGION_BYTES: u64 = 8192;
/// Word that the benchmark writes.
const THERE: u64 = 0;
/// Word that the peer writes.
const BACK: u64 = 4096;

/// Bursts of one measurement of [`PingPong::round_trip`], and round trips of each: short enough that most of them pass
/// between two decisions of the scheduler, long enough that reading the clock does not count.
const BURSTS: u32 = 50;
const BURST_ROUNDS: u32 = 100;

/// The way that the message takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "all that are compared")]
pub enum Way {
    /// A word of shared memory for each direction; both sides spin.
    Spin,
    /// The same, but both sides sleep on the word.
    Futex,
    /// An eventfd for each direction; both sides sleep in a read.
    Eventfd,
    /// One byte each way over a Unix stream socket; both sides sleep in a read.
    Stream,
}

impl Way {
    const ALL: [(Self, &'static str); 4] =
        [(Self::Spin, "spin"), (Self::Futex, "futex"), (Self::Eventfd, "eventfd"), (Self::Stream, "stream")];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(way, _)| *way == self).map_or("spin", |(_, name)| name)
    }

    fn of_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, other)| *other == name).map(|(way, _)| *way)
    }
}

/// One side of a pair.
#[derive(Debug)]
struct Side {
    way: Way,
    region: Region,
    /// What this side writes: an eventfd or the stream.
    out: OwnedFd,
    /// What this side reads.
    back: OwnedFd,
    /// Rounds so far: the value of the words.
    round: u32,
}

/// A pair of processes that play ping-pong when asked, and sleep otherwise.
#[derive(Debug)]
pub struct PingPong {
    side: Side,
    peer: Peer,
}

impl PingPong {
    /// Starts the other process.
    ///
    /// # Panics
    /// When it does not start, or the system has no descriptor or memory left.
    pub fn start(way: Way) -> Self {
        let peer = Peer::start(way.name());
        let (region, file) = Region::create_shared("vgpu-bench", REGION_BYTES).expect("memory is left");
        let (ours, theirs) = if way == Way::Eventfd {
            let event = || eventfd(0, EventfdFlags::CLOEXEC).expect("a descriptor is free");
            let (there, back) = (event(), event());
            let copy = |fd: &OwnedFd| fd.try_clone().expect("a descriptor is free");
            ((copy(&there), copy(&back)), (back, there))
        } else {
            let (ours, theirs) = UnixStream::pair().expect("a descriptor is free");
            let both = |stream: UnixStream| {
                let other = stream.try_clone().expect("a descriptor is free");
                (OwnedFd::from(stream), OwnedFd::from(other))
            };
            (both(ours), both(theirs))
        };
        peer.send(&[], &[file.as_fd(), theirs.0.as_fd(), theirs.1.as_fd()]);
        let side = Side { way, region, out: ours.0, back: ours.1, round: 0 };
        Self { side, peer }
    }

    /// Plays so many rounds; returns how long they took, the start of the other side not counted.
    ///
    /// # Panics
    /// When the other process is gone.
    pub fn rounds(&mut self, rounds: u32) -> Duration {
        self.wake(rounds);
        self.burst(rounds)
    }

    /// Time of one round trip: the median of some bursts.
    ///
    /// # Panics
    /// When the other process is gone.
    pub fn round_trip(&mut self) -> Duration {
        self.wake(BURSTS * BURST_ROUNDS);
        let bursts = (0..BURSTS).map(|_| self.burst(BURST_ROUNDS).as_secs_f64()).collect::<Vec<_>>();
        Duration::from_secs_f64(median(bursts) / f64::from(BURST_ROUNDS))
    }

    /// Announces so many rounds, and waits until the other side is awake.
    fn wake(&mut self, rounds: u32) {
        self.peer.send(&(rounds + 1).to_le_bytes(), &[]);
        self.side.serve();
    }

    fn burst(&mut self, rounds: u32) -> Duration {
        let start = Instant::now();
        for _ in 0..rounds {
            self.side.serve();
        }
        start.elapsed()
    }
}

impl Side {
    /// To the other side and back.
    fn serve(&mut self) {
        self.round = self.round.wrapping_add(1);
        self.put(THERE);
        self.get(BACK);
    }

    /// Waits for the other side, and answers.
    fn answer(&mut self) {
        self.round = self.round.wrapping_add(1);
        self.get(THERE);
        self.put(BACK);
    }

    fn word(&self, offset: u64) -> &AtomicU32 {
        self.region.atomic_u32(offset).expect("both words lie in the region")
    }

    #[inline]
    fn put(&self, offset: u64) {
        match self.way {
            Way::Spin => self.word(offset).store(self.round, Ordering::Release),
            Way::Futex => {
                let word = self.word(offset);
                word.store(self.round, Ordering::Release);
                futex::wake_all(word);
            }
            Way::Eventfd => {
                rustix::io::write(&self.out, &1u64.to_ne_bytes()).expect("the other side reads");
            }
            Way::Stream => {
                rustix::io::write(&self.out, &[1]).expect("the other side reads");
            }
        }
    }

    #[inline]
    fn get(&self, offset: u64) {
        match self.way {
            Way::Spin => {
                let word = self.word(offset);
                while word.load(Ordering::Acquire) != self.round {
                    spin_loop();
                }
            }
            Way::Futex => {
                let word = self.word(offset);
                loop {
                    let seen = word.load(Ordering::Acquire);
                    if seen == self.round {
                        return;
                    }
                    futex::wait(word, seen, None);
                }
            }
            Way::Eventfd | Way::Stream => {
                let mut bytes = [0; 8];
                rustix::io::read(&self.back, &mut bytes).expect("the other side writes");
            }
        }
    }
}

/// Plays the other side, where this process was started for that, and then exits. Benchmarks that use [`PingPong`] call
/// it first.
///
/// # Panics
/// When it was started by hand.
pub fn play_if_asked() {
    let Some((kind, link)) = peer::asked() else { return };
    if let Some(way) = Way::of_name(&kind) {
        play(way, &link);
        std::process::exit(0);
    }
}

fn play(way: Way, link: &Link) {
    let mut fds = link.recv().expect("the benchmark begins with descriptors").fds.into_iter();
    let mut next = || fds.next().expect("the benchmark sends three descriptors");
    let region = Region::map_shared(next().as_fd(), REGION_BYTES).expect("a sealed region");
    let mut side = Side { way, region, out: next(), back: next(), round: 0 };
    // The benchmark's end closes the link.
    while let Ok(message) = link.recv() {
        let rounds: [u8; 4] = message.body.try_into().expect("a command is a number of rounds");
        for _ in 0..u32::from_le_bytes(rounds) {
            side.answer();
        }
    }
}
