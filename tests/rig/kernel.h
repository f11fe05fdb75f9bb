/*
 * kernel - sockets, events, time and chance of a process, in memory, for tests that drive whole sessions
 *
 * A program that is linked with this has its own socket(2), connect(2), recv(2), epoll_wait(2) and so on, which the gateway and the libraries
 * beneath it (libevent, OpenSSL) call without knowing. Between kernel_begin and kernel_end what they make are wires: connections whose other end the
 * test has. Nothing leaves the process, nothing waits: when all tasks wait and no wire has news, the kernel asks the test what happens next
 * (kernel_idle), and time passes only when the test says so, by jumping to the next timer. Random octets come from a seed; OpenSSL's are always
 * the same. So a session is the same every time. Descriptors that are no wires are the real kernel's; outside of begin and end all are.
 *
 * As on Linux: events are edges (EPOLLET), an end is told with EPOLLRDHUP, a reset once with an error, then as an end; who writes to a peer that has
 * closed is reset.
 *
 * clock_ms() and its sisters are replaced when the program is linked: clock.o of the library is not taken.
 */
#ifndef RIG_KERNEL_H
#define RIG_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/net.h"

enum {
	KERNEL_WIRES = 48,              /* at once */
	KERNEL_BYTES_MAX = 16 << 20,    /* that lie in one wire */
};

/* One connection. The gateway's end is a descriptor; the test's is this. */
struct wire {
	bool open;                      /* the gateway has not closed its end */
	bool held;                      /* nor the test */
	struct net_addr local, peer;    /* of the gateway's end */
	/* to the gateway: what it has not read yet */
	struct buf in;
	bool in_end, in_cut;            /* the test has ended its side; it has cut the connection */
	/* from the gateway: what the test has not taken yet */
	struct buf out;
	bool out_end, out_cut;          /* the gateway has ended its side; it has cut the connection */
	uint64_t fed, said;             /* octets altogether, to and from the gateway */
	/* private: */
	bool stream, connected, gone, told, abort;
	bool watched, armed;
	uint32_t interest;
	uint64_t data;
};

enum kernel_next {
	KERNEL_AGAIN,                   /* something was done: look again */
	KERNEL_JUMP,                    /* nothing happens until the next timer: it is that moment now */
	KERNEL_STOP,                    /* the loop is to return (loop_stop has been called) */
};

struct kernel_ops {
	enum kernel_next (*idle)(void *arg);
	/* The gateway connects to `to`: accept the wire, true; or refuse it. */
	bool (*connect)(void *arg, struct wire *w, const struct net_addr *to);
	void *arg;
};

void kernel_begin(const struct kernel_ops *ops, uint64_t seed);
void kernel_end(void);          /* asserts that no descriptor is left */
/* The same moment and the same chance as after kernel_begin. */
void kernel_again(uint64_t seed);
/* Until then a session is over: what is written is no log. */
void kernel_rest(void);
/* Descriptors of the gateway's that are open (its event loop's own not counted). */
size_t kernel_open(void);

/* A client has connected: the descriptor that accept(2) would return, and the test's end. */
int kernel_accept(const struct net_addr *client, const struct net_addr *local, struct wire **out);

void wire_feed(struct wire *w, const void *p, size_t len);
void wire_end(struct wire *w);          /* FIN */
void wire_cut(struct wire *w);          /* RST */
void wire_leave(struct wire *w);        /* close(2): FIN, and what comes is answered with RST; w is not to be used any more */

int64_t kernel_ms(void);                /* clock_ms() */

/* What the log has said (all that writev(2) wrote) since the last kernel_begin or kernel_again; as far as it is kept. */
struct buf *kernel_log(void);
void kernel_log_show(bool show);        /* it goes to the real one instead */

#endif
