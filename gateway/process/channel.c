#include "process/channel.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

enum {
	FLAG_REPLY = 1,
	FLAG_IN_FILE = 2,               /* the payload is in the first descriptor */
	FLAG_FD = 4,                    /* a descriptor is passed (the last one) */
	FDS_MAX = 2,
	RECV_ROUND = 64,                /* messages read before others get a turn */
	LAST_ANSWERS = 4 * CHANNEL_CALLS_MAX,   /* of a peer that has gone: more it cannot owe */
};

struct frame { /* both ends are one program on one machine: host byte order */
	uint16_t type, flags;
	uint32_t id, length;
	int32_t status;
};

/* One message at a time passes through here; nothing waits while it is in use. */
static char receive_buffer[sizeof(struct frame) + CHANNEL_INLINE_MAX];

uint32_t channel_version(void)
{
	/* Volatile: read from where it stands in the program file, in which a test makes it another. */
	static const volatile struct { char mark[20]; uint32_t number; } own = { "gatepost channel:", CHANNEL_VERSION };

	return own.number;
}

int channel_pair(int fd[2])
{
	int bytes = 1024 * 1024;        /* cut by the kernel to net.core.wmem_max */

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd) < 0)
		return -errno;
	for (int i = 0; i < 2; i++)
		(void)setsockopt(fd[i], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	return 0;
}

/* A memfd that holds the payload and can no longer change. */
static int payload_file(const char *p, size_t len)
{
	int fd = memfd_create("gatepost-payload", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -errno;
	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0) {
			int e = errno;

			close(fd);
			return -e;
		}
		p += n;
		len -= (size_t)n;
	}
	(void)fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
	return fd;
}

static int send_frame(int sock, struct frame *f, const char *data, size_t len, const int *fds,
		      size_t count)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control = { 0 };
	struct iovec iov[2] = { { f, sizeof(*f) }, { (void *)data, len } };
	struct msghdr mh = { .msg_iov = iov, .msg_iovlen = 2 };
	ssize_t n;

	if (count > 0) {
		struct cmsghdr *c;

		mh.msg_control = control.bytes;
		mh.msg_controllen = CMSG_SPACE(count * sizeof(int));
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(c), fds, count * sizeof(int));
	}
	do {
		n = sendmsg(sock, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	/* Without memory in the kernel it is as with a queue that is full. */
	if (n < 0)
		return errno == EWOULDBLOCK || errno == ENOMEM || errno == ENOBUFS ? -EAGAIN
		       : errno == ECONNRESET || errno == ENOTCONN ? -EPIPE
								  : -errno;
	return 0;
}

int channel_send(int sock, const struct channel_msg *m)
{
	struct frame f = {
		.type = m->type, .id = m->id, .length = (uint32_t)m->len, .status = m->status
	};
	int fds[FDS_MAX], file = -1, rc;
	size_t count = 0;

	if (m->len > CHANNEL_PAYLOAD_MAX)
		return -EMSGSIZE;
	if (m->reply)
		f.flags |= FLAG_REPLY;
	if (m->len > CHANNEL_INLINE_MAX) {
		file = payload_file(m->data, m->len);
		if (file < 0)
			return file;
		f.flags |= FLAG_IN_FILE;
		fds[count++] = file;
	}
	if (m->fd >= 0) {
		f.flags |= FLAG_FD;
		fds[count++] = m->fd;
	}
	rc = send_frame(sock, &f, m->data, file < 0 ? m->len : 0, fds, count);
	if (file >= 0)
		close(file);
	return rc;
}

void channel_answer_fd(int sock, const struct channel_msg *request, int fd)
{
	struct channel_msg reply = { .type = request->type, .reply = true, .id = request->id, .status = fd < 0 ? fd : 0, .fd = fd < 0 ? -1 : fd };

	(void)channel_send(sock, &reply);
	if (fd >= 0)
		close(fd);
}

/*
 * The payload from a peer's memfd: read, never mapped, so that a peer that shrinks it does us no
 * harm.
 */
static int payload_read(int fd, char *out, size_t len)
{
	size_t have = 0;
	struct stat st;

	/* Only a regular file: a read from a pipe or socket would wait on the peer. */
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != len)
		return -EPROTO;
	while (have < len) {
		ssize_t n = pread(fd, out + have, len - have, (off_t)have);

		if (n <= 0)
			return -EPROTO;
		have += (size_t)n;
	}
	return 0;
}

