#include "rig/kernel.h"

#define OPENSSL_SUPPRESS_DEPRECATED
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

enum {
	FIRST_FD = 500,                 /* no real descriptor of a test gets here */
	EPOLL_FD = FIRST_FD + KERNEL_WIRES,
	LOG_KEPT = 1 << 20,
};

/* Sunday, 22 November 2026, 12:00 UTC, when the machine has been up for a while. */
static const int64_t begin_wall_ms = 1795348800000, begin_ms = 1000000000;

static struct {
	bool on, show, resting;
	struct kernel_ops ops;
	struct wire wire[KERNEL_WIRES];
	bool epoll;
	int64_t ms;
	uint64_t chance;
	unsigned rounds;
	struct buf log;
	const RAND_METHOD *usual;
} k = { .ms = 1000000000, .log = { .max = LOG_KEPT } };

/* --- time and chance --- */

int64_t clock_ms(void)
{
	return k.ms;
}

int64_t clock_wall_ms(void)
{
	return begin_wall_ms + (k.ms - begin_ms);
}

int64_t clock_wall_s(void)
{
	return clock_wall_ms() / 1000;
}

int64_t kernel_ms(void)
{
	return k.ms;
}

/* What libevent looks at is ours; all else (the fuzzer's own watch, say) is not. */
int clock_gettime(clockid_t which, struct timespec *ts)
{
	if (!k.on || which != CLOCK_MONOTONIC_COARSE)
		return (int)syscall(SYS_clock_gettime, which, ts);
	ts->tv_sec = k.ms / 1000;
	ts->tv_nsec = k.ms % 1000 * 1000000;
	return 0;
}

static void chance(unsigned char *p, size_t len)
{
	while (len-- > 0) {
		k.chance ^= k.chance << 13;
		k.chance ^= k.chance >> 7;
		k.chance ^= k.chance << 17;
		*p++ = (unsigned char)(k.chance >> 32);
	}
}

ssize_t getrandom(void *p, size_t len, unsigned flags)
{
	if (!k.on)
		return syscall(SYS_getrandom, p, len, flags);
	chance(p, len);
	return (ssize_t)len;
}

/* Who has drawn in advance draws anew after each beginning: it takes itself for a child. */
pid_t getpid(void)
{
	return k.on ? (pid_t)(100000 + k.rounds % 2) : (pid_t)syscall(SYS_getpid);
}

/* The same at each call: handshakes on two legs draw in an order that depends on how octets arrive. */
static int openssl_chance(unsigned char *p, int len)
{
	for (int i = 0; i < len; i++)
		p[i] = (unsigned char)((i * 73 + len) & 0x7f);
	return 1;
}

static int openssl_ready(void)
{
	return 1;
}

static const RAND_METHOD openssl_method = { .bytes = openssl_chance, .pseudorand = openssl_chance, .status = openssl_ready };

/*
 * OpenSSL makes and drops some thousand small things in a handshake; it is not compiled for the sanitizers, and their allocator would take half of all
 * the time.
 */
void *__libc_malloc(size_t size);
void *__libc_realloc(void *p, size_t size);
void __libc_free(void *p);

static void *openssl_malloc(size_t size, const char *file, int line)
{
	return __libc_malloc(size);
}

static void *openssl_realloc(void *p, size_t size, const char *file, int line)
{
	return __libc_realloc(p, size);
}

static void openssl_free(void *p, const char *file, int line)
{
	__libc_free(p);
}

/* Before it has allocated anything. */
__attribute__((constructor)) static void openssl_memory(void)
{
	CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free);
}

/* --- wires --- */

static struct wire *wire_of(int fd)
{
	struct wire *w = fd >= FIRST_FD && fd < EPOLL_FD ? &k.wire[fd - FIRST_FD] : NULL;

	return k.on && w && w->open ? w : NULL;
}

static int wire_fd(const struct wire *w)
{
	return FIRST_FD + (int)(w - k.wire);
}

static struct wire *wire_new(void)
{
	for (size_t i = 0; i < KERNEL_WIRES; i++) {
		struct wire *w = &k.wire[i];

		if (w->open || w->held)
			continue;
		*w = (struct wire){ .open = true, .in = BUF_INIT(KERNEL_BYTES_MAX), .out = BUF_INIT(KERNEL_BYTES_MAX) };
		return w;
	}
	return NULL;
}

