#include "filters/archive.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/box.h"
#include "filters/archive_list.h"
#include "filters/charset.h"
#include "filters/parts.h"
#include "filters/unpack.h"

enum { QUICK_MS = 20 };
enum { ANSWER_MAX = (ARCHIVE_ENTRIES_MAX + 16) * (6 * ARCHIVE_NAME_MAX / 4) };

static const struct fact_def archive_facts[] = {
	{ "archive.name", FACT_TEXT, true, STAGE_DATA, NULL, "names in archives that are attached, and in archives in them" },
	{ "archive.extension", FACT_TEXT, true, STAGE_DATA, NULL, "what follows the last dot of those names, in lower case: exe" },
	{ "archive.encrypted", FACT_BOOL, false, STAGE_DATA, NULL, "something in one is encrypted" },
	{ "archive.broken", FACT_BOOL, false, STAGE_DATA, NULL, "one cannot be read, or is none though it is called so" },
	{ "archive.bomb", FACT_BOOL, false, STAGE_DATA, NULL, "one is past a limit: of depth, entries, size unpacked or time" },
	{ "archive.unread", FACT_BOOL, false, STAGE_DATA, NULL, "one could not be looked at to its end: whatever reads it was ended" },
	{ 0 },
};

/* --- in the box --- */

/*
 * It tells of each archive "a" when it begins, then the lines of archive_list.h, and last of all "$". Who is ended before is asked again, from the
 * next archive on: arg is how many to pass over, or QUICKLY.
 */
#define QUICKLY UINT64_MAX

struct unpacker {
	int out;
	bool called_so;                         /* the present part has the name of an archive */
	char stem[ARCHIVE_NAME_MAX + 1];        /* that name without its extension: of a single file within */
	bool taken;                             /* the present part is an archive */
	struct buf octets;                      /* of the part: its first ones, until it is known what it is */
	uint64_t archives, pass_over;
	bool quickly;                           /* QUICK_MS for all archives, then it ends without a word */
};

static int answer_fd;

static bool say(int out, char kind, const char *text)
{
	return unpack_answer(out, &kind, 1) && unpack_answer(out, text, strlen(text)) && unpack_answer(out, "\n", 1);
}

/* Its CPU time is over. */
static void on_limit(int signo)
{
	static const char line[] = "\nxit takes too long\n";

	(void)send(answer_fd, line, sizeof(line) - 1, MSG_NOSIGNAL);
	_exit(0);
}

static void on_quick_limit(int signo)
{
	_exit(0);
}

static int on_part(void *arg, const struct mime_part *part)
{
	struct unpacker *u = arg;

	u->called_so = u->taken = false;
	u->stem[0] = '\0';
	for (size_t i = 0; i < part->name_count; i++) {
		size_t len = strlen(part->names[i]);
		char extension[MIME_EXTENSION_MAX + 1];

		if (!mime_extension(part->names[i], extension) || !archive_is_called_so(extension))
			continue;
		u->called_so = true;
		if (len <= ARCHIVE_NAME_MAX)
			snprintf(u->stem, sizeof(u->stem), "%.*s", (int)(strrchr(part->names[i], '.') - part->names[i]), part->names[i]);
	}
	return !part->container;
}

static int on_content(void *arg, const char *p, size_t len)
{
	struct unpacker *u = arg;
	size_t room = ARCHIVE_OCTETS_MAX - u->octets.len;
	int rc = buf_add(&u->octets, p, len < room ? len : room);

	if (!u->taken && (u->called_so || archive_looks(buf_str(&u->octets), u->octets.len)))
		u->taken = true;
	if (len > room)
		say(u->out, 'x', "an archive of more octets than are read");
	return rc < 0 ? rc : len > room || (!u->taken && u->octets.len >= ARCHIVE_LOOK);
}

/* Each has its time; where it is over, the next box goes on with the next archive. */
static void time_begins(const struct unpacker *u)
{
	const struct itimerval time = { .it_value.tv_sec = BOX_CPU_S }, quick = { .it_value.tv_usec = QUICK_MS * 1000 };

	if (!u->quickly)
		setitimer(ITIMER_PROF, &time, NULL);
	else if (u->archives == 1)
		setitimer(ITIMER_PROF, &quick, NULL);
}

