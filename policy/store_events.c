#include "policy/store_events.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/json_whole.h"
#include "policy/store_id.h"

enum { NAME_MAX_BYTES = 64 };

static void fd_cleanup(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static void json_cleanup(json_t **j)
{
	json_decref(*j);
}

const char *store_state_name(enum store_state state)
{
	static const char *const names[] = {
		[STORE_STATE_KEPT] = "kept",
		[STORE_STATE_FAILED] = "release-failed",
		[STORE_STATE_PARTLY] = "partly-released",
		[STORE_STATE_PERHAPS] = "perhaps-delivered",
		[STORE_STATE_RELEASED] = "released",
	};

	return names[state];
}

/* The directory of the id's day. A descriptor or -errno. */
static int day_open(int dir_fd, const char *id)
{
	char day[STORE_DAY_MAX];
	int fd;

	if (store_id_day(id, day) < 0)
		return -EINVAL;
	fd = openat(dir_fd, day, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Whether the file's last line lacks its end: a crash, or a full disk. */
static bool is_torn(int fd, off_t size)
{
	char last;

	return size > 0 && (pread(fd, &last, 1, size - 1) != 1 || last != '\n');
}

/* One write, so that lines of several processes do not mix. */
static int write_line(int fd, const char *text)
{
	struct stat st;
	size_t len = strlen(text);
	char *line = malloc(len + 3);
	size_t n = 0;
	ssize_t wrote;
	int rc = 0;

	if (!line)
		return -ENOMEM;
	if (fstat(fd, &st) < 0)
		rc = -errno;
	else if (!S_ISREG(st.st_mode))
		rc = -EINVAL;
	else if (st.st_size + (off_t)len + 2 > STORE_EVENTS_MAX)
		rc = -EFBIG;
	else if (is_torn(fd, st.st_size))
		line[n++] = '\n';
	memcpy(line + n, text, len);
	n += len;
	line[n++] = '\n';
	if (rc == 0) {
		wrote = write(fd, line, n);
		if (wrote != (ssize_t)n)
			rc = wrote < 0 ? -errno : -ENOSPC;
	}
	free(line);
	return rc < 0 ? rc : fsync(fd) < 0 ? -errno : 0;
}

int store_event_append(int dir_fd, const char *id, const char *what, const char *who, json_t *detail)
{
	AUTO(json) json_t *event = json_pack("{s:I, s:s, s:s, s:O*}", "at", (json_int_t)clock_wall_s(), "who", who, "what", what, "detail",
					     detail);
	AUTO(fd) int day = day_open(dir_fd, id), fd = -1;
	char name[NAME_MAX_BYTES], *text;
	int rc;

	if (day < 0)
		return day;
	text = event ? json_whole(event, JSON_COMPACT) : NULL;
	if (!text)
		return event ? -ENOMEM : -EINVAL;
	snprintf(name, sizeof(name), "%s.events", id);
	fd = strlen(text) <= STORE_EVENT_MAX ? openat(day, name, O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600) : -1;
	if (fd < 0)
		rc = strlen(text) <= STORE_EVENT_MAX ? -errno : -EMSGSIZE;
	else
		rc = write_line(fd, text);
	free(text);
	/* Whoever made the file may have died before he could do this. */
	return rc < 0 ? rc : fsync(day) < 0 ? -errno : 0;
}

json_t *store_events_parse(const char *p, size_t len)
{
	json_t *list = json_array();

	while (list && len > 0) {
		const char *end = memchr(p, '\n', len);
		size_t n = end ? (size_t)(end - p) : len;
		json_t *event = n > 0 && n <= STORE_EVENT_MAX + 1 ? json_whole_load(p, n, JSON_REJECT_DUPLICATES) : NULL;

		/* A cut line has lost its last brace, so it is no object; one that lost only its LF is whole. */
		if (json_is_object(event) && json_is_string(json_object_get(event, "what")))
			json_array_append(list, event);
		json_decref(event);
		n += end ? 1 : 0;
		p += n;
		len -= n;
	}
	return list;
}

static int read_all(int fd, char **out, size_t *len)
{
	struct stat st;
	size_t at = 0;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if (st.st_size > STORE_EVENTS_MAX)
		return -EFBIG;
	*out = malloc((size_t)st.st_size + 1);
	while (*out && at < (size_t)st.st_size) {
		ssize_t n = pread(fd, *out + at, (size_t)st.st_size - at, (off_t)at);

		if (n < 0) {
			free(*out);
			return -errno;
		}
		if (n == 0)
			break;
		at += (size_t)n;
	}
	*len = at;
	return *out ? 0 : -ENOMEM;
}

int store_events_read(int dir_fd, const char *id, json_t **out)
{
	AUTO(fd) int day = day_open(dir_fd, id), fd = -1;
	char name[NAME_MAX_BYTES], *text = NULL;
	size_t len = 0;
	int rc = 0;

	if (day < 0)
		return day;
	snprintf(name, sizeof(name), "%s.events", id);
	fd = openat(day, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 && errno != ENOENT)
		return -errno;
	if (fd >= 0)
		rc = read_all(fd, &text, &len);
	if (rc < 0)
		return rc;
	*out = store_events_parse(text ? text : "", len);
	free(text);
	return *out ? 0 : -ENOMEM;
}

/* What is known while the events are gone through. */
struct fold {
	json_t *rcpt;                   /* address: enum store_state */
	json_t *before;                 /* address: what it was before the last release-dot */
	size_t perhaps;                 /* how many of rcpt are PERHAPS */
	int64_t left;                   /* as the last "released" said */
	bool released, failed;          /* one ever; the last one */
};

static enum store_state rcpt_state(const json_t *states, const char *address)
{
	return (enum store_state)json_integer_value(json_object_get(states, address));
}

static void rcpt_set(struct fold *f, const char *address, enum store_state to)
{
	f->perhaps -= rcpt_state(f->rcpt, address) == STORE_STATE_PERHAPS;
	f->perhaps += to == STORE_STATE_PERHAPS;
	json_object_set_new(f->rcpt, address, json_integer(to));
}

static void fold_rcpt(struct fold *f, const char *what, const char *address)
{
	enum store_state was = rcpt_state(f->rcpt, address);

	if (strcmp(what, STORE_EVENT_DOT) == 0) {
		json_object_set_new(f->before, address, json_integer(was));
		if (was != STORE_STATE_RELEASED)        /* who has it once has it */
			rcpt_set(f, address, STORE_STATE_PERHAPS);
	} else if (strcmp(what, STORE_EVENT_RELEASED) == 0) {
		rcpt_set(f, address, STORE_STATE_RELEASED);
	} else if (strcmp(what, STORE_EVENT_FAILED) == 0) {
		/* Of this attempt only: who had it, or perhaps had it, by an earlier one still does. */
		if (json_object_get(f->before, address))
			was = rcpt_state(f->before, address);
		rcpt_set(f, address, was == STORE_STATE_KEPT ? STORE_STATE_FAILED : was);
	}
}

static void fold_event(struct fold *f, const json_t *event)
{
	const char *what = json_string_value(json_object_get(event, "what"));
	const json_t *detail = json_object_get(event, "detail");
	json_t *address;
	size_t i;

	if (!what)
		return;
	if (strcmp(what, STORE_EVENT_RELEASED) == 0) {
		f->released = true;
		f->failed = false;
		f->left = json_integer_value(json_object_get(detail, "left"));
	} else if (strcmp(what, STORE_EVENT_FAILED) == 0) {
		f->failed = true;
	} else if (strcmp(what, STORE_EVENT_BEGIN) == 0) {
		json_object_clear(f->before);   /* each attempt by itself: without a dot of its own it changes nothing */
	} else if (strcmp(what, STORE_EVENT_DOT) != 0) {
		return;
	}
	json_array_foreach(json_object_get(detail, "rcpt"), i, address) {
		if (json_is_string(address))
			fold_rcpt(f, what, json_string_value(address));
	}
}

/* All events, in order. false: no memory. */
static bool fold_all(struct fold *f, const json_t *events)
{
	json_t *event;
	size_t i;

	*f = (struct fold){ .rcpt = json_object(), .before = json_object() };
	if (!f->rcpt || !f->before)
		return false;
	json_array_foreach(events, i, event) {
		fold_event(f, event);
	}
	return true;
}

static void fold_release(struct fold *f)
{
	json_decref(f->rcpt);
	json_decref(f->before);
}

/* Without memory nothing good is said. */
enum store_state store_events_state(const json_t *events, const char *address)
{
	enum store_state state = STORE_STATE_PERHAPS;
	struct fold f;

	if (fold_all(&f, events)) {
		if (address)
			state = rcpt_state(f.rcpt, address);
		else if (f.perhaps > 0)
			state = STORE_STATE_PERHAPS;
		else if (f.released)
			state = f.left > 0 ? STORE_STATE_PARTLY : STORE_STATE_RELEASED;
		else
			state = f.failed ? STORE_STATE_FAILED : STORE_STATE_KEPT;
	}
	fold_release(&f);
	return state;
}

json_t *store_events_recipients(const json_t *events)
{
	json_t *out = NULL;
	struct fold f;

	if (fold_all(&f, events))
		out = json_incref(f.rcpt);
	fold_release(&f);
	return out;
}

json_t *store_event_address(const json_t *envelope_rcpt)
{
	const char *b64 = json_string_value(json_object_get(envelope_rcpt, "address_b64"));
	const char *address = json_string_value(json_object_get(envelope_rcpt, "address"));

	if (b64)
		return json_sprintf("base64:%s", b64);
	return address ? json_string(address) : NULL;
}

int store_event_lock(int dir_fd, const char *id, bool wait)
{
	AUTO(fd) int day = day_open(dir_fd, id);
	char name[NAME_MAX_BYTES];
	struct stat st;
	int fd, rc = 0;

	if (day < 0)
		return day;
	snprintf(name, sizeof(name), "%s.eml", id);
	fd = openat(day, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	while ((rc = flock(fd, LOCK_EX | (wait ? 0 : LOCK_NB))) < 0 && errno == EINTR)
		;
	if (rc < 0)
		rc = errno == EWOULDBLOCK ? -EWOULDBLOCK : -errno;
	else if (fstat(fd, &st) < 0 || st.st_nlink == 0)
		rc = -ENOENT;           /* deleted while we waited */
	if (rc < 0) {
		close(fd);
		return rc;
	}
	return fd;
}
