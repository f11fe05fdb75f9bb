/*
 * channel - messages between Gatepost's processes, with descriptors
 *
 * A channel is a socketpair(AF_UNIX, SOCK_SEQPACKET): the kernel keeps message boundaries. A
 * message is a header {type, flags, id, length, status}, a payload and at most one descriptor
 * (SCM_RIGHTS). A payload over CHANNEL_INLINE_MAX travels in a sealed memfd, so that the socket's
 * buffer is never the bound; CHANNEL_PAYLOAD_MAX is.
 *
 * Neither end trusts the other: a message that is cut, has a wrong length or an undeclared
 * descriptor is -EPROTO, and whoever reads it closes the channel.
 *
 * There are two layers. channel_send and channel_recv are for processes with a loop of their own
 * (parent, keepers): they never wait. A struct channel is the worker's end, used from tasks:
 * channel_call sends a request and waits for the answer with its id.
 */
#ifndef CHANNEL_H
#define CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/auto.h"
#include "base/task.h"

enum {
	CHANNEL_INLINE_MAX = 60 * 1024,
	CHANNEL_PAYLOAD_MAX = 16 * 1024 * 1024,
	CHANNEL_CALLS_MAX = 256, /* under way on one struct channel; further ones wait their turn */
	/*
	 * Of everything that processes say to one another, payloads included: counted up with each change that a process of before would
	 * misread. Over an upgrade old workers meet new keepers: those of another version are never wired to each other. What the parent
	 * needs of a process of any version (the header, READY, DRAIN, STOP) stays as it is for ever: so old ones are told to end.
	 */
	CHANNEL_VERSION = 1,
};

/* What the messages of Gatepost mean. A reply has the type of its request. */
enum channel_type {
	/* Between parent and child. */
	CHANNEL_READY = 1,      /* notice to the parent: I serve */
	CHANNEL_WIRE,           /* notice: the descriptor is a channel; struct channel_wire. From a worker: uint32_t, a bit for each role that it has none to */
	CHANNEL_DRAIN,          /* notice to a worker: stop accepting, end; struct channel_drain */
	CHANNEL_STOP,           /* notice to a keeper: finish what has been asked, then end */
	CHANNEL_LIST,           /* notice to a worker: the list file of this path (the payload) is now the image in the descriptor */
	CHANNEL_SETTINGS,       /* notice to a keeper: struct keeper_settings of the configuration in force */
	CHANNEL_SOCKET,         /* a worker's call to the parent: int32_t family; answered with a transparent socket (base/transparent.h) */
	CHANNEL_REPLACE,        /* a worker's notice to the parent: I lack what I cannot make; another one in my place, I end with my sessions */
	CHANNEL_DAEMON,         /* a worker's call to the parent: the path of a daemon's unix socket; answered with a connection to it */

	/* To the state keeper. */
	CHANNEL_STATE_RUN = 32, /* policy/state_wire.h */

	/* To the store keeper. */
	CHANNEL_STORE_OPEN = 64,        /* answered with a descriptor of a nameless file */
	CHANNEL_STORE_KEEP,             /* keep the descriptor; metadata (JSON); answered with the id */

	/* To the history keeper. */
	CHANNEL_HISTORY_ADD = 96,       /* notice: records, policy/history_channel.h */
	CHANNEL_RUA_DUE,                /* of aggregate reports, policy/rua_wire.h */
	CHANNEL_RUA_DOMAINS,
	CHANNEL_RUA_REPORT,
	CHANNEL_RUA_DONE,

	/* To the spool's keeper, policy/spool_wire.h. */
	CHANNEL_SPOOL_OPEN = 128,
	CHANNEL_SPOOL_KEEP,
	CHANNEL_SPOOL_LEASE,
	CHANNEL_SPOOL_REPORT,
	CHANNEL_SPOOL_WAKE,
	CHANNEL_SPOOL_HOLD,             /* notices */
	CHANNEL_SPOOL_FORGET,

	/* To the key process, process/keys_wire.h. */
	CHANNEL_KEYS_SIGN = 160,
	CHANNEL_KEYS_DKIM,
	CHANNEL_KEYS_MINT,

	/* To the directory process, process/directory_wire.h. */
	CHANNEL_DIRECTORY_ASK = 192,
};

enum channel_role { ROLE_PARENT, ROLE_WORKER, ROLE_STATE, ROLE_STORE, ROLE_HISTORY, ROLE_SPOOL, ROLE_KEYS, ROLE_DIRECTORY, ROLE_COUNT };

