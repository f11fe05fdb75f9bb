#include "policy/store.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/file.h"
#include "base/task.h"
#include "filters/message.h"

int store_open(struct store *s)
{
	return s->open(s);
}

enum { COPIED_AT_ONCE = 1 << 20 };      /* then others get their turn */

/*
 * A message that lies in memory, into a file: a large one lies there because the disk was full, and nobody is to get it before it is known whether
 * there is room now.
 */
int store_copy(struct message *m, size_t off, int fd)
{
	size_t since = 0, len = 1;
	const char *p;

	while (len > 0) {
		int rc = message_read(m, off, &p, &len);

		if (rc == 0)
			rc = file_write_all(fd, p, len);
		if (rc < 0)
			return rc;
		off += len;
		since += len;
		if (since >= COPIED_AT_ONCE && task_self()) {
			since = 0;
			task_yield();
		}
	}
	return 0;
}

int store_draft(struct store *s, struct message *m)
{
	int fd = message_fd(m), rc;

	if (fd >= 0) {
		fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		return fd < 0 ? -errno : fd;
	}
	fd = store_open(s);
	if (fd < 0)
		return fd;
	rc = store_copy(m, 0, fd);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	return fd;
}

int store_keep_draft(struct store *s, int fd, const char *meta_json, char id[STORE_ID_MAX])
{
	return s->keep(s, fd, meta_json, id);
}

int store_keep(struct store *s, struct message *m, const char *meta_json, char id[STORE_ID_MAX])
{
	int fd = store_draft(s, m), rc;

	if (fd < 0)
		return fd;
	rc = store_keep_draft(s, fd, meta_json, id);
	close(fd);
	return rc;
}
