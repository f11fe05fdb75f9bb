#include "filters/archive.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/box.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/task.h"
#include "filters/archive_list.h"
#include "filters/charset.h"
#include "filters/parts.h"

enum { ANSWER_MAX = (ARCHIVE_ENTRIES_MAX + 16) * (6 * ARCHIVE_NAME_MAX / 4) };

static const struct fact_def archive_facts[] = {
	{ "archive.name", FACT_TEXT, true, STAGE_DATA, NULL, "names in archives that are attached, and in archives in them" },
	{ "archive.extension", FACT_TEXT, true, STAGE_DATA, NULL, "what follows the last dot of those names, in lower case: exe" },
	{ "archive.encrypted", FACT_BOOL, false, STAGE_DATA, NULL, "something in one is encrypted" },
	{ "archive.broken", FACT_BOOL, false, STAGE_DATA, NULL, "one cannot be read, or is none though it is called so" },
	{ "archive.bomb", FACT_BOOL, false, STAGE_DATA, NULL, "one is past a limit: of depth, entries, size unpacked or time" },
	{ 0 },
};

/* How many archives lie in memory at a time, in this process: whoever else has one waits with taking it there. */
static struct gate places = { .limit = ARCHIVE_PLACES };

struct search {
	struct facts *out;
	bool placed;                            /* has one of the places */
	bool called_so;                         /* the present part has the name of an archive */
	char stem[ARCHIVE_NAME_MAX + 1];        /* that name without its extension: of a single file within */
	struct buf start;                       /* the first octets of the part, until it is known what it is */
	int fd;                                 /* all of it; -1: not an archive, or not yet known */
	size_t size, archives;
	int left_ms;                            /* of ARCHIVE_TIME_MS */
	int64_t waited_ms;                      /* for a turn */
	bool encrypted;
	const char *broken, *bomb;
	char why[2][128];                       /* what these may point to */
};

static void note(const char **what, const char *why)
{
	if (!*what)
		*what = why;
}

static int add(struct search *s, const char *fact, const char *value)
{
	const struct fact *f = facts_get_name(s->out, fact);

	for (size_t i = 0; f && i < f->count; i++)
		if (strcmp(f->text[i], value) == 0)
			return 0;
	if (f && f->count == FACT_LIST_MAX) {
		note(&s->bomb, "more names than are listed");
		return 0;
	}
	return facts_add(s->out, fact, value);
}

static int add_name(struct search *s, const char *name)
{
	char extension[MIME_EXTENSION_MAX + 1];
	int rc = add(s, "archive.name", name);

	if (rc == 0 && mime_extension(name, extension))
		rc = add(s, "archive.extension", extension);
	return rc;
}

static int on_part(void *arg, const struct mime_part *part)
{
	struct search *s = arg;

	s->called_so = false;
	s->stem[0] = '\0';
	for (size_t i = 0; i < part->name_count; i++) {
		size_t len = strlen(part->names[i]);
		char extension[MIME_EXTENSION_MAX + 1];

		if (!mime_extension(part->names[i], extension) || !archive_is_called_so(extension))
			continue;
		s->called_so = true;
		if (len <= ARCHIVE_NAME_MAX)
			snprintf(s->stem, sizeof(s->stem), "%.*s", (int)(strrchr(part->names[i], '.') - part->names[i]), part->names[i]);
	}
	return !part->container;
}

static void close_file(struct search *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	if (s->placed)
		gate_leave(&places);
	s->placed = false;
}

/* may wait */
static int find_place(struct search *s)
{
	int64_t begun_ms = clock_ms();
	int rc = task_self() ? gate_enter(&places, ARCHIVE_TIME_MS) : 0;

	s->placed = task_self() && rc == 0;
	s->waited_ms += clock_ms() - begun_ms;
	return rc == -ETIMEDOUT ? -EBUSY : rc;
}

/* It is an archive: from here on its octets go to a file. may wait */
static int open_file(struct search *s)
{
	int rc;

	if (s->archives++ == ARCHIVES_MAX || s->left_ms <= 0) {
		note(&s->bomb, s->archives > ARCHIVES_MAX ? "more archives than are looked at" : "it takes too long");
		return 1;
	}
	rc = find_place(s);
	if (rc < 0)
		return rc;
	s->fd = memfd_create("archive", MFD_CLOEXEC);
	if (s->fd < 0)
		return -errno;
	s->size = s->start.len;
	return file_write_all(s->fd, buf_str(&s->start), s->start.len);
}

static int more(struct search *s, const char *p, size_t len)
{
	s->size += len;
	if (s->size <= ARCHIVE_OCTETS_MAX)
		return file_write_all(s->fd, p, len);
	note(&s->bomb, "an archive of more octets than are read");
	return 1;
}