struct channel_wire {           /* payload of CHANNEL_WIRE */
	int32_t role, slot;     /* who is at the other end */
	uint32_t version;       /* its CHANNEL_VERSION */
};

struct channel_drain {          /* payload of CHANNEL_DRAIN, in seconds from now */
	int32_t patience_s;     /* until then sessions may go on as they are */
	int32_t limit_s;        /* then they are cut */
};

struct channel_msg {
	uint16_t type;
	bool reply;
	uint32_t id;            /* 0: a notice, nobody answers */
	int32_t status;         /* of a reply: 0 or more, or -errno */
	char *data;             /* received: on the heap, a NUL follows that is not counted */
	size_t len;
	int fd;                 /* -1: none. Received: belongs to the message */
};

#define CHANNEL_MSG_INIT { .fd = -1 }

/* CHANNEL_VERSION of this program. */
uint32_t channel_version(void);

/* Both ends non-blocking and close-on-exec. 0 or -errno. */
int channel_pair(int fd[2]);

/*
 * m->data and m->fd stay the caller's. 0, -EAGAIN (the peer's queue is full), -EPIPE (it is gone),
 * -EMSGSIZE, or another -errno.
 */
int channel_send(int sock, const struct channel_msg *m);

/* The answer to a request for a descriptor: fd, which is closed, or -errno. Who does not read its answers goes without: its calls have a deadline. */
void channel_answer_fd(int sock, const struct channel_msg *request, int fd);

/*
 * 0 and *m, to be released; or -EAGAIN, -EPIPE (the peer is gone), -EPROTO (it sent rubbish),
 * -ENOMEM: the message is lost, but for its type, reply and id. Only -EPIPE and -EPROTO are the end.
 */
int channel_recv(int sock, struct channel_msg *m);
void channel_msg_release(struct channel_msg *m); /* frees data, closes fd; may be called again */
static inline void channel_msg_cleanup(struct channel_msg *m)
{
	channel_msg_release(m);
}

struct channel;
/*
 * A message that answers no call of ours. m NULL: the peer is gone (called once per peer). Runs on
 * the loop's stack; must not wait.
 */
typedef void channel_notice_fn(struct channel *c, const struct channel_msg *m, void *arg);

struct channel_call;
struct channel_waiter;
struct event;

struct channel {
	int fd;                                 /* -1: nobody is at the other end */
	bool deaf;                              /* it takes nothing more, but may still answer */
	channel_notice_fn *notice;
	void *arg;
	struct event *readable, *writable;
	uint32_t serial;
	unsigned peers;                         /* that there have been */
	struct gate gate;
	struct channel_call *calls[CHANNEL_CALLS_MAX];          /* by the low bits of their id */
	struct channel_call *unsent_first, *unsent_last;
	struct channel_waiter *waiters;
};

/* notice may be NULL. No peer yet: see channel_attach. */
void channel_init(struct channel *c, channel_notice_fn *notice, void *arg);
void channel_release(struct channel *c);        /* calls under way fail with -EPIPE */

/*
 * fd (taken over, even on failure) is the peer from now on; calls that the former one got and has not
 * answered fail with -EPIPE, those that it never got go to this one. 0 or -ENOMEM.
 */
int channel_attach(struct channel *c, int fd);
bool channel_attached(const struct channel *c);         /* and takes requests: one that comes to its end takes none, but answers those it has */

/* Wait until there is a peer: 0, -ETIMEDOUT, -ECANCELED. may wait */
int channel_await_peer(struct channel *c, int timeout_ms);

/*
 * Ask and wait for the answer. 0 and *reply (to be released; its status is what the peer says), or
 * -EPIPE: there was no peer (channel_attached), or it got the request and died before answering: it may have done what was asked;
 * -ETIMEDOUT: it may still do it;
 * -EMSGSIZE, -ENOMEM, -ECANCELED. fd -1: none. may wait
 */
int channel_call(struct channel *c, enum channel_type type, const void *data, size_t len, int fd,
		 int timeout_ms, struct channel_msg *reply);

/* Ask for a descriptor: it, now the caller's, or what channel_call or the peer says; -EPROTO: it says neither. may wait */
int channel_ask_fd(struct channel *c, enum channel_type type, const void *data, size_t len, int timeout_ms);

/* Send a notice. Never waits: 0, -EAGAIN (not sent), -EPIPE. */
int channel_notify(struct channel *c, enum channel_type type, const void *data, size_t len, int fd);

#endif