static void wire_drop(struct wire *w)
{
	if (w->open || w->held)
		return;
	buf_release(&w->in);
	buf_release(&w->out);
}

static uint32_t wire_mask(const struct wire *w)
{
	uint32_t m = 0;

	if (w->stream && !w->connected && !w->in_cut)
		return EPOLLOUT | EPOLLHUP;
	m |= w->in.len || w->in_end || w->in_cut ? EPOLLIN : 0;
	m |= EPOLLOUT;
	m |= w->in_end || w->in_cut ? EPOLLRDHUP : 0;
	m |= (w->in_end && w->out_end) || w->in_cut ? EPOLLHUP : 0;
	m |= w->in_cut && !w->told ? EPOLLERR : 0;
	return m;
}

void wire_feed(struct wire *w, const void *p, size_t len)
{
	if (!len || w->in_end || w->in_cut || !w->open)
		return;
	buf_add(&w->in, p, len);
	assert(!w->in.failed);
	w->fed += len;
	w->armed = true;
}

void wire_end(struct wire *w)
{
	w->armed |= !w->in_end;
	w->in_end = true;
}

void wire_cut(struct wire *w)
{
	w->armed |= !w->in_cut;
	w->in_cut = true;
}

void wire_leave(struct wire *w)
{
	/* Who has not read all resets the connection. */
	if (w->out.len)
		wire_cut(w);
	wire_end(w);
	w->gone = true;
	w->held = false;
	wire_drop(w);
}

int kernel_accept(const struct net_addr *client, const struct net_addr *local, struct wire **out)
{
	struct wire *w = wire_new();

	assert(w);
	w->held = w->stream = w->connected = true;
	w->peer = *client;
	w->local = *local;
	*out = w;
	return wire_fd(w);
}

size_t kernel_open(void)
{
	size_t n = 0;

	for (size_t i = 0; i < KERNEL_WIRES; i++)
		n += k.wire[i].open;
	return n;
}

void kernel_again(uint64_t seed)
{
	k.ms = begin_ms;
	k.chance = (seed + 1) * 0x9e3779b97f4a7c15ull;
	k.resting = false;
	k.rounds++;
	buf_clear(&k.log);
}

void kernel_rest(void)
{
	k.resting = true;
}

void kernel_begin(const struct kernel_ops *ops, uint64_t seed)
{
	assert(!k.on);
	k.on = true;
	k.ops = *ops;
	kernel_again(seed);
	k.usual = RAND_get_rand_method();
	RAND_set_rand_method(&openssl_method);
}

void kernel_end(void)
{
	assert(k.on && !kernel_open() && !k.epoll);
	RAND_set_rand_method(k.usual);
	k.on = false;
	buf_release(&k.log);
}

struct buf *kernel_log(void)
{
	return &k.log;
}

void kernel_log_show(bool show)
{
	k.show = show;
}

static int failed(int error)
{
	errno = error;
	return -1;
}

/* --- sockets --- */

int socket(int family, int type, int protocol)
{
	struct wire *w;

	if (!k.on || (family != AF_INET && family != AF_INET6) || (type & 0xf) != SOCK_STREAM)
		return (int)syscall(SYS_socket, family, type, protocol);
	w = wire_new();
	if (!w)
		return failed(EMFILE);
	w->stream = true;
	return wire_fd(w);
}

int bind(int fd, const struct sockaddr *sa, socklen_t len)
{
	struct wire *w = wire_of(fd);

	if (!w)
		return (int)syscall(SYS_bind, fd, sa, len);
	net_from_sockaddr(sa, &w->local);
	return 0;
}

int connect(int fd, const struct sockaddr *sa, socklen_t len)
{
	struct wire *w = wire_of(fd);

	if (!w)
		return (int)syscall(SYS_connect, fd, sa, len);
	net_from_sockaddr(sa, &w->peer);
	if (!w->local.family)
		net_parse("10.0.0.1", &w->local);
	w->local.port = 40000;
	w->held = true;
	if (!k.ops.connect || !k.ops.connect(k.ops.arg, w, &w->peer)) {
		w->held = false;
		return failed(ECONNREFUSED);
	}
	w->connected = w->armed = true;
	return failed(EINPROGRESS);
}

static int name_give(const struct net_addr *a, struct sockaddr *sa, socklen_t *len)
{
	struct sockaddr_storage ss;
	socklen_t n = net_to_sockaddr(a, &ss);

	memcpy(sa, &ss, n < *len ? n : *len);
	*len = n;
	return 0;
}

