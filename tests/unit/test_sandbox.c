/* The lists of system calls: what each role may, what is refused, what ends it. Each call in a process of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/asan.h"
#include "base/durable.h"
#include "base/syscalls.h"
#include "process/capabilities.h"
#include "process/sandbox.h"

/* Made before the list holds, in a directory that is thrown away. */
static struct { int dir, file, proc, memory, pair[2], listening, pipe[2]; char path[64]; } have;

static long a_read(void) { char c; return pread(have.file, &c, 1, 0); }
static long a_write(void) { return pwrite(have.file, "x", 1, 0); }
static long a_memory(void) { void *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); return p == MAP_FAILED ? -1 : mprotect(p, 4096, PROT_NONE) | madvise(p, 8192, MADV_DONTNEED) | munmap(p, 1 << 20); }
static long a_malloc(void) { char *p = malloc(300000), *q = p ? realloc(p, 30 << 20) : NULL; free(q); return q ? 0 : -1; }
static long a_random(void) { char c; return syscall(SYS_getrandom, &c, 1, 0); }
static long a_memfd(void) { int fd = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING); return fd < 0 ? -1 : ftruncate(fd, 10) | fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK); }
static long a_huge_memfd(void) { return memfd_create("x", MFD_HUGETLB); }
static long a_message(void) { char c = 'x'; struct iovec v = { &c, 1 }; struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 }; return sendmsg(have.pair[0], &m, MSG_NOSIGNAL) < 0 ? -1 : recvmsg(have.pair[1], &m, 0); }
static long a_abort(void) { signal(SIGABRT, SIG_IGN); return raise(SIGABRT); }
static long a_signal(void) { return kill(getppid(), 0); }
static long a_thread_signal(void) { return syscall(SYS_tgkill, getppid(), getppid(), 0); }
static long an_open(void) { return open("/etc/passwd", O_RDONLY); }
static long an_openat(void) { return openat(have.dir, "f", O_RDONLY); }
static long an_open_to_write(void) { return open(have.path, O_WRONLY); }
static long a_creation(void) { return openat(have.dir, "g", O_RDONLY | O_CREAT, 0600); }
static long above_proc(void) { return openat(have.proc, "../../../etc/passwd", O_RDONLY); }
static long above_proc_in_half(void) { return syscall(SYS_openat, 0x700000000 | (unsigned)have.proc, "../../../etc/passwd", O_RDONLY); }
static long above_proc_by_another(void) { return dup2(have.proc, 100); }
static long proc_away(void) { return renameat(have.dir, "nothing", have.proc, "../../../tmp/gatepost-none") < 0 && errno != ENOENT ? -1 : 0; }
static long a_name_by_proc(void) { char n[16]; long rc; unlinkat(have.dir, "g", 0); snprintf(n, sizeof(n), "%d", have.file); rc = linkat(have.proc, n, have.dir, "g", AT_SYMLINK_FOLLOW); return rc | unlinkat(have.dir, "g", 0); }
static long a_stat(void) { struct stat st; return stat("/etc/passwd", &st); }
static long a_fstat(void) { struct stat st; return fstat(have.file, &st); }
static long an_unlink(void) { return unlinkat(have.dir, "nothing", 0) < 0 && errno != ENOENT ? -1 : 0; }
static long a_rename(void) { return renameat(have.dir, "nothing", have.dir, "else") < 0 && errno != ENOENT ? -1 : 0; }
static long a_link(void) { return linkat(have.dir, "nothing", have.dir, "else", 0) < 0 && errno != ENOENT ? -1 : 0; }
static long a_symlink(void) { return symlinkat("/etc/passwd", have.dir, "s"); }
static long a_mkdir(void) { return mkdirat(have.dir, "d", 0700) < 0 && errno != EEXIST ? -1 : 0; }
static long a_chmod(void) { return chmod("/", 0755); }
static long an_fsync(void) { return fdatasync(have.file); }
static long a_lock(void) { struct flock l = { .l_type = F_WRLCK }; return fcntl(have.file, F_SETLK, &l); }
static long a_lease(void) { return fcntl(have.file, F_NOTIFY, 0); }
static long an_ioctl(void) { char text[64]; return ioctl(have.file, 0x541b /* FIONREAD */, text) < 0 && errno != ENOTTY ? -1 : 0; }
static long a_terminal(void) { return ioctl(0, 0x5412 /* TIOCSTI */, "x"); }
static long inet(void) { return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); }
static long inet6_udp(void) { return socket(AF_INET6, SOCK_DGRAM, IPPROTO_UDP); }
static long inet_raw(void) { return socket(AF_INET, SOCK_RAW, IPPROTO_ICMP); }
static long inet_mptcp(void) { return socket(AF_INET, SOCK_STREAM, 262); }
static long inet_sctp(void) { return socket(AF_INET, SOCK_SEQPACKET, IPPROTO_SCTP); }
static long a_unix(void) { return socket(AF_UNIX, SOCK_STREAM, 0); }
static long a_netlink(void) { return socket(AF_NETLINK, SOCK_RAW, 0); }
static long a_packet(void) { return socket(AF_PACKET, SOCK_RAW, 0); }
static long an_alg(void) { return socket(AF_ALG, SOCK_SEQPACKET, 0); }
static long a_pair(void) { int sv[2]; return socketpair(AF_UNIX, SOCK_STREAM, 0, sv); }
static long a_listen(void) { return listen(have.listening, 1); }
static long a_bind(void) { struct sockaddr_un a = { .sun_family = AF_UNIX }; return bind(have.pair[0], (struct sockaddr *)&a, sizeof(a)) < 0 && errno != EINVAL ? -1 : 0; }
static long an_accept(void) { return accept4(have.listening, NULL, NULL, 0) < 0 && errno != EAGAIN && errno != EINVAL ? -1 : 0; }
static long an_option(void) { int on = 1; return setsockopt(have.listening, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0 && errno != EOPNOTSUPP ? -1 : 0; }
static long a_filter(void) { struct sock_filter f = { 0x06, 0, 0, 0 }; struct sock_fprog p = { 1, &f }; return setsockopt(have.pair[0], SOL_SOCKET, SO_ATTACH_FILTER, &p, sizeof(p)); }
static long a_splice(void) { return splice(have.pipe[0], NULL, have.pair[0], NULL, 1, SPLICE_F_NONBLOCK) < 0 && errno != EAGAIN ? -1 : 0; }
static long code(void) { void *p = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); return p == MAP_FAILED ? -1 : 0; }
static long code_later(void) { void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); return mprotect(p, 4096, PROT_READ | PROT_EXEC); }
static long a_fork(void) { pid_t pid = fork(); if (pid == 0) _exit(0); return pid; }
static long a_thread(void) { return syscall(SYS_clone, CLONE_VM | CLONE_THREAD | CLONE_SIGHAND, 0, 0, 0, 0); }
static long an_exec(void) { return execl("/bin/true", "true", NULL); }
static long a_trace(void) { return ptrace(PTRACE_TRACEME, 0, NULL, NULL); }
static long a_peek(void) { struct iovec v = { &have, 1 }, w = v; return process_vm_readv(getppid(), &v, 1, &w, 1, 0); }
static long a_mount(void) { return mount("none", "/", "tmpfs", MS_BIND, NULL); }
static long a_chroot(void) { return chroot("/"); }
static long a_flock(void) { return flock(have.file, LOCK_EX); }
static long a_setuid(void) { return setuid(0); }
static long a_setresuid(void) { return setresuid(0, 0, 0); }
static long an_unshare(void) { return unshare(CLONE_NEWNS); }
static long a_module(void) { return syscall(SYS_init_module, NULL, 0, ""); }
static long a_bpf(void) { return syscall(SYS_bpf, 0, NULL, 0); }
static long a_ring(void) { return syscall(SYS_io_uring_setup, 1, NULL); }
static long a_capability(void) { return syscall(SYS_capset, NULL, NULL); }
static long a_limit(void) { struct rlimit r = { 1, 1 }; return setrlimit(RLIMIT_NOFILE, &r); }
static long the_limits(void) { struct rlimit r; return getrlimit(RLIMIT_NOFILE, &r); }
static long a_dump(void) { return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); }
static long a_name(void) { return prctl(PR_SET_NAME, "x", 0, 0, 0); }
static long no_such_call(void) { return syscall(100000); }

