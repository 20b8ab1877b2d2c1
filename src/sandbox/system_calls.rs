//! The lists of system calls: those that the proxy makes while it serves, whichever C library it was built with, and those that nobody makes who
//! means well.
//!
//! What is hot is allowed whatever its arguments are: the kernel then does not run the filter at all (Linux 5.11). Sending is the exception, which
//! costs some 75 ns a call.

use libc::c_long;

/// What an argument has to be for a call to be allowed, by its number from 0.
#[derive(Clone, Copy)]
pub(super) enum Argument {
    /// One of these.
    OneOf(u8, &'static [u32]),
    /// None of these bits is set.
    Without(u8, u32),
    /// All of these bits are set.
    With(u8, u32),
    /// Of the first bits, that are set, it has the second.
    Masked(u8, u32, &'static [u32]),
}

/// Allowed, whatever their arguments.
pub(super) const ALLOWED: &[c_long] = &[
    // Bytes.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_eventfd2,
    // Sockets; none listens that did not before.
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_accept4,
    libc::SYS_accept,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_setsockopt,
    libc::SYS_getsockopt,
    libc::SYS_socketpair,
    // Waiting, and time.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_restart_syscall,
    // Files; which ones is Landlock's to say.
    libc::SYS_openat,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_ftruncate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_fchmod,
    libc::SYS_flock,
    libc::SYS_umask,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_rm_watch,
    // Memory that is not code.
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    // Threads.
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_membarrier,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_gettid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Signals, and the app.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getpgid,
    libc::SYS_setpgid,
    libc::SYS_getsid,
    // What we are, and may have.
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getrusage,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrandom,
    // As x86_64 has them from older days; its musl takes these.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rmdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_link,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_symlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_getdents,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_dup2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_pipe,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_select,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_create,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_getpgrp,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_getrlimit,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_setrlimit,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_arch_prctl,
];

const IPV4: u32 = libc::AF_INET.unsigned_abs();
const IPV6: u32 = libc::AF_INET6.unsigned_abs();
const UNIX: u32 = libc::AF_UNIX.unsigned_abs();
/// This machine's addresses, and what a client has not taken yet.
const NETLINK: u32 = libc::AF_NETLINK.unsigned_abs();

const EXECUTABLE: u32 = libc::PROT_EXEC.unsigned_abs();

/// The type of a socket, without its flags.
const SOCKET_TYPE: u32 = 0xf;
const STREAM_OR_DATAGRAM: &[u32] = &[libc::SOCK_STREAM.unsigned_abs(), libc::SOCK_DGRAM.unsigned_abs()];

/// TCP and UDP, by name or as what the type means. MPTCP is another one, of whose connections Landlock knows nothing.
const TCP_OR_UDP: &[u32] = &[0, libc::IPPROTO_TCP.unsigned_abs(), libc::IPPROTO_UDP.unsigned_abs()];

/// Addresses and routes, and sockets.
const NETLINK_PROTOCOLS: &[u32] = &[libc::NETLINK_ROUTE.unsigned_abs(), libc::NETLINK_SOCK_DIAG.unsigned_abs()];

/// It connects where Landlock does not look.
const FAST_OPEN: u32 = libc::MSG_FASTOPEN.unsigned_abs();

/// Allowed where arguments are as they should be: all of one of these lists.
pub(super) const CONDITIONAL: &[(c_long, &[&[Argument]])] = &[
    (
        libc::SYS_socket,
        &[
            &[
                Argument::OneOf(0, &[IPV4, IPV6]),
                Argument::Masked(1, SOCKET_TYPE, STREAM_OR_DATAGRAM),
                Argument::OneOf(2, TCP_OR_UDP),
            ],
            &[Argument::OneOf(0, &[UNIX])],
            &[Argument::OneOf(0, &[NETLINK]), Argument::OneOf(2, NETLINK_PROTOCOLS)],
        ],
    ),
    (libc::SYS_sendto, &[&[Argument::Without(3, FAST_OPEN)]]),
    (libc::SYS_sendmsg, &[&[Argument::Without(2, FAST_OPEN)]]),
    (libc::SYS_sendmmsg, &[&[Argument::Without(3, FAST_OPEN)]]),
    // Our own limits, and nobody else's.
    (libc::SYS_prlimit64, &[&[Argument::OneOf(0, &[0])]]),
    // No memory becomes code.
    (libc::SYS_mmap, &[&[Argument::Without(2, EXECUTABLE)]]),
    (libc::SYS_mprotect, &[&[Argument::Without(2, EXECUTABLE)]]),
    // Threads, and no process.
    (libc::SYS_clone, &[&[Argument::With(0, libc::CLONE_THREAD.unsigned_abs())]]),
    (
        libc::SYS_prctl,
        &[&[Argument::OneOf(
            0,
            &[
                libc::PR_SET_NAME.unsigned_abs(),
                libc::PR_GET_NAME.unsigned_abs(),
                libc::PR_SET_DUMPABLE.unsigned_abs(),
                libc::PR_GET_DUMPABLE.unsigned_abs(),
                libc::PR_SET_CHILD_SUBREAPER.unsigned_abs(),
                libc::PR_SET_VMA.unsigned_abs(),
            ],
        )]],
    ),
    // Whether stderr is a terminal, who has it, and modes of sockets: nothing that types for others (TIOCSTI) or changes a device.
    (
        libc::SYS_ioctl,
        &[&[Argument::OneOf(
            1,
            &[
                libc::TCGETS as u32,
                libc::TIOCGWINSZ as u32,
                libc::TIOCGPGRP as u32,
                libc::TIOCSPGRP as u32,
                libc::FIONBIO as u32,
                libc::FIONREAD as u32,
                libc::FIOCLEX as u32,
                libc::TIOCOUTQ as u32,
            ],
        )]],
    ),
];

/// They end the process: nothing of ours makes them, and nobody begins with anything else who has taken it over.
pub(super) const FATAL: &[c_long] = &[
    // Other programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    // Other roots and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    // The kernel.
    libc::SYS_bpf,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_open_by_handle_at,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
];
