#include "process/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/asan.h"
#include "base/syscalls.h"

#define OPTION(level, name) MAY_IF(setsockopt, IS(1, level), IS(2, name))
#define SOCKET_KIND(family, kind) MAY_IF(socket, IS(0, family), OF_BITS(1, ~(uint64_t)(SOCK_CLOEXEC | SOCK_NONBLOCK), kind), IS(2, 0)), \
	MAY_IF(socket, IS(0, family), OF_BITS(1, ~(uint64_t)(SOCK_CLOEXEC | SOCK_NONBLOCK), kind), IS(2, (kind) == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP))

/* Messages between processes (process/channel.h), with descriptors; long ones in a memfd. */
static const struct syscall_rule channels[] = {
	MAY(sendmsg), MAY(recvmsg), MAY(sendto), MAY(recvfrom), MAY(shutdown),
	MAY_IF(memfd_create, OF_BITS(1, ~(uint64_t)(MFD_CLOEXEC | MFD_ALLOW_SEALING), 0)), MAY(ftruncate),
	SYSCALLS_END,
};

/* Who talks to the network: TCP and UDP over IP, what its resolver and TLS need; no path is opened, no socket listens. */
static const struct syscall_rule network[] = {
	SOCKET_KIND(AF_INET, SOCK_STREAM), SOCKET_KIND(AF_INET, SOCK_DGRAM), SOCKET_KIND(AF_INET6, SOCK_STREAM), SOCKET_KIND(AF_INET6, SOCK_DGRAM),
	KILLS_IF(socket, ABOVE(0, AF_NETLINK)), KILLS_IF(socket, IS(0, AF_KEY)),        /* AF_PACKET and later; libraries try AF_UNIX and AF_NETLINK */
	MAY_IF(socketpair, IS(0, AF_UNIX)),
	MAY(bind), MAY(connect), MAY(getsockname), MAY(getpeername), KILLS(listen),
	MAY_IF(getsockopt, IS(1, SOL_SOCKET)), MAY_IF(getsockopt, IS(1, IPPROTO_TCP)),
	OPTION(SOL_SOCKET, SO_REUSEADDR), OPTION(SOL_SOCKET, SO_REUSEPORT), OPTION(SOL_SOCKET, SO_KEEPALIVE), OPTION(SOL_SOCKET, SO_LINGER),
	OPTION(SOL_SOCKET, SO_SNDBUF), OPTION(SOL_SOCKET, SO_RCVBUF), OPTION(SOL_SOCKET, SO_SNDTIMEO), OPTION(SOL_SOCKET, SO_RCVTIMEO),
	OPTION(IPPROTO_TCP, TCP_NODELAY), OPTION(IPPROTO_TCP, TCP_MAXSEG), OPTION(IPPROTO_TCP, TCP_KEEPIDLE), OPTION(IPPROTO_TCP, TCP_KEEPINTVL),
	OPTION(IPPROTO_TCP, TCP_KEEPCNT), OPTION(IPPROTO_TCP, TCP_USER_TIMEOUT), OPTION(IPPROTO_TCP, TCP_QUICKACK),
	OPTION(IPPROTO_IP, IP_MTU_DISCOVER), OPTION(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT), OPTION(IPPROTO_IP, IP_TOS),
	OPTION(IPPROTO_IPV6, IPV6_V6ONLY), OPTION(IPPROTO_IPV6, IPV6_MTU), OPTION(IPPROTO_IPV6, IPV6_MTU_DISCOVER), OPTION(IPPROTO_IPV6, IPV6_TCLASS),
	MAY_IF(ioctl, IS(1, SIOCOUTQ)),
	SYSCALLS_END,
};

