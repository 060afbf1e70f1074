//! A card: everything that a driver may do to its own process, less what reaches out of it.
//!
//! NVIDIA promises nowhere what its driver calls, and each version calls something else. So the list is that of all calls
//! that are known here less the refused ones, which are chosen so that what is left acts on this process, on what it has open,
//! and on what Landlock lets it open.

use super::{Allowed, different, rule};

/// The last call that is known here, `mseal` of Linux 6.10. Numbers from 424 on are the same on every architecture.
const LAST: i64 = 462;

/// Refused, by what they reach.
const REFUSED: &[i64] = &[
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_kcmp,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_setpgid,
    libc::SYS_setsid,
    libc::SYS_setpriority,
    libc::SYS_ioprio_set,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_setattr,
    libc::SYS_migrate_pages,
    // Programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    // The network, and other processes by sockets, queues and shared memory that have names.
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    libc::SYS_mq_notify,
    // What Landlock does not see: whose files are, what marks they have.
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    452, // fchmodat2
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    libc::SYS_utimensat,
    libc::SYS_truncate,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_fanotify_mark,
    // Mounts and name spaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    // Users and rights.
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    libc::SYS_personality,
    // Parts of the kernel that a session has no need of and that broke often.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // The whole machine.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_vhangup,
];

/// Older calls of the same kinds, which later architectures do not have.
#[cfg(target_arch = "x86_64")]
const OLD: &[i64] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_uselib,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_kexec_file_load,
];
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[i64] = &[];

/// What a descriptor may not be told: whose signals it sends.
const DESCRIPTOR_COMMANDS: [u64; 3] = [libc::F_SETOWN as u64, F_SETOWN_EX, F_SETSIG];
/// include/uapi/asm-generic/fcntl.h.
const F_SETSIG: u64 = 10;
const F_SETOWN_EX: u64 = 15;

/// What a device may not be told: to type on a terminal, which the log may be, and whose signals to send (asm-generic/ioctls.h
/// and asm-generic/sockios.h).
const DEVICE_COMMANDS: [u64; 4] = [libc::TIOCSTI, libc::TIOCLINUX, FIOSETOWN, SIOCSPGRP];
const FIOSETOWN: u64 = 0x8901;
const SIOCSPGRP: u64 = 0x8902;

/// What the process may not take back: that others cannot see its memory.
const PROCESS_COMMANDS: [u64; 3] =
    [libc::PR_SET_DUMPABLE as u64, libc::PR_SET_PTRACER as u64, libc::PR_SET_MM as u64];

pub(super) fn allowed() -> Result<Allowed, seccompiler::Error> {
    let mut allowed: Allowed = (0..=LAST).map(|number| (number, vec![])).collect();
    for number in REFUSED.iter().chain(OLD) {
        allowed.remove(number);
    }
    for (number, argument, refused) in [
        (libc::SYS_fcntl, 1, &DESCRIPTOR_COMMANDS[..]),
        (libc::SYS_ioctl, 1, &DEVICE_COMMANDS),
        (libc::SYS_prctl, 0, &PROCESS_COMMANDS),
    ] {
        let others = refused.iter().map(|value| different(argument, *value));
        allowed.insert(number, vec![rule(&others.collect::<Result<Vec<_>, _>>()?)?]);
    }
    // Pages of another process; 0 is this one.
    allowed.insert(libc::SYS_move_pages, vec![rule(&[super::equal(0, 0)?])?]);
    Ok(allowed)
}
