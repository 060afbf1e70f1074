//! Who a process is, and what nobody may do to it.

use std::io;

use rustix::process::{DumpableBehavior, Gid, Resource, Rlimit, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::SandboxError;

fn failed<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> SandboxError {
    move |source| SandboxError::System { what, source: source.into() }
}

/// Checks that the process has one thread: users, capabilities and Landlock are each thread's own.
pub(super) fn one_thread() -> Result<(), SandboxError> {
    let tasks = std::fs::read_dir("/proc/self/task").map_err(failed("count threads in /proc/self/task"))?;
    match tasks.count() {
        1 => Ok(()),
        count => Err(SandboxError::Threads { count }),
    }
}

/// Makes it a process of that user, with the group of the same number and no other. Does nothing where it is that already.
pub(super) fn become_user(uid: u32) -> Result<(), SandboxError> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(uid));
    if rustix::process::getuid() == uid && rustix::process::geteuid() == uid {
        return Ok(());
    }
    // Groups first and the user last: it is root who may change all three.
    rustix::thread::set_thread_groups(&[]).map_err(failed("leave its groups"))?;
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(failed("take a group of its own"))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(failed("take a user of its own"))
}

/// Asks the kernel what is asked for once in a process's life, from files that are closed to it later: the page size, which
/// kernels before 6.4 tell in `/proc/self/auxv` only.
pub(super) fn learn() {
    std::hint::black_box(rustix::param::page_size());
}

/// Drops all capabilities for good, and closes the process's memory.
pub(super) fn drop_all() -> Result<(), SandboxError> {
    rustix::thread::set_no_new_privs(true).map_err(failed("set no_new_privs"))?;
    let none = CapabilitySet::empty();
    let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, none).map_err(failed("drop capabilities"))?;
    // After the user was taken, which sets it anew. What is not dumpable belongs to root in /proc, memory included.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(failed("close its memory"))?;
    let nothing = Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(Resource::Core, nothing).map_err(failed("forbid dumps"))
}
