/*
 * faulty - a library that tests preload into Gatepost: allocations and system calls fail, one at a time, where a test says
 *
 *     LD_PRELOAD=faulty.so GATEPOST_FAULTY=/dev/shm/x gatepost run ...
 *
 * The file, made by the test (lab/faulty.py), holds one struct control, which is mapped before main and shared by all processes: so nothing
 * has to be opened, and no system call made, in a process that is confined.
 *
 * A site is where a process of one role calls for memory or does I/O: the call's kind, the frames of libraries that it came through, and the
 * innermost frames of Gatepost itself. Frames are offsets in their object, so that a site has the same name in the next process and the next
 * gateway. They come from the unwinder: libraries have no frame pointers, and a task's stack ends as an unwinder wants it.
 *
 * MODE_RECORD: each site that is reached is entered into the table. MODE_FAIL: the call of `target` that is reached next (after `skip`
 * others) fails with `error`, once.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <unwind.h>

#define KINDS(X) \
	X(malloc) X(calloc) X(realloc) X(memalign) X(mmap) X(mprotect) X(memfd_create) X(read) X(write) X(readv) X(writev) X(pread) X(pwrite) \
	X(recv) X(recvfrom) X(recvmsg) X(send) X(sendto) X(sendmsg) X(splice) X(accept4) X(connect) X(bind) X(socket) X(socketpair) X(pipe2) \
	X(epoll_create1) X(epoll_ctl) X(epoll_wait) X(eventfd) X(fsync) X(fdatasync) X(ftruncate) X(open) X(openat) X(linkat) X(renameat) \
	X(unlink) X(unlinkat) X(mkdirat) X(dup) X(fcntl) X(getsockopt) X(setsockopt) X(getsockname) X(fork)

enum kind {
#define X(name) KIND_##name,
	KINDS(X)
#undef X
	KIND_COUNT
};

enum { MODE_OFF, MODE_RECORD, MODE_FAIL };
enum { SHORT = -1 };                    /* in place of an errno: half of what was asked for is done */
enum {
	FRAMES = 16,                    /* remembered of a site, */
	OWN_FRAMES = 4,                 /* of which so many are Gatepost's own at most; */
	WALK = 64,                      /* looked at */
	SITES = 1 << 15,
	ROLES = 16,
	NAME = 16,
	MODULES = 48,
	MODULE_NAME = 48,
	PAGE_MASK = 4095,
};

struct frame {
	uint32_t module, offset;
};

struct site {
	_Atomic uint64_t hash;          /* 0: the place is free */
	_Atomic uint64_t sessions;      /* a bit for each kind of session in which it was reached */
	_Atomic uint32_t count;
	uint32_t kind, role, caller, depth, own;
	struct frame frame[FRAMES];
};

struct control {
	char magic[8];
	uint32_t kinds, frames, sites, roles, modules;          /* the layout, for lab/faulty.py */
	_Atomic uint32_t mode, session;
	_Atomic uint64_t target;
	_Atomic uint32_t kind, role, caller, skip;              /* of the target; caller: where in its page the call is */
	_Atomic int32_t error;
	_Atomic uint32_t fired, fired_pid, full;
	_Atomic int64_t live, live_bytes;                       /* blocks of memory that a worker holds */
	char kind_name[KIND_COUNT][NAME];
	char role_name[ROLES][NAME];
	char module_name[MODULES][MODULE_NAME];
	struct site site[SITES];
};

static struct control *control;
static uint32_t role;                   /* of this process: place in role_name */
static __thread bool inside;            /* the unwinder, the loader */

/* Where a call comes from */

struct walk {
	struct frame frame[FRAMES];
	uint32_t depth, own, seen;
};

static const struct link_map *self, *gatepost;

static uint32_t module_of(const struct link_map *m)
{
	static const struct link_map *known[MODULES];
	const char *name = strrchr(m->l_name, '/');
	uint32_t i;

	for (i = 0; i < MODULES && known[i]; i++)
		if (known[i] == m)
			return i;
	if (i == MODULES)
		return MODULES - 1;
	known[i] = m;
	name = name ? name + 1 : *m->l_name ? m->l_name : "gatepost";
	/* Another process may have met other libraries first: the names are what is shared. */
	for (i = 0; i < MODULES - 1; i++) {
		if (!control->module_name[i][0])
			snprintf(control->module_name[i], MODULE_NAME, "%s", name);
		if (strncmp(control->module_name[i], name, MODULE_NAME - 1) == 0)
			break;
	}
	for (uint32_t n = 0; n < MODULES; n++)
		if (known[n] == m)
			known[n] = NULL;
	if (!known[i])
		known[i] = m;
	return i;
}

