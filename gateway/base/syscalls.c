#include "base/syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/asan.h"

static bool off = UNCONFINED;
static bool unknown;            /* to whatever runs us, as valgrind: not even asked for */
static int guarded = -1;

enum { PROGRAM_BYTES_MAX = 4096 * sizeof(struct sock_filter) }; /* BPF_MAXINSNS */

const struct syscall_rule syscalls_common[] = {
	/* memory: glibc's malloc, stacks of tasks, lists that are mapped */
	MAY(brk), MAY(munmap), MAY(mremap), MAY(madvise),
	MAY_IF(mmap, OF_BITS(2, PROT_EXEC, 0)),
	MAY_IF(mprotect, OF_BITS(2, PROT_EXEC, 0)),
	/* descriptors that it has */
	MAY(read), MAY(write), MAY(readv), MAY(writev), MAY(pread64), MAY(pwrite64), MAY(preadv), MAY(pwritev), MAY(lseek), MAY(close), MAY(close_range),
	MAY(fstat), MAY_IF(newfstatat, OF_BITS(3, AT_EMPTY_PATH, AT_EMPTY_PATH)), MAY_IF(statx, OF_BITS(2, AT_EMPTY_PATH, AT_EMPTY_PATH)),
	MAY(dup), MAY(dup2), MAY(dup3),
	MAY_IF(fcntl, IS(1, F_GETFD)), MAY_IF(fcntl, IS(1, F_SETFD)), MAY_IF(fcntl, IS(1, F_GETFL)), MAY_IF(fcntl, IS(1, F_SETFL)),
	MAY_IF(fcntl, IS(1, F_DUPFD)), MAY_IF(fcntl, IS(1, F_DUPFD_CLOEXEC)), MAY_IF(fcntl, IS(1, F_ADD_SEALS)), MAY_IF(fcntl, IS(1, F_GET_SEALS)),
	MAY_IF(ioctl, IS(1, FIONREAD)), MAY_IF(ioctl, IS(1, FIONBIO)),
	MAY(poll), MAY(ppoll), MAY(select), MAY(pselect6),
	MAY(epoll_create), MAY(epoll_create1), MAY(epoll_ctl), MAY(epoll_wait), MAY(epoll_pwait),
	MAY(eventfd2), MAY(pipe2),
	/* time, chance, itself */
	MAY(clock_gettime), MAY(clock_getres), MAY(gettimeofday), MAY(time), MAY(nanosleep), MAY(clock_nanosleep),
	MAY(getrandom),
	MAY(getpid), MAY(gettid), MAY(getppid), MAY(getuid), MAY(geteuid), MAY(getgid), MAY(getegid),
	MAY(getrusage), MAY(times), MAY(uname), MAY(sysinfo), MAY(getcpu), MAY(sched_yield), MAY(sched_getaffinity),
	MAY(getrlimit), MAY_IF(prlimit64, IS(0, 0), IS(2, 0)),
	MAY_IF(prctl, IS(0, PR_SET_NAME)), MAY_IF(prctl, IS(0, PR_GET_NAME)), MAY_IF(prctl, IS(0, PR_GET_NO_NEW_PRIVS)),
	/* threads' bookkeeping, though there is but one */
	MAY(futex), MAY(set_robust_list), MAY(rseq), MAY(set_tid_address), MAY(membarrier),
	/* signals; its end */
	MAY(rt_sigaction), MAY(rt_sigprocmask), MAY(rt_sigreturn), MAY(sigaltstack), MAY(restart_syscall),
	MAY(exit), MAY(exit_group),
	SYSCALLS_END,
};

const struct syscall_rule syscalls_signal_self[] = {
	MAY_IF(kill, IS(0, SYSCALL_SELF)), MAY_IF(tgkill, IS(0, SYSCALL_SELF)),
	KILLS_IF(kill, IS_NOT(0, SYSCALL_SELF)), KILLS_IF(tgkill, IS_NOT(0, SYSCALL_SELF)),
	SYSCALLS_END,
};