/* The descriptors of a received message, at most FDS_MAX; more than that set *over. */
static size_t received_fds(struct msghdr *mh, int *fds, bool *over)
{
	size_t count = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (count < FDS_MAX) {
				fds[count++] = fd;
			} else {
				close(fd);
				*over = true;
			}
		}
	}
	return count;
}

/* Check a received frame and fill *m; owns what it takes out of fds (set to -1). */
static int message_take(const struct frame *f, const char *p, size_t len, int *fds, size_t count,
			struct channel_msg *m)
{
	bool in_file = f->flags & FLAG_IN_FILE, has_fd = f->flags & FLAG_FD;
	struct channel_msg out = CHANNEL_MSG_INIT;

	if (f->flags & ~(FLAG_REPLY | FLAG_IN_FILE | FLAG_FD) || count != (size_t)in_file + has_fd)
		return -EPROTO;
	if (in_file ? len != 0 || f->length > CHANNEL_PAYLOAD_MAX : f->length != len)
		return -EPROTO;
	out.type = f->type;
	out.reply = f->flags & FLAG_REPLY;
	out.id = f->id;
	out.status = f->status;
	out.data = malloc((size_t)f->length + 1);
	if (!out.data) {
		*m = out;
		return -ENOMEM;
	}
	if (in_file) {
		if (payload_read(fds[0], out.data, f->length) < 0) {
			free(out.data);
			return -EPROTO;
		}
	} else {
		memcpy(out.data, p, len);
	}
	out.data[f->length] = 0;
	out.len = f->length;
	if (has_fd) {
		out.fd = fds[in_file];
		fds[in_file] = -1;
	}
	*m = out;
	return 0;
}

