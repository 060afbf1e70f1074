//! What a worker gives up before it serves a guest.
//!
//! A worker counts as controlled by its guest. So it keeps what its session needs and nothing else, at one of three levels:
//!
//! | level | who it is | files | network, other processes, programs |
//! |---|---|---|---|
//! | [`Level::Full`], as root | a user of its own, whose number is that of the first plus its process id; no capabilities | Landlock | seccomp, Landlock |
//! | [`Level::Basic`] | the host's user, without capabilities | Landlock | seccomp, Landlock |
//! | [`Level::Off`] | the host's user | - | - |
//!
//! At both levels no program gets it new rights (`no_new_privs`), nobody but root looks into its memory and nothing dumps
//! it, and its environment was cleared before it started. In a cgroup it is put by whoever starts it.
//!
//! # Three steps
//! 1. [`Sandbox::give_up_rights`], first of all.
//! 2. [`Sandbox::close_files`], while there is one thread: Landlock holds for the thread that asks and those that it starts.
//!    For the software GPU that is no file at all. A card's driver opens files and devices of its own for as long as it runs
//!    (each mapping is an opened device, a compiler is loaded when it is first needed), so its worker keeps reading libraries,
//!    `/proc` and `/sys`, keeps using the card's devices, and writes nothing else.
//! 3. [`Sandbox::close_calls`], for all threads: a seccomp filter. For the software GPU it lists what is allowed. What a driver
//!    calls is nowhere promised, so for a card it lists what is refused. It comes after the device is ready, for a driver asks
//!    for more while it starts, and before anything that a guest says is done.
//!
//! A call that is refused answers `EPERM` and the process goes on. Killing it would make each new C library, which tries newer
//! calls first, the loss of all sessions, and would gain nothing: the call is not made either way.
//!
//! [`Survey`] finds which level a machine can hold, and what is missing in it.
//!
//! ```no_run
//! use vgpu_host::sandbox::{Purpose, Survey, Wanted, WORKER_UID_FIRST};
//!
//! let survey = Survey::new(Wanted::Auto, WORKER_UID_FIRST, Purpose::Software, None)?;
//! println!("{}", survey.sandbox.level());
//! survey.sandbox.enter(Purpose::Software)?;
//! assert!(std::fs::File::open("/etc/passwd").is_err());
//! # Ok::<(), vgpu_host::sandbox::SandboxError>(())
//! ```

mod calls;
mod error;
mod files;
mod rights;
mod survey;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::error::SandboxError;
pub use self::survey::{Missing, Survey};

/// The user of the worker with process id 0, where none is configured; see [`Sandbox::uid`]. No distribution gives out users
/// from 1,879,048,192 to 2,147,483,647 (systemd's list of reserved ranges).
pub const WORKER_UID_FIRST: u32 = 1_900_000_000;

/// As many users as a host may need: the kernel's largest process id is one below (`PID_MAX_LIMIT`, linux/threads.h).
pub const WORKER_UIDS: u32 = 1 << 22;

/// What is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "programs that embed the host choose one")]
pub enum Wanted {
    /// The highest level that this user and this kernel can hold; what is missing in it is told.
    #[default]
    Auto,
    /// [`Level::Full`] with all its parts, or nothing is served.
    Full,
    /// [`Level::Basic`] with all its parts, or nothing is served.
    Basic,
    /// [`Level::Off`].
    Off,
}

/// How much a worker gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "these are all levels there are")]
pub enum Level {
    /// Nothing.
    Off,
    /// What a process can give up without being root.
    Basic,
    /// That, and its user.
    Full,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Basic => "basic",
            Self::Full => "full",
        })
    }
}

/// What a process does in its sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "programs that embed the host choose one")]
pub enum Purpose {
    /// Be a software GPU.
    Software,
    /// Use a card through NVIDIA's driver.
    Card,
}

/// A sandbox that this machine can hold. Found by [`Survey::new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    level: Level,
    uid_first: u32,
    landlock: bool,
}

impl Sandbox {
    /// None at all.
    pub const OFF: Self = Self { level: Level::Off, uid_first: 0, landlock: false };

    /// How much it takes.
    pub const fn level(&self) -> Level {
        self.level
    }

    /// The user, and group, of the process with that id; none where it keeps the host's.
    ///
    /// It follows from the process id, so that no two workers have one user, also not those of two hosts or of a host that was
    /// started again while its workers went on, and nobody has to keep a list.
    pub fn uid(&self, pid: u32) -> Option<u32> {
        (self.level == Level::Full).then(|| self.uid_first.saturating_add(pid))
    }

    /// All three steps at once, for a process that has one thread and needs no time between them.
    ///
    /// # Errors
    /// As of the steps. The process has to end then: it has given up some of its rights.
    pub fn enter(&self, purpose: Purpose) -> Result<(), SandboxError> {
        self.give_up_rights()?;
        self.close_files(purpose)?;
        self.close_calls(purpose)
    }

    /// Takes the process's own user where the level has one, drops all capabilities, takes no new ones, and closes the
    /// process's memory to all but root. Does nothing the second time, so it may be repeated behind an exec.
    ///
    /// # Errors
    /// The process has several threads, or the system refuses a part.
    pub fn give_up_rights(&self) -> Result<(), SandboxError> {
        if self.level == Level::Off {
            return Ok(());
        }
        rights::one_thread()?;
        rights::learn();
        if let Some(uid) = self.uid(std::process::id()) {
            rights::become_user(uid)?;
        }
        rights::drop_all()
    }

    /// Lets the process open only what its purpose needs.
    ///
    /// # Errors
    /// The process has several threads, or the kernel holds less than it held at the survey.
    pub fn close_files(&self, purpose: Purpose) -> Result<(), SandboxError> {
        if self.level == Level::Off || !self.landlock {
            return Ok(());
        }
        rights::one_thread()?;
        files::close(purpose)
    }

    /// Lets all threads of the process make only the system calls that its purpose needs.
    ///
    /// # Errors
    /// The kernel refuses the filter.
    pub fn close_calls(&self, purpose: Purpose) -> Result<(), SandboxError> {
        if self.level == Level::Off { Ok(()) } else { calls::close(purpose) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_is_refused_and_keeps_what_it_has() {
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || held.recv());
        let sandbox = Sandbox { level: Level::Basic, uid_first: 0, landlock: true };
        let entered = sandbox.enter(Purpose::Software);
        assert!(matches!(entered, Err(SandboxError::Threads { count: 2.. })), "{entered:?}");
        assert!(matches!(sandbox.close_files(Purpose::Card), Err(SandboxError::Threads { .. })));
        Sandbox::OFF.enter(Purpose::Card).unwrap();
        assert!(std::fs::File::open("/proc/self/maps").is_ok());
        drop(hold);
        assert!(thread.join().unwrap().is_err());
    }
}
