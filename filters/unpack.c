#include "filters/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/box.h"
#include "base/file.h"
#include "base/task.h"
#include "filters/fact_wire.h"
#include "filters/text.h"

enum {
	ANSWER_MAX = 8 * 1024 * 1024,   /* names of 1,000 parts, texts */
	COPIED_AT_ONCE = 1 << 20,
	OCTETS_PER_S = 25 * 1000 * 1000,        /* that are read on the slowest of machines */
};

/* --- the message --- */

static int copy(struct message *m, int fd)
{
	size_t off = 0, len;
	const char *p;
	int rc;

	while ((rc = message_read(m, off, &p, &len)) == 0 && len) {
		rc = file_write_all(fd, p, len);
		if (rc < 0)
			return rc;
		off += len;
		if (off % COPIED_AT_ONCE == 0 && task_self())
			task_yield();
	}
	return rc;
}

int unpack_file(struct message *m)
{
	int fd = message_fd(m), rc;

	if (fd >= 0) {
		fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		return fd < 0 ? -errno : fd;
	}
	fd = memfd_create("unpack", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	rc = copy(m, fd);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	return fd;
}

struct message *unpack_message(int in)
{
	/* It has been received within the site's limits. */
	static const struct message_limits limits = { SIZE_MAX / 4, SIZE_MAX / 4, SIZE_MAX / 4 };
	struct message *m = message_new(&limits, NULL, NULL);

	if (m && message_adopt(m, in) == 0)
		return m;
	message_free(m);
	return NULL;
}

int unpack_cpu_s(const struct message *m)
{
	return BOX_CPU_S + (int)(message_size(m) / OCTETS_PER_S);
}

bool unpack_answer(int out, const char *p, size_t len)
{
	while (len) {
		ssize_t n = send(out, p, len, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			return false;
		p += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
	return true;
}

/* --- facts --- */

/* In the box. arg: the bits of the filters. */
static void facts_box(int in, int out, uint64_t arg)
{
	AUTO(message) struct message *m = unpack_message(in);
	struct buf answer = BUF_INIT(ANSWER_MAX);
	struct facts facts = { 0 };

	if (!m)
		return;
	for (int i = 0; filters[i]; i++)
		if (arg & 1u << i) {
			int rc = filters[i]->unpack(m, &facts);

			if (rc < 0)
				filters_temperror(filters[i], &facts, rc);
		}
	if (fact_wire_write(&facts, &answer) == 0)
		unpack_answer(out, buf_str(&answer), answer.len);
	buf_release(&answer);
	facts_release(&facts);
}

/* Of those that are needed now or will be, and have not been asked; self among them. */
static uint32_t wanted(const struct evidence *e, int self)
{
	uint32_t bits = 1u << self;

	for (int i = 0; filters[i]; i++)
		if (filters[i]->unpack && (e->started & ~e->ran & 1u << i))
			bits |= 1u << i;
	return bits;
}

static int unread(uint32_t bits, const char *why, struct facts *out)
{
	int rc = 0;

	for (int i = 0; rc == 0 && filters[i]; i++)
		if (bits & 1u << i)
			rc = filters[i]->unread(out, why);
	return rc;
}

static int look(struct txn *t, uint32_t bits, int fd, struct facts *out)
{
	const struct box_job job = { .fn = facts_box, .arg = bits, .cpu_s = unpack_cpu_s(t->message), .quick = true };
	AUTO(buf) struct buf answer = BUF_INIT(ANSWER_MAX);
	struct facts got = { 0 };
	int left_ms = UNPACK_TIME_MS, rc = box_run(&job, fd, &left_ms, &answer);

	if (rc == -ETIMEDOUT)
		return unread(bits, "it takes too long", out);
	if (rc < 0 && rc != -ENOSPC)
		return rc;
	rc = rc < 0 ? -EPROTO : fact_wire_read(buf_str(&answer), answer.len, bits, &got);
	if (rc == 0)
		rc = facts_take(out, &got);
	else if (rc == -EPROTO)
		rc = unread(bits, "the process that read it was ended", out);
	facts_release(&got);
	return rc;
}

int unpack_run(struct txn *t, int self, struct facts *out)
{
	struct evidence *e = filter_evidence(t, self);
	uint32_t bits = wanted(e, self);
	int fd = unpack_file(t->message), rc;

	if (fd < 0)
		return fd;
	rc = look(t, bits, fd, out);
	close(fd);
	if (rc == 0)
		e->ran |= bits;
	return rc;
}

/* --- text to search in --- */

static void text_box(int in, int out, uint64_t arg)
{
	AUTO(message) struct message *m = unpack_message(in);
	AUTO(buf) struct buf text = BUF_INIT((size_t)arg);

	if (m && text_extract(m, (size_t)arg, &text) == 0)
		unpack_answer(out, buf_str(&text), text.len);
}

int unpack_text(struct message *m, size_t max, struct buf *out)
{
	const struct box_job job = { .fn = text_box, .arg = max, .cpu_s = unpack_cpu_s(m), .quick = true };
	int left_ms = UNPACK_TIME_MS, fd = unpack_file(m), rc;

	if (fd < 0)
		return fd;
	rc = box_run(&job, fd, &left_ms, out);
	close(fd);
	return rc;
}
