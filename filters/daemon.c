#include "filters/daemon.h"

#include <errno.h>
#include <string.h>

#include "base/buf.h"
#include "policy/conf.h"

enum { TRIES_MAX = 3 };                 /* a kept line, a new one, one to another address */

int daemon_take(struct daemons *d, const struct daemon_conf *c, int64_t deadline_ms, bool fresh, struct daemon_line **out)
{
	return d ? d->ops->take(d, c, deadline_ms, fresh, out) : -EHOSTUNREACH;
}

int daemon_write(struct daemon_line *l, const void *p, size_t len)
{
	return len ? l->daemons->ops->write(l, p, len) : 0;
}

int daemon_peek(struct daemon_line *l, const char **p, size_t *len)
{
	int rc = l->daemons->ops->peek(l, p, len);

	l->heard |= rc == 0;
	return rc;
}

void daemon_eat(struct daemon_line *l, size_t len)
{
	l->daemons->ops->eat(l, len);
}

void daemon_deadline(struct daemon_line *l, int64_t deadline_ms)
{
	l->daemons->ops->deadline(l, deadline_ms);
}

void daemon_give(struct daemon_line *l, enum daemon_end how)
{
	if (l)
		l->daemons->ops->give(l, how);
}

int daemon_read_to(struct daemon_line *l, char end, struct buf *out)
{
	buf_clear(out);
	for (;;) {
		const char *p, *at;
		size_t len;
		int rc = daemon_peek(l, &p, &len);

		if (rc < 0)
			return rc;
		at = memchr(p, end, len);
		if (at)
			len = (size_t)(at - p);
		rc = buf_add(out, p, len);
		if (rc < 0)
			return rc == -ENOSPC ? -EMSGSIZE : rc;
		daemon_eat(l, len + (at ? 1 : 0));
		if (at)
			return buf_add(out, "", 0);
	}
}

static enum daemon_end end_of(const struct daemon_line *l, int rc)
{
	if (rc >= 0)
		return rc == DAEMON_AGAIN ? DAEMON_AGAIN : DAEMON_DONE;
	if (rc == -ECANCELED || rc == -ENOMEM || rc == -EIO || (rc == -EPIPE && l->uses > 0 && !l->heard))
		return DAEMON_DROPPED;
	return DAEMON_FAILED;
}

int daemon_ask(struct daemons *d, const struct daemon_conf *c, int64_t deadline_ms, daemon_talk *talk, void *arg)
{
	bool fresh = false;

	for (int tries = 1;; tries++) {
		struct daemon_line *l;
		bool kept, unheard;
		int rc = daemon_take(d, c, deadline_ms, fresh, &l);

		if (rc < 0)
			return rc;
		rc = talk(l, arg);
		kept = l->uses > 0;
		unheard = !l->heard;
		daemon_give(l, end_of(l, rc));
		if (rc >= 0)
			return 0;
		if (rc != -EPIPE || tries == TRIES_MAX || !(kept ? unheard : c->address_count > 1))
			return rc;
		fresh = true;
	}
}