int getsockname(int fd, struct sockaddr *sa, socklen_t *len)
{
	struct wire *w = wire_of(fd);

	return w ? name_give(&w->local, sa, len) : (int)syscall(SYS_getsockname, fd, sa, len);
}

int getpeername(int fd, struct sockaddr *sa, socklen_t *len)
{
	struct wire *w = wire_of(fd);

	return w ? name_give(&w->peer, sa, len) : (int)syscall(SYS_getpeername, fd, sa, len);
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	struct wire *w = wire_of(fd);

	if (!w)
		return (int)syscall(SYS_setsockopt, fd, level, name, value, len);
	if (level == SOL_SOCKET && name == SO_LINGER)
		w->abort = ((const struct linger *)value)->l_onoff && !((const struct linger *)value)->l_linger;
	return 0;
}

int getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
	struct wire *w = wire_of(fd);
	int error;

	if (!w)
		return (int)syscall(SYS_getsockopt, fd, level, name, value, len);
	if (level != SOL_SOCKET || name != SO_ERROR || *len < sizeof(error))
		return failed(ENOPROTOOPT);
	error = w->in_cut && !w->told ? ECONNRESET : 0;
	w->told |= w->in_cut;
	memcpy(value, &error, sizeof(error));
	*len = sizeof(error);
	return 0;
}

static ssize_t wire_read(struct wire *w, void *p, size_t size, bool peek)
{
	size_t n = w->in.len < size ? w->in.len : size;

	if (n) {
		memcpy(p, w->in.data, n);
		if (!peek)
			buf_eat(&w->in, n);
		return (ssize_t)n;
	}
	if (w->in_cut && !w->told) {
		w->told = true;
		return failed(ECONNRESET);
	}
	return w->in_cut || w->in_end ? 0 : failed(EAGAIN);
}

static ssize_t wire_write(struct wire *w, const void *p, size_t len)
{
	if (w->in_cut) {
		bool first = !w->told;

		w->told = true;
		return failed(first ? ECONNRESET : EPIPE);
	}
	if (w->out_end)
		return failed(EPIPE);
	w->said += len;
	if (w->gone)
		wire_cut(w);
	else
		buf_add(&w->out, p, len);
	assert(!w->out.failed);
	return (ssize_t)len;
}

ssize_t recv(int fd, void *p, size_t size, int flags)
{
	struct wire *w = wire_of(fd);

	return w ? wire_read(w, p, size, flags & MSG_PEEK) : syscall(SYS_recvfrom, fd, p, size, flags, NULL, NULL);
}

ssize_t read(int fd, void *p, size_t size)
{
	struct wire *w = wire_of(fd);

	return w ? wire_read(w, p, size, false) : syscall(SYS_read, fd, p, size);
}

ssize_t send(int fd, const void *p, size_t len, int flags)
{
	struct wire *w = wire_of(fd);

	return w ? wire_write(w, p, len) : syscall(SYS_sendto, fd, p, len, flags, NULL, 0);
}

ssize_t write(int fd, const void *p, size_t len)
{
	struct wire *w = wire_of(fd);

	return w ? wire_write(w, p, len) : syscall(SYS_write, fd, p, len);
}

ssize_t writev(int fd, const struct iovec *iov, int count)
{
	size_t sum = 0;

	/* Whatever descriptor the log has made of 2; the fuzzer's own files are written between the sessions. */
	if (!k.on || k.show || k.resting)
		return syscall(SYS_writev, fd, iov, count);
	for (int i = 0; i < count; i++) {
		buf_add(&k.log, iov[i].iov_base, iov[i].iov_len);
		sum += iov[i].iov_len;
	}
	return (ssize_t)sum;
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	struct wire *w = wire_of(fd);
	ssize_t sum = 0, n = 0;

	if (!w)
		return syscall(SYS_sendmsg, fd, m, flags);
	for (size_t i = 0; i < m->msg_iovlen && n >= 0; i++) {
		n = wire_write(w, m->msg_iov[i].iov_base, m->msg_iov[i].iov_len);
		sum += n > 0 ? n : 0;
	}
	return sum ? sum : n;
}