const struct syscall_rule syscalls_kernel_intruder[] = {
	/* other processes' memory */
	KILLS(ptrace), KILLS(process_vm_readv), KILLS(process_vm_writev), KILLS(process_madvise), KILLS(kcmp), KILLS(pidfd_getfd), KILLS(userfaultfd),
	/* namespaces and mounts */
	KILLS(pivot_root), KILLS(unshare), KILLS(setns), KILLS(mount), KILLS(umount2), KILLS(move_mount), KILLS(open_tree), KILLS(fsopen), KILLS(fsconfig),
	KILLS(fsmount), KILLS(fspick), KILLS(mount_setattr), KILLS(swapon), KILLS(swapoff), KILLS(quotactl), KILLS(open_by_handle_at),
	/* the kernel, and its larger doors */
	KILLS(init_module), KILLS(finit_module), KILLS(delete_module), KILLS(kexec_load), KILLS(kexec_file_load), KILLS(reboot), KILLS(bpf),
	KILLS(perf_event_open), KILLS(io_uring_setup), KILLS(io_uring_enter), KILLS(io_uring_register), KILLS(add_key), KILLS(request_key), KILLS(keyctl),
	KILLS(iopl), KILLS(ioperm), KILLS(modify_ldt), KILLS(acct), KILLS(syslog), KILLS(settimeofday), KILLS(clock_settime), KILLS(clock_adjtime),
	KILLS(adjtimex), KILLS(sethostname), KILLS(setdomainname), KILLS(lookup_dcookie), KILLS(vhangup), KILLS(personality),
	SYSCALLS_END,
};

const struct syscall_rule syscalls_intruder[] = {
	KILLS(execve), KILLS(execveat), KILLS(chroot),
	KILLS(setuid), KILLS(setgid), KILLS(setreuid), KILLS(setregid), KILLS(setresuid), KILLS(setresgid), KILLS(setgroups), KILLS(setfsuid), KILLS(setfsgid),
	KILLS(capset),
	KILLS(tkill), KILLS(rt_sigqueueinfo), KILLS(rt_tgsigqueueinfo), KILLS(pidfd_send_signal), KILLS(pidfd_open),
	SYSCALLS_END,
};

const struct syscall_rule syscalls_file_intruder[] = {
	/* Libraries do look for what they can read (a locale, a time zone, the number of processors), and go on without: that is refused, no more. */
	KILLS_IF(open, OF_BITS(1, O_ACCMODE, O_WRONLY)), KILLS_IF(open, OF_BITS(1, O_ACCMODE, O_RDWR)), KILLS_IF(open, OF_BITS(1, O_ACCMODE | O_CREAT, O_CREAT)),
	KILLS_IF(openat, OF_BITS(2, O_ACCMODE, O_WRONLY)), KILLS_IF(openat, OF_BITS(2, O_ACCMODE, O_RDWR)),
	KILLS_IF(openat, OF_BITS(2, O_ACCMODE | O_CREAT, O_CREAT)),
	KILLS(creat), KILLS(openat2), KILLS(truncate),
	KILLS(unlink), KILLS(unlinkat), KILLS(rename), KILLS(renameat), KILLS(renameat2), KILLS(link), KILLS(linkat), KILLS(symlink), KILLS(symlinkat),
	KILLS(mkdir), KILLS(mkdirat), KILLS(rmdir), KILLS(mknod), KILLS(mknodat), KILLS(chmod), KILLS(fchmodat), KILLS(chown), KILLS(lchown), KILLS(fchownat),
	KILLS(chdir), KILLS(fchdir), KILLS(setxattr), KILLS(lsetxattr), KILLS(fsetxattr),
	SYSCALLS_END,
};

const struct syscall_rule syscalls_network_intruder[] = {
	KILLS_IF(socket, ABOVE(0, AF_UNIX)), KILLS_IF(socket, IS(0, AF_UNSPEC)),
	KILLS(bind), KILLS(listen),
	SYSCALLS_END,
};

static int add_rule(scmp_filter_ctx ctx, const struct syscall_rule *r)
{
	struct scmp_arg_cmp arg[3] = { r->arg[0], r->arg[1], r->arg[2] };
	int rc;

	for (unsigned i = 0; i < r->count; i++)
		if (arg[i].datum_a == SYSCALL_SELF)
			arg[i].datum_a = (scmp_datum_t)getpid();
	rc = seccomp_rule_add_array(ctx, r->action, r->number, r->count, arg);
	return rc == -EEXIST ? 0 : rc;          /* another table has said so already */
}

