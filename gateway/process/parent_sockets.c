/* Transparent sockets for the workers, which may not make them. */
#include "process/parent_impl.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/transparent.h"

/* Of each worker. What it holds is bounded by its limit of descriptors, how often it asks by this. */
enum { SOCKETS_PER_S = 1000, SOCKETS_AT_ONCE = 2000 };

/* Whether the child may have one more now. */
static bool bucket_take(struct child *c, int64_t now_ms)
{
	int64_t more = (now_ms - c->sockets_ms) * SOCKETS_PER_S / 1000;

	if (c->sockets_ms == 0 || more + c->sockets > SOCKETS_AT_ONCE) {
		c->sockets = SOCKETS_AT_ONCE;
		c->sockets_ms = now_ms;
	} else if (more > 0) {
		c->sockets += (int)more;
		c->sockets_ms = now_ms;
	}
	if (c->sockets <= 0)
		return false;
	c->sockets--;
	return true;
}

static int make(const struct parent *p, struct child *c, const struct channel_msg *m)
{
	int32_t family;

	if (c->role != ROLE_WORKER || !p->transparent)
		return -EPERM;
	if (m->len != sizeof(family) || m->fd >= 0)
		return -EPROTO;
	memcpy(&family, m->data, sizeof(family));
	if (!bucket_take(c, clock_ms()))
		return -EAGAIN;
	return transparent_socket(family);
}

bool parent_socket_may(struct child *c)
{
	return bucket_take(c, clock_ms());
}

void parent_socket(struct parent *p, struct child *c, const struct channel_msg *m)
{
	channel_answer_fd(c->fd, m, make(p, c, m));
}