/* One of the two is a pipe of the real kernel's. */
ssize_t splice(int in, off64_t *in_at, int out, off64_t *out_at, size_t size, unsigned flags)
{
	struct wire *from = wire_of(in), *to = wire_of(out);
	static char bytes[65536];
	ssize_t n;

	if (!from && !to)
		return syscall(SYS_splice, in, in_at, out, out_at, size, flags);
	if (size > sizeof(bytes))
		size = sizeof(bytes);
	if (from) {
		n = wire_read(from, bytes, size, true);
		if (n <= 0)
			return n;
		n = syscall(SYS_write, out, bytes, n);
		if (n > 0)
			buf_eat(&from->in, (size_t)n);
		return n;
	}
	n = syscall(SYS_read, in, bytes, size);
	return n > 0 ? wire_write(to, bytes, (size_t)n) : n;
}

int shutdown(int fd, int how)
{
	struct wire *w = wire_of(fd);

	if (!w)
		return (int)syscall(SYS_shutdown, fd, how);
	w->out_end |= how != SHUT_RD;
	return 0;
}

int close(int fd)
{
	struct wire *w = wire_of(fd);

	if (k.on && fd == EPOLL_FD) {
		k.epoll = false;
		return 0;
	}
	if (!w)
		return (int)syscall(SYS_close, fd);
	w->out_cut = w->abort || w->in.len > 0 || w->in_cut;
	w->out_end = true;
	w->open = w->watched = false;
	wire_drop(w);
	return 0;
}

int fcntl(int fd, int command, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, command);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (wire_of(fd))
		return command == F_GETFL ? O_NONBLOCK | O_RDWR : 0;
	return (int)syscall(SYS_fcntl, fd, command, arg);
}

int ioctl(int fd, unsigned long request, ...)
{
	struct wire *w = wire_of(fd);
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (!w)
		return (int)syscall(SYS_ioctl, fd, request, arg);
	if (request != SIOCOUTQ)
		return failed(ENOTTY);
	*(int *)arg = w->in_cut;        /* the peer's kernel has taken all, as long as there is a peer */
	return 0;
}

/* --- events --- */

int poll(struct pollfd *p, nfds_t count, int timeout)
{
	bool ours = false;
	int n = 0;

	for (nfds_t i = 0; i < count; i++)
		ours |= wire_of(p[i].fd) != NULL;
	if (!ours)
		return (int)syscall(SYS_poll, p, count, timeout);
	assert(timeout == 0);
	for (nfds_t i = 0; i < count; i++) {
		struct wire *w = wire_of(p[i].fd);

		/* EPOLL* and POLL* have the same bits. */
		p[i].revents = w ? (short)(wire_mask(w) & ((unsigned)p[i].events | EPOLLERR | EPOLLHUP)) : 0;
		n += p[i].revents != 0;
	}
	return n;
}

int epoll_create1(int flags)
{
	if (!k.on)
		return (int)syscall(SYS_epoll_create1, flags);
	assert(!k.epoll);
	k.epoll = true;
	return EPOLL_FD;
}

int epoll_ctl(int ep, int op, int fd, struct epoll_event *ev)
{
	struct wire *w = wire_of(fd);

	if (!k.on || ep != EPOLL_FD)
		return (int)syscall(SYS_epoll_ctl, ep, op, fd, ev);
	if (!w)
		return failed(EBADF);
	w->watched = w->armed = op != EPOLL_CTL_DEL;
	if (w->watched) {
		w->interest = ev->events | EPOLLERR | EPOLLHUP;
		w->data = ev->data.u64;
	}
	return 0;
}

static int collect(struct epoll_event *ev, int max)
{
	int n = 0;

	for (size_t i = 0; i < KERNEL_WIRES && n < max; i++) {
		struct wire *w = &k.wire[i];
		uint32_t mask = w->open && w->watched && w->armed ? wire_mask(w) & w->interest : 0;

		if (!mask)
			continue;
		w->armed = !(w->interest & EPOLLET);
		ev[n].events = mask;
		ev[n++].data.u64 = w->data;
	}
	return n;
}

int epoll_wait(int ep, struct epoll_event *ev, int max, int timeout)
{
	enum kernel_next next = KERNEL_AGAIN;
	int n;

	if (!k.on || ep != EPOLL_FD)
		return (int)syscall(SYS_epoll_wait, ep, ev, max, timeout);
	while ((n = collect(ev, max)) == 0 && timeout != 0 && next == KERNEL_AGAIN)
		next = k.ops.idle(k.ops.arg);
	if (next != KERNEL_JUMP)
		return n;
	if (timeout > 0)
		k.ms += timeout;
	return 0;
}
