//! The software GPU: threads, memory, and messages over what is open.

use super::{Allowed, equal, masked, rule};

/// Whatever their arguments. By what they are for.
const PLAIN: &[i64] = &[
    // Messages and descriptors that it has.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_recvmsg,
    libc::SYS_recvfrom,
    libc::SYS_shutdown,
    libc::SYS_getsockopt,
    libc::SYS_ppoll,
    // Memory; what maps it is below.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_memfd_create,
    libc::SYS_ftruncate,
    // Threads and waiting.
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Who it is. Libraries take it for granted that these do not fail.
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getppid,
    libc::SYS_uname,
    // Time and chance.
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    // Signals that it takes.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
];

/// Older calls, which later architectures do not have.
#[cfg(target_arch = "x86_64")]
const OLD: &[i64] = &[libc::SYS_poll, libc::SYS_time];
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[i64] = &[];

/// What is done to a descriptor. Not among them: whose signals it sends (`F_SETOWN`).
const DESCRIPTOR_COMMANDS: [i32; 7] = [
    libc::F_GETFD,
    libc::F_SETFD,
    libc::F_GETFL,
    libc::F_SETFL,
    libc::F_DUPFD_CLOEXEC,
    libc::F_ADD_SEALS,
    libc::F_GET_SEALS,
];

pub(super) fn allowed() -> Result<Allowed, seccompiler::Error> {
    let mut allowed: Allowed = PLAIN.iter().chain(OLD).map(|number| (*number, vec![])).collect();
    // Memory that holds data; it is never made executable.
    let data = || rule(&[masked(2, libc::PROT_EXEC as u64, 0)?]);
    allowed.insert(libc::SYS_mmap, vec![data()?]);
    allowed.insert(libc::SYS_mprotect, vec![data()?]);
    let commands = DESCRIPTOR_COMMANDS.iter().map(|command| rule(&[equal(1, *command as u64)?]));
    allowed.insert(libc::SYS_fcntl, commands.collect::<Result<_, _>>()?);
    // Names of threads.
    allowed.insert(libc::SYS_prctl, vec![rule(&[equal(0, libc::PR_SET_NAME as u64)?])?]);
    Ok(allowed)
}