/* A line of the list. */
static bool on_line(void *arg, const char *p, size_t len)
{
	struct unpacker *u = arg;

	if (*p != 's')
		return unpack_answer(u->out, p, len);
	return !u->stem[0] || say(u->out, 'n', u->stem);
}

static int on_end(void *arg)
{
	struct unpacker *u = arg;

	if (u->taken && u->archives++ >= u->pass_over) {
		if (!say(u->out, 'a', ""))
			return -EPIPE;
		time_begins(u);
		if (u->archives <= ARCHIVES_MAX)
			archive_list(buf_str(&u->octets), u->octets.len, on_line, u);
		else
			say(u->out, 'x', "more archives than are looked at");
	}
	buf_clear(&u->octets);
	return u->archives > ARCHIVES_MAX ? -E2BIG : 0;
}

static void archive_box(int in, int out, uint64_t arg)
{
	struct unpacker u = { .out = out, .octets = BUF_INIT(ARCHIVE_OCTETS_MAX), .pass_over = arg == QUICKLY ? 0 : arg, .quickly = arg == QUICKLY };
	const struct parts_reader reader = { .part = on_part, .content = on_content, .end = on_end, .arg = &u };
	struct parts *parts = parts_new(&reader);
	struct message *m = unpack_message(in);
	int rc;

	answer_fd = out;
	signal(SIGXCPU, on_limit);
	signal(SIGPROF, u.quickly ? on_quick_limit : on_limit);
	rc = parts && m ? parts_read(parts, m) : -ENOMEM;
	if (rc == 0 || rc == -E2BIG)
		say(out, '$', "");
	message_free(m);
	parts_free(parts);
	buf_release(&u.octets);
}

/* --- outside --- */

struct search {
	struct facts *out;
	uint64_t begun;                         /* archives that have been looked at, or tried */
	bool in_one, complete;                  /* the answer stands behind an archive's "a" without its "."; it has come to its end */
	bool limited;                           /* and of this one it is known why */
	bool encrypted;
	const char *broken, *bomb, *unread;
	char why[2][128];                       /* what these may point to */
};

static void note(const char **what, const char *why)
{
	if (!*what)
		*what = why;
}

static int add(struct search *s, const char *fact, const char *value)
{
	int rc = facts_add_once(s->out, fact, value);

	if (rc != -ENOSPC)
		return rc;
	note(&s->bomb, "more names than are listed");
	return 0;
}

static int add_name(struct search *s, const char *name)
{
	char extension[MIME_EXTENSION_MAX + 1];
	int rc = add(s, "archive.name", name);

	if (rc == 0 && mime_extension(name, extension))
		rc = add(s, "archive.extension", extension);
	return rc;
}

/* A line of the answer: what was in the box is not believed to be well-formed. */
static int take_line(struct search *s, char kind, const char *p, size_t len)
{
	AUTO(buf) struct buf text = BUF_INIT(6 * ANSWER_MAX);
	int rc = charset_decode(charset_find("utf8", 4), p, len, &text);

	if (rc < 0)
		return rc;
	charset_tidy(&text, 0);
	if (kind == 'a') {
		s->begun++;
		s->in_one = true;
		s->limited = false;
	} else if (kind == '.') {
		s->in_one = false;
	} else if (kind == '$') {
		s->complete = true;
	} else if (kind == 'e') {
		s->encrypted = true;
	} else if (kind == 'n') {
		return add_name(s, buf_str(&text));
	} else if (kind == 'b' && !s->broken) {
		s->broken = strncpy(s->why[0], buf_str(&text), sizeof(s->why[0]) - 1);
	} else if (kind == 'x') {
		s->limited = true;
		if (!s->bomb)
			s->bomb = strncpy(s->why[1], buf_str(&text), sizeof(s->why[1]) - 1);
	}
	return 0;
}