/* + it may, e it hears EPERM, K it is the end of it. Roles: worker, state, store, history, spool, keys, directory. */
static const struct row { const char *name; long (*fn)(void); const char want[ROLE_COUNT]; } rows[] = {
	{ "pread", a_read, "+++++++" },
	{ "pwrite", a_write, "+++++++" },
	{ "memory", a_memory, "+++++++" },
	{ "malloc", a_malloc, "+++++++" },
	{ "getrandom", a_random, "+++++++" },
	{ "memfd_create", a_memfd, "+++++++" },
	{ "memfd_create(HUGETLB)", a_huge_memfd, "eeeeeee" },
	{ "sendmsg, recvmsg", a_message, "+++++++" },
	{ "raise", a_abort, "+++++++" },
	{ "kill(parent)", a_signal, "KKKKKKK" },
	{ "tgkill(parent)", a_thread_signal, "KKKKKKK" },
	{ "open", an_open, "e++++ee" },
	{ "openat", an_openat, "e++++ee" },
	{ "open to write", an_open_to_write, "K++++KK" },
	{ "open to create", a_creation, "K++++KK" },
	{ "openat(above /proc)", above_proc, "KKKKKKK" },
	{ "openat(above /proc), the other half", above_proc_in_half, "KKKKKKK" },
	{ "dup2(/proc)", above_proc_by_another, "KKKKKKK" },
	{ "renameat(above /proc)", proc_away, "KKKKKKK" },
	{ "linkat(/proc)", a_name_by_proc, "K++++KK" },
	{ "stat", a_stat, "e++++ee" },
	{ "fstat", a_fstat, "+++++++" },
	{ "unlinkat", an_unlink, "K++++KK" },
	{ "renameat", a_rename, "K++++KK" },
	{ "linkat", a_link, "K++++KK" },
	{ "symlinkat", a_symlink, "KKKKKKK" },
	{ "mkdirat", a_mkdir, "K++++KK" },
	{ "chmod", a_chmod, "KeeeeKK" },
	{ "fdatasync", an_fsync, "e++++ee" },
	{ "flock", a_flock, "e++++e+" },
	{ "fcntl(F_SETLK)", a_lock, "e++++ee" },
	{ "fcntl(F_NOTIFY)", a_lease, "eeeeeee" },
	{ "ioctl(FIONREAD)", an_ioctl, "+++++++" },
	{ "ioctl(TIOCSTI)", a_terminal, "eeeeeee" },
	{ "socket(TCP)", inet, "+KKKKK+" },
	{ "socket(UDP over IPv6)", inet6_udp, "+KKKKK+" },
	{ "socket(raw)", inet_raw, "eKKKKKe" },
	{ "socket(MPTCP)", inet_mptcp, "eKKKKKe" },
	{ "socket(SCTP)", inet_sctp, "eKKKKKe" },
	{ "socket(AF_UNIX)", a_unix, "eeeeeee" },
	{ "socket(AF_NETLINK)", a_netlink, "eKKKKKe" },
	{ "socket(AF_PACKET)", a_packet, "KKKKKKK" },
	{ "socket(AF_ALG)", an_alg, "KKKKKKK" },
	{ "socketpair", a_pair, "+eeeee+" },
	{ "listen", a_listen, "KKKKKKK" },
	{ "bind", a_bind, "+KKKKK+" },
	{ "accept4", an_accept, "++ee+ee" },
	{ "setsockopt(TCP_NODELAY)", an_option, "+eeeee+" },
	{ "setsockopt(SO_ATTACH_FILTER)", a_filter, "eeeeeee" },
	{ "splice", a_splice, "+eeeeee" },
	{ "mmap(PROT_EXEC)", code, "eeeeeee" },
	{ "mprotect(PROT_EXEC)", code_later, "eeeeeee" },
	{ "fork", a_fork, "eeeeeee" },
	{ "clone, a thread", a_thread, "eeeeeee" },
	{ "execve", an_exec, "KKKKKKK" },
	{ "ptrace", a_trace, "KKKKKKK" },
	{ "process_vm_readv", a_peek, "KKKKKKK" },
	{ "mount", a_mount, "KKKKKKK" },
	{ "chroot", a_chroot, "KKKKKKK" },
	{ "setuid", a_setuid, "KKKKKKK" },
	{ "setresuid", a_setresuid, "KKKKKKK" },
	{ "unshare", an_unshare, "KKKKKKK" },
	{ "init_module", a_module, "KKKKKKK" },
	{ "bpf", a_bpf, "KKKKKKK" },
	{ "io_uring_setup", a_ring, "KKKKKKK" },
	{ "capset", a_capability, "KKKKKKK" },
	{ "setrlimit", a_limit, "eeeeeee" },
	{ "getrlimit", the_limits, "+++++++" },
	{ "prctl(PR_SET_DUMPABLE)", a_dump, "eeeeeee" },
	{ "prctl(PR_SET_NAME)", a_name, "+++++++" },
	{ "no such call", no_such_call, "eeeeeee" },
};