/* Calls that take a directory, or make another descriptor of it, and the place of that argument. */
static const struct { int number; unsigned arg; } ways[] = {
	{ SYS_openat, 0 }, { SYS_newfstatat, 0 }, { SYS_statx, 0 }, { SYS_faccessat, 0 }, { SYS_faccessat2, 0 }, { SYS_readlinkat, 0 }, { SYS_unlinkat, 0 },
	{ SYS_renameat, 0 }, { SYS_renameat, 2 }, { SYS_renameat2, 0 }, { SYS_renameat2, 2 }, { SYS_linkat, 2 }, { SYS_mkdirat, 0 }, { SYS_utimensat, 0 },
	{ SYS_dup, 0 }, { SYS_dup2, 0 }, { SYS_dup3, 0 }, { SYS_fcntl, 0 },
};
enum { WAYS = sizeof(ways) / sizeof(ways[0]), WAY_STEPS = 5, GUARD_STEPS = 3 + WAYS * WAY_STEPS };

#define WORD(at) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)(at))
/* The half that the kernel takes as a descriptor: the other one may be anything. */
#define LOW_HALF(n) (offsetof(struct seccomp_data, args) + 8 * (n) + (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 4 : 0))

/* libseccomp can only ask whether all of an argument's bits are other ones. What is not of this machine's kind goes on to what comes behind. */
static void guard_write(struct sock_filter *f)
{
	*f++ = (struct sock_filter)WORD(offsetof(struct seccomp_data, arch));
	*f++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, seccomp_arch_native(), 0, GUARD_STEPS - 2);
	*f++ = (struct sock_filter)WORD(offsetof(struct seccomp_data, nr));
	for (int i = 0; i < WAYS; i++) {
		*f++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)ways[i].number, 0, WAY_STEPS - 1);
		*f++ = (struct sock_filter)WORD(LOW_HALF(ways[i].arg));
		*f++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)guarded, 0, 1);
		*f++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
		*f++ = (struct sock_filter)WORD(offsetof(struct seccomp_data, nr));
	}
}

/* libseccomp gives the program to a descriptor only. */
static int read_program(int fd, struct sock_fprog *out)
{
	size_t before = guarded >= 0 ? GUARD_STEPS * sizeof(struct sock_filter) : 0;
	off_t bytes = lseek(fd, 0, SEEK_END);
	struct sock_filter *filter;

	if (bytes <= 0 || (size_t)bytes + before > PROGRAM_BYTES_MAX || (size_t)bytes % sizeof(*filter) != 0)
		return -EMSGSIZE;
	filter = malloc(before + (size_t)bytes);
	if (!filter)
		return -ENOMEM;
	if (before)
		guard_write(filter);
	if (pread(fd, (char *)filter + before, (size_t)bytes, 0) != bytes) {
		free(filter);
		return -EIO;
	}
	*out = (struct sock_fprog){ .len = (unsigned short)((before + (size_t)bytes) / sizeof(*filter)), .filter = filter };
	return 0;
}

void syscalls_guard(int dir_fd)
{
	guarded = dir_fd;
}

void syscalls_none(void)
{
	off = unknown = true;
}

/* The rules of all tables, as a program. */
static int compile(scmp_filter_ctx ctx, const struct syscall_rule *const *tables, struct sock_fprog *out)
{
	int fd = memfd_create("gatepost-syscalls", MFD_CLOEXEC), rc = fd < 0 ? -errno : 0;

	if (rc == 0)
		rc = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	if (rc == 0)
		rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);        /* a tree, not a list */
	for (int t = 0; rc == 0 && tables[t]; t++)
		for (const struct syscall_rule *r = tables[t]; rc == 0 && r->action; r++)
			rc = add_rule(ctx, r);
	if (rc == 0)
		rc = seccomp_export_bpf(ctx, fd);
	if (rc == 0)
		rc = read_program(fd, out);
	if (fd >= 0)
		close(fd);
	return rc;
}

int syscalls_compile(const struct syscall_rule *const *tables, uint32_t otherwise, struct sock_fprog *out)
{
	scmp_filter_ctx ctx;
	int rc;

	*out = (struct sock_fprog){ .len = 0 };
	if (unknown)
		return 0;
	ctx = seccomp_init(otherwise);
	rc = ctx ? compile(ctx, tables, out) : -ENOMEM;
	seccomp_release(ctx);
	return rc;
}

void syscalls_release(struct sock_fprog *program)
{
	free(program->filter);
	*program = (struct sock_fprog){ .len = 0 };
}

int syscalls_enter(const struct sock_fprog *program)
{
	if (off)
		return 0;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, program) < 0 ? -errno : 0;
}

int syscalls_confine(const struct syscall_rule *const *tables, uint32_t otherwise)
{
	struct sock_fprog program;
	int rc = syscalls_compile(tables, otherwise, &program);

	if (rc < 0)
		return rc;
	rc = syscalls_enter(&program);
	syscalls_release(&program);
	return rc;
}