int channel_recv(int sock, struct channel_msg *m)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov = { receive_buffer, sizeof(receive_buffer) };
	struct msghdr mh = { .msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = sizeof(control.bytes) };
	int fds[FDS_MAX] = { -1, -1 }, rc = -EPROTO;
	bool over = false;
	size_t count;
	ssize_t n;

	do {
		n = recvmsg(sock, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	/* Without memory in the kernel the message waits. */
	if (n < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOMEM || errno == ENOBUFS ? -EAGAIN : -EPIPE;
	if (n == 0)
		return -EPIPE;
	count = received_fds(&mh, fds, &over);
	if ((size_t)n >= sizeof(struct frame) && !over &&
	    !(mh.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
		struct frame f;

		memcpy(&f, receive_buffer, sizeof(f));
		rc = message_take(&f, receive_buffer + sizeof(f), (size_t)n - sizeof(f), fds, count,
				  m);
	}
	for (size_t i = 0; i < count; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	return rc;
}

void channel_msg_release(struct channel_msg *m)
{
	free(m->data);
	if (m->fd >= 0)
		close(m->fd);
	*m = (struct channel_msg)CHANNEL_MSG_INIT;
}

/* The worker's end */

struct channel_call {
	struct future future;
	struct channel_msg request;     /* data and fd are the caller's, who stays here meanwhile */
	struct channel_msg *reply;
	bool unsent;
	struct channel_call *next;              /* among the unsent */
};

struct channel_waiter {
	struct future future;
	struct channel_waiter *next;
};

static unsigned call_slot(uint32_t id)
{
	return id % CHANNEL_CALLS_MAX;
}

static void unsent_remove(struct channel *c, struct channel_call *call)
{
	struct channel_call **at = &c->unsent_first, *before = NULL;

	if (!call->unsent)
		return;
	while (*at && *at != call) {
		before = *at;
		at = &(*at)->next;
	}
	if (*at)
		*at = call->next;
	if (c->unsent_last == call)
		c->unsent_last = before;
	call->unsent = false;
}

/* Calls that have been sent, or all, fail. */
static void calls_fail(struct channel *c, bool all)
{
	for (unsigned i = 0; i < CHANNEL_CALLS_MAX; i++) {
		struct channel_call *call = c->calls[i];

		if (!call || (call->unsent && !all))
			continue;
		unsent_remove(c, call);
		c->calls[i] = NULL;
		future_resolve(&call->future, -EPIPE);
	}
}

/* The peer is gone: every call that hangs on it fails now. Those that it has not got are for the next one. */
static void channel_drop(struct channel *c)
{
	if (c->fd < 0)
		return;
	event_free(c->readable);
	event_free(c->writable);
	c->readable = c->writable = NULL;
	close(c->fd);
	c->fd = -1;
	c->deaf = false;
	calls_fail(c, false);
}

static void channel_lost(struct channel *c)
{
	if (c->fd < 0)
		return;
	channel_drop(c);
	if (c->notice)
		c->notice(c, NULL, c->arg);
}

static void reply_arrived(struct channel *c, struct channel_msg *m)
{
	struct channel_call *call = c->calls[call_slot(m->id)];

	if (call && call->request.id == m->id && !call->unsent) {
		c->calls[call_slot(m->id)] = NULL;
		*call->reply = *m;
		*m = (struct channel_msg)CHANNEL_MSG_INIT;
		future_resolve(&call->future, 0);
	}
	channel_msg_release(m);         /* an answer that nobody waits for any more */
}

/* An answer has come that there is no memory for: its call fails, not all of them. */
static void reply_missed(struct channel *c, uint32_t id)
{
	struct channel_call *call = c->calls[call_slot(id)];

	if (!call || call->request.id != id || call->unsent)
		return;
	c->calls[call_slot(id)] = NULL;
	future_resolve(&call->future, -ENOMEM);
}

/* At most `count` messages that are there. */
static void read_some(struct channel *c, int count)
{
	int fd = c->fd;

	for (int i = 0; i < count && c->fd == fd; i++) {
		struct channel_msg m = CHANNEL_MSG_INIT;
		int rc = channel_recv(fd, &m);

		if (rc == -EAGAIN)
			return;
		if (rc == -ENOMEM) {
			if (m.reply)
				reply_missed(c, m.id);
			continue;
		}
		if (rc < 0) {
			channel_lost(c);
			return;
		}
		if (m.reply) {
			reply_arrived(c, &m);
		} else {
			if (c->notice)
				c->notice(c, &m, c->arg);
			channel_msg_release(&m);
		}
	}
}

static void on_readable(int fd, short what, void *arg)
{
	read_some(arg, RECV_ROUND);
}

/* It takes nothing more: what it has got it may still answer. That it has gone is seen when that has been read. */
static void channel_deafen(struct channel *c)
{
	c->deaf = true;
	event_del(c->writable);
}

/*
 * Send what could not be sent before. A call that cannot be sent for its own reasons fails alone.
 */
static void on_writable(int fd, short what, void *arg)
{
	struct channel *c = arg;

	while (c->unsent_first) {
		struct channel_call *call = c->unsent_first;
		int rc = channel_send(c->fd, &call->request);

		if (rc == -EAGAIN)
			return;
		if (rc == -EPIPE) {
			channel_deafen(c);
			return;
		}
		unsent_remove(c, call);
		if (rc < 0) {
			c->calls[call_slot(call->request.id)] = NULL;
			future_resolve(&call->future, rc);
		}
	}
	event_del(c->writable);
}

void channel_init(struct channel *c, channel_notice_fn *notice, void *arg)
{
	*c = (struct channel){
		.fd = -1, .notice = notice, .arg = arg, .gate.limit = CHANNEL_CALLS_MAX
	};
}

void channel_release(struct channel *c)
{
	channel_drop(c);
	calls_fail(c, true);
}

int channel_attach(struct channel *c, int fd)
{
	struct event *readable, *writable;

	/* The parent's word may be read before the last answers of the former one, which it follows. */
	if (c->fd >= 0)
		read_some(c, LAST_ANSWERS);
	channel_drop(c);
	readable = event_new(loop_base(), fd, EV_READ | EV_PERSIST, on_readable, c);
	writable = event_new(loop_base(), fd, EV_WRITE | EV_PERSIST, on_writable, c);
	if (!readable || !writable || event_add(readable, NULL) < 0 || (c->unsent_first && event_add(writable, NULL) < 0)) {
		if (readable)
			event_free(readable);
		if (writable)
			event_free(writable);
		close(fd);
		return -ENOMEM;
	}
	c->fd = fd;
	c->peers++;
	c->readable = readable;
	c->writable = writable;
	while (c->waiters) {
		struct channel_waiter *w = c->waiters;

		c->waiters = w->next;
		future_resolve(&w->future, 0);
	}
	return 0;
}

bool channel_attached(const struct channel *c)
{
	return c->fd >= 0 && !c->deaf;
}

int channel_await_peer(struct channel *c, int timeout_ms)
{
	struct channel_waiter w = { .next = c->waiters };
	int rc;

	if (channel_attached(c))
		return 0;
	/* cppcheck-suppress autoVariables ; taken out below, or by who resolves it */
	c->waiters = &w;
	rc = future_wait(&w.future, timeout_ms);
	if (!w.future.done)
		for (struct channel_waiter **at = &c->waiters; *at; at = &(*at)->next)
			if (*at == &w) {
				*at = w.next;
				break;
			}
	return rc;
}

/* Give the call a free slot and thereby an id that is not 0. */
static void call_enter(struct channel *c, struct channel_call *call)
{
	do {
		c->serial++;
		/* The gate says that there is one. */
	} while (c->serial == 0 || c->calls[call_slot(c->serial)]);
	call->request.id = c->serial;
	c->calls[call_slot(c->serial)] = call;
}

static int call_send(struct channel *c, struct channel_call *call)
{
	int rc = c->unsent_first || !channel_attached(c) ? -EAGAIN : channel_send(c->fd, &call->request);

	if (rc == -EPIPE)
		channel_deafen(c);
	if (rc != -EAGAIN && rc != -EPIPE)
		return rc;
	call->unsent = true;
	if (c->unsent_last)
		c->unsent_last->next = call;
	else
		c->unsent_first = call;
	c->unsent_last = call;
	return channel_attached(c) && event_add(c->writable, NULL) < 0 ? -ENOMEM : 0;
}

static int call_run(struct channel *c, struct channel_call *call, int timeout_ms)
{
	int rc;

	call_enter(c, call);
	rc = call_send(c, call);
	if (rc == 0)
		rc = future_wait(&call->future, timeout_ms);
	if (c->calls[call_slot(call->request.id)] == call) {    /* given up, or not sent */
		unsent_remove(c, call);
		c->calls[call_slot(call->request.id)] = NULL;
	}
	return rc;
}

static bool is_file(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

int channel_call(struct channel *c, enum channel_type type, const void *data, size_t len, int fd,
		 int timeout_ms, struct channel_msg *reply)
{
	int64_t deadline_ms = clock_ms() + timeout_ms, left_ms;
	struct channel_msg answer = CHANNEL_MSG_INIT;
	struct channel_call call = {
		.request = { .type = (uint16_t)type, .data = (char *)data, .len = len, .fd = fd },
		.reply = &answer
	};
	int rc;

	if (!channel_attached(c))
		return -EPIPE;
	rc = gate_enter(&c->gate, timeout_ms);
	if (rc < 0)
		return rc;
	left_ms = timeout_ms < 0 ? -1 : deadline_ms - clock_ms();
	rc = timeout_ms >= 0 && left_ms <= 0 ? -ETIMEDOUT : call_run(c, &call, (int)left_ms);
	gate_leave(&c->gate);
	/* Who writes to a pipe or a socket may have to wait, and all others with him: what keepers hand out are files. */
	if (rc == 0 && answer.fd >= 0 && type != CHANNEL_SOCKET && type != CHANNEL_DAEMON && !is_file(answer.fd))
		rc = -EPROTO;
	if (rc < 0) {
		channel_msg_release(&answer);
		return rc;
	}
	*reply = answer;
	return 0;
}

int channel_ask_fd(struct channel *c, enum channel_type type, const void *data, size_t len, int timeout_ms)
{
	AUTO(channel_msg) struct channel_msg reply = CHANNEL_MSG_INIT;
	int fd, rc = channel_call(c, type, data, len, -1, timeout_ms, &reply);

	if (rc < 0)
		return rc;
	if (reply.status < 0)
		return reply.status;
	fd = reply.fd;
	reply.fd = -1;
	return fd >= 0 ? fd : -EPROTO;
}

int channel_notify(struct channel *c, enum channel_type type, const void *data, size_t len, int fd)
{
	struct channel_msg m = {
		.type = (uint16_t)type, .data = (char *)data, .len = len, .fd = fd
	};
	int rc;

	if (!channel_attached(c))
		return -EPIPE;
	rc = channel_send(c->fd, &m);
	if (rc == -EPIPE)
		channel_deafen(c);
	return rc;
}
