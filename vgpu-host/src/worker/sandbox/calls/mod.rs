//! Which system calls a process may make, by seccomp.
//!
//! Both filters are lists of what is allowed, by number, some only with certain arguments; everything else answers `EPERM`. So
//! calls of a kernel that is newer than this program are refused, and so are those of a second calling convention (x32), whose
//! numbers are others.

mod card;
mod software;

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

use super::{Purpose, SandboxError};

/// Numbers of calls, each with the rules of which one must hold; with none the call is allowed whatever its arguments.
type Allowed = BTreeMap<i64, Vec<SeccompRule>>;

/// What makes a new name space, for clone(2) (linux/sched.h).
const NEW_SPACES: u64 = libc::CLONE_NEWNS as u64
    | libc::CLONE_NEWCGROUP as u64
    | libc::CLONE_NEWUTS as u64
    | libc::CLONE_NEWIPC as u64
    | libc::CLONE_NEWUSER as u64
    | libc::CLONE_NEWPID as u64
    | libc::CLONE_NEWNET as u64;

/// Lets all threads of this process make only what the purpose needs.
pub(super) fn close(purpose: Purpose) -> Result<(), SandboxError> {
    let apply = || -> Result<(), seccompiler::Error> {
        // This one first: behind the other one there are no further filters.
        seccompiler::apply_filter_all_threads(&without_clone3()?)?;
        seccompiler::apply_filter_all_threads(&only(allowed(purpose)?)?)
    };
    apply().map_err(|error| SandboxError::Calls { reason: error.to_string() })
}

fn allowed(purpose: Purpose) -> Result<Allowed, seccompiler::Error> {
    let mut allowed = match purpose {
        Purpose::Software => software::allowed(),
        Purpose::Card => card::allowed(),
    }?;
    to_itself(&mut allowed)?;
    Ok(allowed)
}

/// What may be done to this process alone: threads for it, signals to it, its limits.
fn to_itself(allowed: &mut Allowed) -> Result<(), seccompiler::Error> {
    // Compared as the kernel does: a process id has 32 bits.
    let own = u64::from(std::process::id());
    let thread = libc::CLONE_THREAD as u64;
    allowed.insert(libc::SYS_clone, vec![rule(&[masked(0, thread | NEW_SPACES, thread)?])?]);
    // Decided by the other filter.
    allowed.insert(libc::SYS_clone3, vec![]);
    allowed.insert(libc::SYS_kill, vec![rule(&[equal(0, own)?])?]);
    allowed.insert(libc::SYS_tgkill, vec![rule(&[equal(0, own)?])?]);
    allowed.insert(libc::SYS_prlimit64, vec![rule(&[equal(0, 0)?])?, rule(&[equal(0, own)?])?]);
    Ok(())
}

/// Lets through only those calls.
fn only(allowed: Allowed) -> Result<BpfProgram, seccompiler::Error> {
    filter(allowed, SeccompAction::Errno(libc::EPERM as u32), SeccompAction::Allow)
}

/// Says that there is no clone3(2), whose flags lie in memory where no filter sees them. The C library makes its threads with
/// clone(2) then, as on kernels that really have none.
fn without_clone3() -> Result<BpfProgram, seccompiler::Error> {
    let missing = SeccompAction::Errno(libc::ENOSYS as u32);
    filter([(libc::SYS_clone3, vec![])].into(), SeccompAction::Allow, missing)
}

fn filter(
    rules: Allowed,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> Result<BpfProgram, seccompiler::Error> {
    let target = TargetArch::try_from(std::env::consts::ARCH)?;
    Ok(SeccompFilter::new(rules, otherwise, matched, target)?.try_into()?)
}

/// All of these hold.
fn rule(conditions: &[SeccompCondition]) -> Result<SeccompRule, seccompiler::Error> {
    Ok(SeccompRule::new(conditions.to_vec())?)
}

/// The low half of an argument is that.
fn equal(argument: u8, value: u64) -> Result<SeccompCondition, seccompiler::Error> {
    Ok(SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)?)
}

/// The low half of an argument is something else.
fn different(argument: u8, value: u64) -> Result<SeccompCondition, seccompiler::Error> {
    Ok(SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, value)?)
}

/// Those bits of an argument are these.
fn masked(argument: u8, mask: u64, bits: u64) -> Result<SeccompCondition, seccompiler::Error> {
    Ok(SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(mask), bits)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What no worker may do, whatever its device: to other processes, to the system, to files but by what it has open.
    const NEVER: [i64; 30] = [
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_process_madvise,
        libc::SYS_pidfd_open,
        libc::SYS_pidfd_getfd,
        libc::SYS_pidfd_send_signal,
        libc::SYS_rt_sigqueueinfo,
        libc::SYS_rt_tgsigqueueinfo,
        libc::SYS_tkill,
        libc::SYS_kcmp,
        libc::SYS_socket,
        libc::SYS_connect,
        libc::SYS_bind,
        libc::SYS_listen,
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_move_mount,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_userfaultfd,
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_unshare,
        libc::SYS_setns,
    ];

    #[test]
    fn what_no_worker_needs_is_in_neither_list() {
        for purpose in [Purpose::Software, Purpose::Card] {
            let allowed = allowed(purpose).unwrap();
            for number in NEVER {
                assert!(!allowed.contains_key(&number), "{purpose:?}: call {number}");
            }
        }
    }

    #[test]
    fn the_software_gpu_opens_nothing() {
        let allowed = allowed(Purpose::Software).unwrap();
        for number in
            [libc::SYS_openat, libc::SYS_openat2, libc::SYS_ioctl, libc::SYS_unlinkat, libc::SYS_statx]
        {
            assert!(!allowed.contains_key(&number), "call {number}");
        }
    }

    #[test]
    fn both_lists_fit_a_filter() {
        /// `BPF_MAXINSNS`, linux/bpf_common.h.
        const INSTRUCTIONS_MAX: usize = 4_096;
        for purpose in [Purpose::Software, Purpose::Card] {
            let program = only(allowed(purpose).unwrap()).unwrap();
            assert!(program.len() <= INSTRUCTIONS_MAX, "{purpose:?}: {}", program.len());
        }
        assert!(!without_clone3().unwrap().is_empty());
    }
}