static _Unwind_Reason_Code step(struct _Unwind_Context *context, void *arg)
{
	struct walk *w = arg;
	uintptr_t at = _Unwind_GetIP(context);
	struct dl_find_object found;

	if (!at || w->seen++ >= WALK || w->depth >= FRAMES || _dl_find_object((void *)(at - 1), &found) != 0)
		return _URC_END_OF_STACK;
	if (found.dlfo_link_map == self)
		return _URC_NO_REASON;
	if (found.dlfo_link_map == gatepost) {
		if (w->own++ >= OWN_FRAMES)
			return _URC_END_OF_STACK;
	} else if (w->own) {
		return _URC_NO_REASON;  /* a callback's library: who called that is told by the next of our own */
	}
	w->frame[w->depth++] = (struct frame){ module_of(found.dlfo_link_map), (uint32_t)(at - found.dlfo_link_map->l_addr) };
	return _URC_NO_REASON;
}

static uint64_t mix(uint64_t h, uint64_t v)
{
	h = (h ^ v) * 0x9e3779b97f4a7c15u;
	return h ^ h >> 29;
}

static uint64_t site_hash(enum kind kind, struct walk *w)
{
	uint64_t h = mix(mix(14695981039346656037u, kind), role);

	*w = (struct walk){ .depth = 0 };
	inside = true;
	_Unwind_Backtrace(step, w);
	inside = false;
	for (uint32_t i = 0; i < w->depth; i++) {
		const char *name = control->module_name[w->frame[i].module];

		for (int n = 0; n < 8 && name[n]; n++)
			h = mix(h, (uint64_t)name[n]);
		h = mix(h, w->frame[i].offset);
	}
	return h ? h : 1;
}

static void site_reached(enum kind kind, uint32_t caller)
{
	struct walk w;
	uint64_t hash = site_hash(kind, &w);
	uint64_t bit = 1ull << (atomic_load(&control->session) & 63);

	for (uint32_t i = 0; i < SITES; i++) {
		struct site *s = &control->site[(hash + i) % SITES];
		uint64_t was = atomic_load(&s->hash);

		if (was == 0 && atomic_compare_exchange_strong(&s->hash, &was, hash)) {
			s->kind = kind;
			s->role = role;
			s->caller = caller;
			s->depth = w.depth;
			s->own = w.own;
			memcpy(s->frame, w.frame, sizeof(w.frame));
			was = hash;
		}
		if (was != hash)
			continue;
		atomic_fetch_or(&s->sessions, bit);
		atomic_fetch_add(&s->count, 1);
		return;
	}
	atomic_store(&control->full, 1);
}

/* 0: the call goes on; else the errno with which it is to fail, or SHORT. */
static int verdict(enum kind kind, const void *from)
{
	uint32_t mode, caller = (uintptr_t)from & PAGE_MASK, skip;
	struct walk w;

	if (!control || inside)
		return 0;
	mode = atomic_load_explicit(&control->mode, memory_order_relaxed);
	if (mode == MODE_RECORD) {
		int e = errno;

		site_reached(kind, caller);
		errno = e;
		return 0;
	}
	if (mode != MODE_FAIL || kind != atomic_load(&control->kind) || role != atomic_load(&control->role) ||
	    caller != atomic_load(&control->caller) || site_hash(kind, &w) != atomic_load(&control->target))
		return 0;
	skip = atomic_load(&control->skip);
	if (skip > 0) {
		atomic_store(&control->skip, skip - 1);
		return 0;
	}
	if (atomic_exchange(&control->fired, 1) != 0)
		return 0;
	atomic_store(&control->fired_pid, (uint32_t)getpid());
	return atomic_load(&control->error);
}

