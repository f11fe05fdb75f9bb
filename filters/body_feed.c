#include "filters/body_feed.h"

#include "base/task.h"

enum { STRETCH = 256 * 1024 };

int body_feed(struct message *m, body_feed_fn *fn, void *arg)
{
	size_t off = message_body_offset(m), since = 0, len;
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
		since += len;
		if (since >= STRETCH && task_self()) {
			task_yield();
			since = 0;
		}
	}
}