static int read_answer(struct search *s, const struct buf *answer)
{
	const char *p = buf_str(answer), *end = p + answer->len;
	int rc = 0;

	while (rc == 0 && p < end) {
		const char *lf = memchr(p, '\n', (size_t)(end - p));

		if (!lf)
			lf = end;
		if (lf > p)
			rc = take_line(s, *p, p + 1, (size_t)(lf - p - 1));
		p = lf + 1;
	}
	return rc;
}

/* One box. What it was ended in is passed over by the next. */
static int look_once(struct search *s, struct txn *t, int fd, int *left_ms)
{
	const struct box_job job = { .fn = archive_box, .arg = s->begun, .cpu_s = unpack_cpu_s(t->message) + ARCHIVE_TIME_MS / 1000 };
	AUTO(buf) struct buf answer = BUF_INIT(ANSWER_MAX);
	uint64_t before = s->begun;
	int rc;

	s->in_one = s->limited = false;
	rc = box_run(&job, fd, left_ms, &answer);
	if (rc == -ETIMEDOUT || rc == -ENOSPC)
		note(&s->bomb, rc == -ENOSPC ? "more names than are read" : "it takes too long");
	else if (rc < 0)
		return rc;
	rc = read_answer(s, &answer);
	if (!s->complete && !s->limited)
		note(&s->broken, "reading it failed");
	if (!s->complete)
		note(&s->unread, s->limited || *left_ms <= 0 ? "it takes too long" : "the process that read it was ended");
	/* Ended before the first: so will the next be. */
	if (s->begun == before || s->begun > ARCHIVES_MAX)
		s->complete = true;
	return rc;
}

/*
 * Most messages have no archive, and most archives take next to no time: they do not wait behind those that somebody has made to take long, and of which few
 * are looked at together. What such a box has said counts only if it came to its end.
 */
static int look_quickly(struct search *s, struct txn *t, int fd, int *left_ms)
{
	const struct box_job job = { .fn = archive_box, .arg = QUICKLY, .cpu_s = unpack_cpu_s(t->message), .quick = true };
	AUTO(buf) struct buf answer = BUF_INIT(ANSWER_MAX);
	int rc = box_run(&job, fd, left_ms, &answer);

	if (rc == 0 && answer.len >= 2 && memcmp(answer.data + answer.len - 2, "$\n", 2) == 0 && (answer.len == 2 || answer.data[answer.len - 3] == '\n'))
		return read_answer(s, &answer);
	return rc == -ETIMEDOUT || rc == -ENOSPC ? 0 : rc;
}

static int look(struct search *s, struct txn *t)
{
	int fd = unpack_file(t->message), left_ms = ARCHIVE_TIME_MS, rc;

	if (fd < 0)
		return fd;
	rc = look_quickly(s, t, fd, &left_ms);
	left_ms = ARCHIVE_TIME_MS;
	while (rc == 0 && !s->complete && left_ms > 0)
		rc = look_once(s, t, fd, &left_ms);
	close(fd);
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
	if (rc == 0)
		rc = set_bool(out, "archive.bomb", s->bomb);
	return rc < 0 ? rc : set_bool(out, "archive.unread", s->unread);
}

static int archive_run(struct txn *t, int self, struct facts *out)
{
	static const char *const lists[] = { "archive.name", "archive.extension" };
	struct search s = { .out = out };
	int rc = 0;

	for (int i = 0; rc == 0 && i < 2; i++)
		rc = facts_set_empty(out, lists[i]);
	if (rc == 0)
		rc = look(&s, t);
	for (int i = 0; i < 2; i++) {
		const struct fact *f = facts_get_name(out, lists[i]);

		/* Of an error half a list is none. Where a box was ended the names that it has told count; if there are none it may tell more next time. */
		if (rc < 0)
			facts_temperror(out, lists[i], strerror(-rc));
		else if (s.unread && !s.bomb && (!f || f->count == 0))
			facts_temperror(out, lists[i], s.unread);
	}
	return rc < 0 ? rc : set_facts(out, &s);
}

static int archive_setup(const struct site *site, struct buf *err)
{
	archive_list_setup();
	return 0;
}

/* It waits for the box. */
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