static void make(void)
{
	snprintf(have.path, sizeof(have.path), "/tmp/gatepost-sandbox-XXXXXX");
	assert_non_null(mkdtemp(have.path));
	have.dir = open(have.path, O_RDONLY | O_DIRECTORY);
	have.file = openat(have.dir, "f", O_RDWR | O_CREAT, 0600);
	assert_true(have.file >= 0);
	strcat(have.path, "/f");
	assert_int_equal(write(have.file, "x", 1), 1);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, have.pair), 0);
	assert_int_equal(pipe2(have.pipe, O_NONBLOCK), 0);
	have.proc = durable_proc();
	assert_true(have.proc >= 0);
	have.listening = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
}

static void clean(void)
{
	unlinkat(have.dir, "f", 0);
	unlinkat(have.dir, "g", 0);
	unlinkat(have.dir, "d", AT_REMOVEDIR);
	*strrchr(have.path, '/') = 0;
	assert_int_equal(rmdir(have.path), 0);
}

/* What becomes of the call in a process of this role: +, e or K; else what it is. */
static char outcome(enum channel_role role, bool sandbox, long (*fn)(void))
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		struct confine c = { .sandbox = sandbox };
		struct rlimit none = { 0, 0 };
		long rc;

		setrlimit(RLIMIT_CORE, &none);
		syscalls_guard(have.proc);
		if (sandbox_enter(role, &c) < 0)
			_exit(3);
		rc = fn();
		_exit(rc >= 0 ? 0 : errno == EPERM ? 1 : errno == EAGAIN ? 4 : 2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status))
		return WTERMSIG(status) == SIGSYS ? 'K' : 'S';
	return "+e?!A"[WEXITSTATUS(status)];
}

