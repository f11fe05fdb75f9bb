#include "filters/body_feed.h"

#include "filters/turn.h"

int body_feed(struct message *m, body_feed_fn *fn, void *arg)
{
	size_t off = message_body_offset(m), len;
	struct turn turn = { 0 };
	const char *p;
	int rc;

	for (;;) {
		rc = message_read(m, off, &p, &len);
		if (rc < 0 || len == 0)
			return rc;
		rc = fn(arg, p, len);
		if (rc < 0)
			return rc;
		off += len;
		turn_took(&turn, len);
	}
}