static int on_content(void *arg, const char *p, size_t len)
{
	struct search *s = arg;
	int rc;

	if (s->fd >= 0)
		return more(s, p, len);
	rc = buf_add(&s->start, p, len);
	if (rc == 0 && (s->called_so || archive_looks(buf_str(&s->start), s->start.len)))
		return open_file(s);
	return rc < 0 ? rc : s->start.len >= ARCHIVE_LOOK;
}

/* A line of the answer: what was in the box is not believed to be well-formed. */
static int on_line(struct search *s, char kind, const char *p, size_t len, bool *complete)
{
	AUTO(buf) struct buf text = BUF_INIT(6 * ANSWER_MAX);
	int rc = charset_decode(charset_find("utf8", 4), p, len, &text);

	if (rc < 0)
		return rc;
	charset_tidy(&text, 0);
	if (kind == 'e')
		s->encrypted = true;
	else if (kind == '.')
		*complete = true;
	else if (kind == 'n')
		return add_name(s, buf_str(&text));
	else if (kind == 's' && s->stem[0])
		return add_name(s, s->stem);
	else if (kind == 'b' && !s->broken)
		s->broken = strncpy(s->why[0], buf_str(&text), sizeof(s->why[0]) - 1);
	else if (kind == 'x' && !s->bomb)
		s->bomb = strncpy(s->why[1], buf_str(&text), sizeof(s->why[1]) - 1);
	return 0;
}

static int read_answer(struct search *s, const struct buf *answer)
{
	const char *p = buf_str(answer), *end = p + answer->len;
	bool complete = false;
	int rc = 0;

	while (rc == 0 && p < end) {
		const char *lf = memchr(p, '\n', (size_t)(end - p));

		if (!lf)
			lf = end;
		if (lf > p)
			rc = on_line(s, *p, p + 1, (size_t)(lf - p - 1), &complete);
		p = lf + 1;
	}
	if (!complete)
		note(&s->broken, "reading it failed");
	return rc;
}

static int list(struct search *s)
{
	AUTO(buf) struct buf answer = BUF_INIT(ANSWER_MAX);
	int64_t begun_ms = clock_ms() - s->left_ms;
	/* That others take their time says nothing of this one. */
	int rc = s->waited_ms < ARCHIVE_TIME_MS ? box_run(archive_list_box, s->fd, &s->left_ms, &answer) : -EBUSY;

	s->waited_ms += clock_ms() - s->left_ms - begun_ms;
	if (rc == -ETIMEDOUT)
		note(&s->bomb, "it takes too long");
	if (rc < 0 && rc != -ETIMEDOUT)
		return rc;
	return read_answer(s, &answer);
}

static int on_end(void *arg)
{
	struct search *s = arg;
	int rc = s->fd >= 0 ? list(s) : 0;

	close_file(s);
	buf_clear(&s->start);
	return rc;
}

static int set_bool(struct facts *out, const char *name, const char *why)
{
	int rc = facts_set_bool(out, name, why);

	return rc < 0 || !why ? rc : facts_why(out, name, "%s", why);
}

static int set_facts(struct facts *out, const struct search *s)
{
	int rc = facts_set_bool(out, "archive.encrypted", s->encrypted);

	if (rc == 0)
		rc = set_bool(out, "archive.broken", s->broken);
	return rc < 0 ? rc : set_bool(out, "archive.bomb", s->bomb);
}

static int archive_run(struct txn *t, int self, struct facts *out)
{
	static const char *const lists[] = { "archive.name", "archive.extension" };
	struct search s = { .out = out, .fd = -1, .left_ms = ARCHIVE_TIME_MS, .start = BUF_INIT(ARCHIVE_LOOK + 2 * PARTS_BLOCK) };
	const struct parts_reader reader = { .part = on_part, .content = on_content, .end = on_end, .arg = &s };
	AUTO(parts) struct parts *parts = parts_new(&reader);
	int rc = parts ? 0 : -ENOMEM;

	for (int i = 0; rc == 0 && i < 2; i++)
		rc = facts_set_empty(out, lists[i]);
	if (rc == 0)
		rc = parts_read(parts, t->message);
	close_file(&s);
	buf_release(&s.start);
	for (int i = 0; rc < 0 && i < 2; i++)           /* half a list is none */
		facts_temperror(out, lists[i], strerror(-rc));
	return rc < 0 ? rc : set_facts(out, &s);
}

static int archive_setup(const struct site *site, struct buf *err)
{
	archive_list_setup();
	return 0;
}

/* It reads the whole message, and waits for the box. */
static bool archive_ready(struct txn *t, int self)
{
	return false;
}

const struct filter filter_archive = {
	.name = "archive",
	.scope = SCOPE_TXN,
	.stage = STAGE_DATA,
	.facts = archive_facts,
	.setup = archive_setup,
	.run = archive_run,
	.ready = archive_ready,
};