static bool confined(void)
{
	if (!UNCONFINED && !getenv("UNDER_VALGRIND"))
		return true;
	print_message("skipped: no sandbox under valgrind, which does not know seccomp(2), nor where sanitizers or counters write\n");
	return false;
}

static void test_rows(void **state)
{
	int wrong = 0, n = 0;

	if (!confined())
		skip();
	make();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (int role = ROLE_WORKER; role < ROLE_COUNT; role++, n++) {
			char got = outcome(role, true, rows[i].fn);

			if (got == rows[i].want[role - ROLE_WORKER])
				continue;
			printf("  role %d, %s: %c, expected %c\n", role, rows[i].name, got, rows[i].want[role - ROLE_WORKER]);
			wrong++;
		}
	clean();
	printf("  %d calls tried\n", n);
	assert_int_equal(wrong, 0);
}

/* What the parent's list leaves is what its children and its successor need; and sandbox = no leaves all. */
static void test_parent(void **state)
{
	if (!confined())
		skip();
	make();
	assert_int_equal(outcome(ROLE_PARENT, true, a_trace), 'K');
	assert_int_equal(outcome(ROLE_PARENT, true, a_bpf), 'K');
	assert_int_equal(outcome(ROLE_PARENT, true, an_unshare), 'K');
	assert_int_equal(outcome(ROLE_PARENT, true, an_exec), '+');
	assert_int_equal(outcome(ROLE_PARENT, true, a_fork), '+');
	assert_int_equal(outcome(ROLE_PARENT, true, inet), '+');
	assert_int_equal(outcome(ROLE_PARENT, true, code), '+');
	assert_int_equal(outcome(ROLE_PARENT, true, an_open_to_write), '+');
	assert_int_equal(outcome(ROLE_WORKER, false, an_open_to_write), '+');
	assert_int_equal(outcome(ROLE_WORKER, false, a_trace), '+');
	clean();
}