/* A worker: what it needs beside that for connections that come, and for boxes. Its listening sockets were made by the parent, its files by the keepers. */
static const struct syscall_rule worker[] = {
	MAY(accept4),
	MAY_IF(getsockopt, IS(1, IPPROTO_IP), IS(2, IP_TRANSPARENT)), MAY_IF(getsockopt, IS(1, IPPROTO_IPV6), IS(2, IPV6_TRANSPARENT)),
	MAY(splice),                            /* what is only passed on: base/pump.h */
	MAY_IF(fcntl, IS(1, F_SETPIPE_SZ)), MAY_IF(fcntl, IS(1, F_GETPIPE_SZ)),
	SYSCALLS_END,
};

/* Who asks directories: its copy on disk, in two files that it has. */
static const struct syscall_rule copies[] = { MAY(flock), SYSCALLS_END };

/* Whoever owns a directory (the root of his file system): files and SQLite. No socket is made; those that serve commands accept on one that they have. */
static const struct syscall_rule keeper[] = {
	MAY(open), MAY(openat), MAY(access), MAY(faccessat), MAY(faccessat2), MAY(stat), MAY(lstat), MAY(newfstatat), MAY(statx), MAY(fstatfs), MAY(statfs),
	MAY(getdents64), MAY(readlink), MAY(readlinkat), MAY(getcwd),
	MAY(unlink), MAY(unlinkat), MAY(rename), MAY(renameat), MAY(renameat2), MAY(linkat), MAY(mkdir), MAY(mkdirat), MAY(rmdir),
	MAY(fchmod), MAY(fchown), MAY(utimensat), MAY(utime),
	MAY(fsync), MAY(fdatasync), MAY(sync_file_range), MAY(fallocate), MAY(fadvise64), MAY(flock),
	MAY_IF(fcntl, IS(1, F_GETLK)), MAY_IF(fcntl, IS(1, F_SETLK)), MAY_IF(fcntl, IS(1, F_SETLKW)),
	KILLS(symlink), KILLS(symlinkat), KILLS(mknod), KILLS(mknodat),
	SYSCALLS_END,
};

static const struct syscall_rule command_socket[] = { MAY(accept), MAY(accept4), SYSCALLS_END };

#define ALL syscalls_kernel_intruder, syscalls_intruder, syscalls_common, syscalls_signal_self, channels
#define KEEPER ALL, syscalls_network_intruder, keeper

enum { TABLES_MAX = 10 };

static const struct syscall_rule *const lists[ROLE_COUNT][TABLES_MAX] = {
	/* It has children of every kind, and becomes its successor at an upgrade: its list says what nobody may. */
	[ROLE_PARENT] = { syscalls_kernel_intruder, NULL },
	[ROLE_WORKER] = { ALL, syscalls_file_intruder, network, worker, NULL },
	[ROLE_STATE] = { KEEPER, command_socket, NULL },
	[ROLE_STORE] = { KEEPER, NULL },
	[ROLE_HISTORY] = { KEEPER, NULL },
	[ROLE_SPOOL] = { KEEPER, command_socket, NULL },
	/* Has read its keys before; then it is asked, and answers. */
	[ROLE_KEYS] = { ALL, syscalls_file_intruder, syscalls_network_intruder, NULL },
	/* Has read its passwords before. */
	[ROLE_DIRECTORY] = { ALL, syscalls_file_intruder, network, copies, NULL },
};

static void limit(int what, rlim_t most)
{
	const struct rlimit r = { most, most };

	(void)setrlimit(what, &r);
}

/* Beside the list, and for who runs with sandbox = no. Not RLIMIT_FSIZE: memory that is handed over (memfd_create) is a file to it. */
static void limits(void)
{
	limit(RLIMIT_NPROC, 0);
	limit(RLIMIT_MSGQUEUE, 0);
}

int sandbox_enter(enum channel_role role, const struct confine *c)
{
	if (!c->sandbox)
		syscalls_none();
	if (role != ROLE_PARENT && !UNCONFINED)
		limits();
	return syscalls_confine(lists[role], role == ROLE_PARENT ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(EPERM));
}