#define FROM __builtin_return_address(0)
#define FAILED(kind, result) \
	do { \
		int e_ = verdict(KIND_##kind, FROM); \
		if (e_ > 0) { \
			errno = e_; \
			return result; \
		} \
	} while (0)

/* The real function of that name. */
#define REAL(name) \
	static __typeof__(&name) real_; \
	if (!real_) { \
		bool was_ = inside; \
		inside = true; \
		*(void **)&real_ = dlsym(RTLD_NEXT, #name); \
		inside = was_; \
	}

/* A process that dies says where: who reads the test's words has no core. */

static _Unwind_Reason_Code tell_step(struct _Unwind_Context *context, void *arg)
{
	uintptr_t at = _Unwind_GetIP(context);
	struct dl_find_object found;
	const char *name;
	char line[200];
	int n;

	if (!at || ++*(int *)arg > WALK || _dl_find_object((void *)(at - 1), &found) != 0)
		return _URC_END_OF_STACK;
	name = strrchr(found.dlfo_link_map->l_name, '/');
	n = snprintf(line, sizeof(line), "faulty: died at %s+%#lx\n", name ? name + 1 : "gatepost", (unsigned long)(at - found.dlfo_link_map->l_addr));
	(void)!write(2, line, (size_t)n);
	return _URC_NO_REASON;
}

static void on_death(int number)
{
	int depth = 0;

	inside = true;
	signal(number, SIG_DFL);
	_Unwind_Backtrace(tell_step, &depth);
}

/* On a stack of its own: the task's may be what was too small. */
static void deaths_begin(void)
{
	static char stack[1 << 16];
	const stack_t on = { .ss_sp = stack, .ss_size = sizeof(stack) };
	const struct sigaction action = { .sa_handler = on_death, .sa_flags = SA_ONSTACK };
	const int numbers[] = { SIGSEGV, SIGBUS, SIGABRT };

	sigaltstack(&on, NULL);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		sigaction(numbers[i], &action, NULL);
}

/* The beginning, and whose process this is */

__attribute__((constructor)) static void faulty_begin(void)
{
	const char *path = getenv("GATEPOST_FAULTY");
	struct dl_find_object found;
	struct walk w;
	int fd;
	void *p;

	if (!path)
		return;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return;
	if (ftruncate(fd, sizeof(struct control)) < 0)
		abort();
	p = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (p == MAP_FAILED || _dl_find_object((void *)(uintptr_t)faulty_begin, &found) != 0)
		abort();
	self = found.dlfo_link_map;
	gatepost = _r_debug.r_map;              /* the first of the list is the program */
	deaths_begin();
	control = p;
	control->kinds = KIND_COUNT;
	control->frames = FRAMES;
	control->sites = SITES;
	control->roles = ROLES;
	control->modules = MODULES;
#define X(name) memcpy(control->kind_name[KIND_##name], #name, strlen(#name));
	KINDS(X)
#undef X
	memcpy(control->role_name[0], "parent", 6);
	(void)site_hash(KIND_malloc, &w);       /* what the unwinder does once it does now */
	memcpy(control->magic, "faulty1", 8);
}

static void role_set(const char *name)
{
	char word[NAME] = "";

	/* "gp-worker 1" and "gp-worker 2" are of one role. */
	for (int i = 0; i < NAME - 1 && name[i] && name[i] != ' '; i++)
		word[i] = name[i];
	for (uint32_t i = 0; control && i < ROLES; i++) {
		if (!control->role_name[i][0])
			memcpy(control->role_name[i], word, NAME);
		if (strncmp(control->role_name[i], word, NAME) == 0) {
			role = i;
			return;
		}
	}
}

int prctl(int option, ...)
{
	REAL(prctl)
	unsigned long a[4];
	va_list ap;

	va_start(ap, option);
	for (int i = 0; i < 4; i++)
		a[i] = va_arg(ap, unsigned long);
	va_end(ap);
	if (option == PR_SET_NAME)
		role_set((const char *)a[0]);
	return real_(option, a[0], a[1], a[2], a[3]);
}

pid_t fork(void)
{
	REAL(fork)
	pid_t pid;

	FAILED(fork, -1);
	pid = real_();
	if (pid == 0)
		role_set(role == 0 ? "starting" : "box");
	return pid;
}

/* Memory. What the C library itself allocates (strdup, asprintf, opendir) comes through here, too. */

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);

void *malloc(size_t n)
{
	FAILED(malloc, NULL);
	return __libc_malloc(n);
}

void *calloc(size_t count, size_t n)
{
	FAILED(calloc, NULL);
	return __libc_calloc(count, n);
}

void *realloc(void *p, size_t n)
{
	FAILED(realloc, NULL);
	return __libc_realloc(p, n);
}

void *reallocarray(void *p, size_t count, size_t n)
{
	size_t all;

	FAILED(realloc, NULL);
	if (__builtin_mul_overflow(count, n, &all)) {
		errno = ENOMEM;
		return NULL;
	}
	return __libc_realloc(p, all);
}

int posix_memalign(void **out, size_t align, size_t n)
{
	void *p;
	int e = verdict(KIND_memalign, FROM);

	if (e > 0)
		return e;
	p = __libc_memalign(align, n);
	if (!p)
		return ENOMEM;
	*out = p;
	return 0;
}

void *aligned_alloc(size_t align, size_t n)
{
	FAILED(memalign, NULL);
	return __libc_memalign(align, n);
}

void *mmap(void *at, size_t n, int protection, int flags, int fd, off_t offset)
{
	REAL(mmap)
	FAILED(mmap, MAP_FAILED);
	return real_(at, n, protection, flags, fd, offset);
}

void *mmap64(void *at, size_t n, int protection, int flags, int fd, off_t offset)
{
	REAL(mmap)
	FAILED(mmap, MAP_FAILED);
	return real_(at, n, protection, flags, fd, offset);
}

int mprotect(void *at, size_t n, int protection)
{
	REAL(mprotect)
	FAILED(mprotect, -1);
	return real_(at, n, protection);
}

int memfd_create(const char *name, unsigned flags)
{
	REAL(memfd_create)
	FAILED(memfd_create, -1);
	return real_(name, flags);
}

/* Bytes */

/* A call whose length is `n`: it fails, or is cut, or goes on. */
#define CUT(kind, n) \
	do { \
		int e_ = verdict(KIND_##kind, FROM); \
		if (e_ > 0) { \
			errno = e_; \
			return -1; \
		} \
		if (e_ == SHORT && (n) > 1) \
			(n) /= 2; \
	} while (0)

ssize_t read(int fd, void *p, size_t n)
{
	REAL(read)
	CUT(read, n);
	return real_(fd, p, n);
}

ssize_t __read_chk(int fd, void *p, size_t n, size_t room)
{
	REAL(read)
	CUT(read, n);
	if (n > room)
		abort();
	return real_(fd, p, n);
}

ssize_t write(int fd, const void *p, size_t n)
{
	REAL(write)
	CUT(write, n);
	return real_(fd, p, n);
}

/* Short: of the first part only. */
ssize_t readv(int fd, const struct iovec *v, int count)
{
	REAL(readv)
	int one = count;

	CUT(readv, one);
	return real_(fd, v, one);
}

ssize_t writev(int fd, const struct iovec *v, int count)
{
	REAL(writev)
	int one = count;

	CUT(writev, one);
	return real_(fd, v, one);
}

ssize_t pread64(int fd, void *p, size_t n, off_t at)
{
	REAL(pread64)
	CUT(pread, n);
	return real_(fd, p, n, at);
}

ssize_t pread(int fd, void *p, size_t n, off_t at)
{
	REAL(pread)
	CUT(pread, n);
	return real_(fd, p, n, at);
}

ssize_t __pread_chk(int fd, void *p, size_t n, off_t at, size_t room)
{
	REAL(pread)
	CUT(pread, n);
	if (n > room)
		abort();
	return real_(fd, p, n, at);
}

ssize_t pwrite64(int fd, const void *p, size_t n, off_t at)
{
	REAL(pwrite64)
	CUT(pwrite, n);
	return real_(fd, p, n, at);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
	REAL(pwrite)
	CUT(pwrite, n);
	return real_(fd, p, n, at);
}

ssize_t recv(int fd, void *p, size_t n, int flags)
{
	REAL(recv)
	CUT(recv, n);
	return real_(fd, p, n, flags);
}

ssize_t __recv_chk(int fd, void *p, size_t n, size_t room, int flags)
{
	REAL(recv)
	CUT(recv, n);
	if (n > room)
		abort();
	return real_(fd, p, n, flags);
}

ssize_t recvfrom(int fd, void *restrict p, size_t n, int flags, struct sockaddr *restrict from, socklen_t *restrict len)
{
	REAL(recvfrom)
	FAILED(recvfrom, -1);
	return real_(fd, p, n, flags, from, len);
}

ssize_t __recvfrom_chk(int fd, void *p, size_t n, size_t room, int flags, struct sockaddr *from, socklen_t *len)
{
	REAL(recvfrom)
	FAILED(recvfrom, -1);
	if (n > room)
		abort();
	return real_(fd, p, n, flags, from, len);
}

ssize_t recvmsg(int fd, struct msghdr *m, int flags)
{
	REAL(recvmsg)
	FAILED(recvmsg, -1);
	return real_(fd, m, flags);
}

ssize_t send(int fd, const void *p, size_t n, int flags)
{
	REAL(send)
	CUT(send, n);
	return real_(fd, p, n, flags);
}

ssize_t sendto(int fd, const void *p, size_t n, int flags, const struct sockaddr *to, socklen_t len)
{
	REAL(sendto)
	FAILED(sendto, -1);
	return real_(fd, p, n, flags, to, len);
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	REAL(sendmsg)
	FAILED(sendmsg, -1);
	return real_(fd, m, flags);
}

ssize_t splice(int in, off_t *in_at, int out, off_t *out_at, size_t n, unsigned flags)
{
	REAL(splice)
	CUT(splice, n);
	return real_(in, in_at, out, out_at, n, flags);
}

/* Descriptors, files */

#define WRAP(result, name, types, values) \
	result name types \
	{ \
		REAL(name) \
		FAILED(name, -1); \
		return real_ values; \
	}

WRAP(int, accept4, (int fd, struct sockaddr *restrict from, socklen_t *restrict len, int flags), (fd, from, len, flags))
WRAP(int, connect, (int fd, const struct sockaddr *to, socklen_t len), (fd, to, len))
WRAP(int, bind, (int fd, const struct sockaddr *to, socklen_t len), (fd, to, len))
WRAP(int, socket, (int family, int type, int protocol), (family, type, protocol))
WRAP(int, socketpair, (int family, int type, int protocol, int fd[2]), (family, type, protocol, fd))
WRAP(int, pipe2, (int fd[2], int flags), (fd, flags))
WRAP(int, epoll_create1, (int flags), (flags))
WRAP(int, epoll_ctl, (int set, int what, int fd, struct epoll_event *e), (set, what, fd, e))
WRAP(int, epoll_wait, (int set, struct epoll_event *e, int n, int ms), (set, e, n, ms))
int eventfd(unsigned, int);
WRAP(int, eventfd, (unsigned n, int flags), (n, flags))
WRAP(int, fsync, (int fd), (fd))
WRAP(int, fdatasync, (int fd), (fd))
WRAP(int, linkat, (int from, const char *a, int to, const char *b, int flags), (from, a, to, b, flags))
WRAP(int, renameat, (int from, const char *a, int to, const char *b), (from, a, to, b))
WRAP(int, unlink, (const char *a), (a))
WRAP(int, unlinkat, (int dir, const char *a, int flags), (dir, a, flags))
WRAP(int, mkdirat, (int dir, const char *a, mode_t mode), (dir, a, mode))
WRAP(int, dup, (int fd), (fd))
WRAP(int, getsockopt, (int fd, int level, int name, void *restrict p, socklen_t *restrict len), (fd, level, name, p, len))
WRAP(int, setsockopt, (int fd, int level, int name, const void *p, socklen_t len), (fd, level, name, p, len))
WRAP(int, getsockname, (int fd, struct sockaddr *restrict p, socklen_t *restrict len), (fd, p, len))

#define FTRUNCATE(name) \
	int name(int fd, off_t n) \
	{ \
		REAL(name) \
		FAILED(ftruncate, -1); \
		return real_(fd, n); \
	}
FTRUNCATE(ftruncate)
FTRUNCATE(ftruncate64)

static mode_t mode_of(int flags, va_list ap)
{
	return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(ap, mode_t) : 0;
}

#define OPEN(name) \
	int name(const char *path, int flags, ...) \
	{ \
		REAL(name) \
		va_list ap; \
		mode_t mode; \
		va_start(ap, flags); \
		mode = mode_of(flags, ap); \
		va_end(ap); \
		FAILED(open, -1); \
		return real_(path, flags, mode); \
	}
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
	int name(int dir, const char *path, int flags, ...) \
	{ \
		REAL(name) \
		va_list ap; \
		mode_t mode; \
		va_start(ap, flags); \
		mode = mode_of(flags, ap); \
		va_end(ap); \
		FAILED(openat, -1); \
		return real_(dir, path, flags, mode); \
	}
OPENAT(openat)
OPENAT(openat64)

#define FCNTL(name) \
	int name(int fd, int what, ...) \
	{ \
		REAL(name) \
		va_list ap; \
		void *arg; \
		va_start(ap, what); \
		arg = va_arg(ap, void *); \
		va_end(ap); \
		if (what == F_DUPFD || what == F_DUPFD_CLOEXEC) \
			FAILED(fcntl, -1); \
		return real_(fd, what, arg); \
	}
FCNTL(fcntl)
FCNTL(fcntl64)