/* Programs that cannot be made are an error, not a list that lets all pass. */
static void test_wrong_tables(void **state)
{
	static const struct syscall_rule twice_the_same_argument[] = { MAY_IF(socket, IS(0, 1), IS(0, 2)), SYSCALLS_END };
	static const struct syscall_rule as_otherwise[] = { { SCMP_SYS(read), SCMP_ACT_ERRNO(EPERM), 0, { { 0, SCMP_CMP_EQ, 0, 0 } } }, SYSCALLS_END };
	const struct syscall_rule *tables[] = { syscalls_common, twice_the_same_argument, NULL };
	struct sock_fprog program = { .len = 0 };

	if (getenv("UNDER_VALGRIND")) {
		print_message("skipped: libseccomp asks the kernel what it can, and valgrind does not know seccomp(2)\n");
		skip();
	}
	assert_true(syscalls_compile(tables, SCMP_ACT_ERRNO(EPERM), &program) < 0);
	tables[1] = as_otherwise;
	assert_true(syscalls_compile(tables, SCMP_ACT_ERRNO(EPERM), &program) < 0);
	assert_null(program.filter);
	tables[1] = syscalls_common;            /* said twice: no error */
	assert_int_equal(syscalls_compile(tables, SCMP_ACT_ERRNO(EPERM), &program), 0);
	assert_true(program.len > 100);
	syscalls_release(&program);
	assert_null(program.filter);
}

/* The sets of /proc/self/status. */
static uint64_t capability_set(const char *name)
{
	char line[256];
	unsigned long long set = ~0ULL;
	FILE *f = fopen("/proc/self/status", "re");

	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, name, strlen(name)) == 0)
			set = strtoull(line + strlen(name), NULL, 16);
	if (f)
		fclose(f);
	return set;
}

static void test_capabilities(void **state)
{
	int status;
	pid_t pid;

	if (geteuid() != 0)
		skip();
	pid = fork();
	if (pid == 0) {
		uint64_t had = capability_set("CapPrm:"), want = capabilities_parent & had;

		capabilities_bound(capabilities_parent);
		if (capabilities_keep(capabilities_parent) < 0 || capability_set("CapPrm:") != want || capability_set("CapEff:") != want)
			_exit(1);
		if ((had & 1 << CAP_SETPCAP) && capability_set("CapBnd:") & ~capabilities_parent)
			_exit(2);
		if (capabilities_keep(~UINT64_C(0)) < 0 || capability_set("CapEff:") != want)
			_exit(3);       /* nothing comes back */
		capabilities_bound(0);
		if (capabilities_keep(0) < 0 || capability_set("CapPrm:") || capability_set("CapEff:") || capability_set("CapInh:"))
			_exit(4);
		_exit((had & 1 << CAP_SETPCAP) && capability_set("CapBnd:") ? 5 : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_parent),
		cmocka_unit_test(test_wrong_tables),
		cmocka_unit_test(test_capabilities),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
