#include <errno.h>
#include <ldap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/task.h"
#include "directory/directory_impl.h"

enum {
	REFRESH_MS = 10 * 60 * 1000,    /* all of it */
	STEP_TIMEOUTS = 6,              /* a page may take so many times as long as one entry */
	IDLE_MS = 60 * 1000,            /* a line is kept; Active Directory closes them after 15 minutes */
	RESTS_MAX = 10000,              /* attributes with more values than come at once */
	VALUES_MAX = 10000,             /* of one attribute, in one piece; */
	ADDRESSES_MAX = 2 * VALUES_MAX, /* of one entry */
	DN_BYTES = 4096,
};

static const char restricted_attribute[] = "msExchRequireAuthToSendTo";

/* ---- lines ---- */

void directory_fetch_tidy(struct directory *d, bool all)
{
	for (int i = 0; i < DIRECTORY_LINES; i++) {
		if (!d->idle[i] || (!all && clock_ms() - d->idle_ms[i] < IDLE_MS && !directory_line_dead(d->idle[i])))
			continue;
		directory_line_free(d->idle[i]);
		d->idle[i] = NULL;
	}
}

static struct directory_line *idle_take(struct directory *d)
{
	directory_fetch_tidy(d, false);
	for (int i = 0; i < DIRECTORY_LINES; i++) {
		struct directory_line *l = d->idle[i];

		d->idle[i] = NULL;
		if (l)
			return l;
	}
	return NULL;
}

static void idle_give(struct directory *d, struct directory_line *l)
{
	for (int i = 0; i < DIRECTORY_LINES && l && !directory_line_dead(l); i++)
		if (!d->idle[i]) {
			d->idle[i] = l;
			d->idle_ms[i] = clock_ms();
			return;
		}
	directory_line_free(l);
}

/* The server that answered last, then the others; each has a share of the time. may wait */
static int line_new(struct directory_service *s, struct directory *d, int64_t deadline_ms, struct directory_line **out, char *why)
{
	size_t n = d->conf->server_count, first = d->server;
	int rc = -EHOSTUNREACH;

	for (size_t i = 0; i < n && rc < 0; i++) {
		size_t which = (first + i) % n;
		int64_t now_ms = clock_ms(), left_ms = deadline_ms - now_ms;

		if (left_ms <= 0)
			return rc;
		rc = directory_line_open(d->conf, &d->conf->server[which], s->dns, d->ctx, d->password, now_ms + left_ms / (int64_t)(n - i), out, why);
		if (rc == -ECANCELED)
			return rc;
		if (rc == 0)
			d->server = which;
	}
	return rc;
}

/* ---- what is found ---- */

struct rest {
	char *dn;
	const char *attribute;          /* of the configuration */
	long from;
};

struct finding {
	const struct directory_conf *conf;
	struct directory_table *table;
	const struct directory_forms *forms;    /* looked for; NULL: all */
	bool here, found;                       /* in the present entry, in any */
	size_t entries;
	unsigned flags, found_flags;
	char (*address)[DIRECTORY_ADDRESS_MAX]; /* of the present entry */
	size_t count, room;
	const char *dn;
	struct rest *rest;
	size_t rest_count;
	char elsewhere[DIRECTORY_WHY_MAX];
};

static int address_note(struct finding *f, const char *address)
{
	if (f->count == ADDRESSES_MAX)
		return -EFBIG;
	if (f->count == f->room) {
		size_t room = f->room ? 2 * f->room : 16;
		void *more = reallocarray(f->address, room, sizeof(*f->address));

		if (!more)
			return -ENOMEM;
		f->address = more;
		f->room = room;
	}
	memcpy(f->address[f->count++], address, strlen(address) + 1);
	for (size_t i = 0; f->forms && i < f->forms->count; i++)
		f->here |= strcmp(f->forms->text[i], address) == 0;
	return 0;
}

static int rest_note(struct finding *f, const char *attribute, long from)
{
	struct rest *more;

	if (f->rest_count == RESTS_MAX || strlen(f->dn) >= DN_BYTES)
		return -EFBIG;
	more = reallocarray(f->rest, f->rest_count + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	f->rest = more;
	more[f->rest_count] = (struct rest){ .dn = strdup(f->dn), .attribute = attribute, .from = from };
	if (!more[f->rest_count].dn)
		return -ENOMEM;
	f->rest_count++;
	return 0;
}

static int on_entry(void *arg, const char *dn)
{
	struct finding *f = arg;

	f->count = 0;
	f->flags = 0;
	f->here = false;
	f->entries++;
	f->dn = dn;
	return 0;
}

static bool is_true(struct berval *const *values)
{
	return values[0] && values[0]->bv_len == 4 && strncasecmp(values[0]->bv_val, "TRUE", 4) == 0;
}

static int on_values(void *arg, const char *name, struct berval *const *values)
{
	struct finding *f = arg;
	char address[DIRECTORY_ADDRESS_MAX];
	long next;

	if (directory_attribute_is(name, restricted_attribute, &next)) {
		f->flags |= is_true(values) ? DIRECTORY_RESTRICTED : 0;
		return 0;
	}
	for (size_t a = 0; a < f->conf->attribute_count; a++) {
		int rc = 0;

		if (!directory_attribute_is(name, f->conf->attribute[a], &next))
			continue;
		for (size_t i = 0; rc == 0 && values[i]; i++)
			if (i == VALUES_MAX)
				rc = -EFBIG;
			else if (directory_value(f->conf->schema, values[i]->bv_val, values[i]->bv_len, address) == 0)
				rc = address_note(f, address);
		/* Without a value there is no progress: a server that says so would be asked for ever. */
		if (rc == 0 && next > 0 && values[0])
			rc = rest_note(f, f->conf->attribute[a], next);
		return rc;
	}
	return 0;
}

static int on_end(void *arg)
{
	struct finding *f = arg;
	int rc = 0;

	for (size_t i = 0; rc >= 0 && i < f->count; i++)
		rc = directory_table_add(f->table, f->address[i], f->flags);
	/* Of two who have the same one, he who takes mail of anybody counts. */
	if (f->here)
		f->found_flags = f->found ? f->found_flags & f->flags : f->flags;
	f->found |= f->here;
	return rc < 0 ? rc : 0;
}

/*
 * Active Directory refers to its own partitions, which hold no recipients, in every answer for a whole domain: CN=Configuration, DC=DomainDnsZones,
 * DC=ForestDnsZones. Any other name is a domain or a part of one.
 */
static void on_elsewhere(void *arg, const char *url)
{
	static const char *const none[] = { "CN=Configuration,", "DC=DomainDnsZones,", "DC=ForestDnsZones," };
	struct finding *f = arg;
	const char *host = strstr(url, "://"), *name = host ? strchr(host + 3, '/') : NULL;

	for (size_t i = 0; name && i < sizeof(none) / sizeof(*none); i++)
		if (strncasecmp(name + 1, none[i], strlen(none[i])) == 0)
			return;
	if (!f->elsewhere[0])
		snprintf(f->elsewhere, sizeof(f->elsewhere), "%s", url);
}

/* Another server is asked the next time: this one may take connections, and answer nothing or nonsense. */
static void server_leave(struct directory *d)
{
	directory_fetch_tidy(d, true);
	d->server = (d->server + 1) % d->conf->server_count;
}

static void finding_release(struct finding *f)
{
	for (size_t i = 0; i < f->rest_count; i++)
		free(f->rest[i].dn);
	free(f->rest);
	free(f->address);
}

/* Values that did not come at once: each piece may leave another rest, at the end of the list. may wait */
static int rests_fetch(struct directory_line *l, struct finding *f, int step_ms, int64_t deadline_ms, char *why)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < f->rest_count; i++) {
		const struct directory_visit visit = { .entry = on_entry, .values = on_values, .end = on_end, .arg = f };
		char name[160], *wanted[] = { name, (char *)restricted_attribute, NULL };

		snprintf(name, sizeof(name), "%s;range=%ld-*", f->rest[i].attribute, f->rest[i].from);
		rc = directory_line_search(l, f->rest[i].dn, true, "(objectClass=*)", wanted, 0, step_ms, deadline_ms, &visit, why);
		if (rc == -ENOENT)
			rc = 0;         /* gone meanwhile */
	}
	return rc;
}

/* ---- the two questions ---- */

int directory_fetch_all(struct directory_service *s, struct directory *d, struct directory_table *out, char *why)
{
	struct finding f = { .conf = d->conf, .table = out };
	const struct directory_visit visit = { .entry = on_entry, .values = on_values, .end = on_end, .elsewhere = on_elsewhere, .arg = &f };
	int step_ms = STEP_TIMEOUTS * d->conf->timeout_ms;
	int64_t now_ms = clock_ms();
	AUTO(directory_line) struct directory_line *l = NULL;
	int rc = line_new(s, d, now_ms + (int64_t)d->conf->timeout_ms * (int64_t)d->conf->server_count, &l, why);

	if (rc == 0)
		rc = directory_line_search(l, d->conf->base, false, d->conf->filter, d->wanted, DIRECTORY_PAGE, step_ms, now_ms + REFRESH_MS, &visit, why);
	if (rc == 0)
		rc = rests_fetch(l, &f, step_ms, now_ms + REFRESH_MS, why);
	if (rc < 0 && l && rc != -ECANCELED)
		server_leave(d);
	memcpy(d->elsewhere, f.elsewhere, sizeof(d->elsewhere));
	finding_release(&f);
	return rc;
}

int directory_fetch_one(struct directory_service *s, struct directory *d, const struct directory_forms *forms, unsigned *flags, char *why)
{
	struct directory_table found = { .text = NULL };
	struct finding f = { .conf = d->conf, .table = &found, .forms = forms };
	const struct directory_visit visit = { .entry = on_entry, .values = on_values, .end = on_end, .arg = &f };
	AUTO(buf) struct buf filter = BUF_INIT(64 * 1024);
	int64_t deadline_ms = clock_ms() + d->conf->timeout_ms;
	struct directory_line *l = idle_take(d);
	bool used = l;
	int rc = directory_filter(d->conf, forms, &filter);

	if (rc < 0) {
		idle_give(d, l);
		return rc;
	}
	for (;;) {
		rc = l ? 0 : line_new(s, d, deadline_ms, &l, why);
		if (rc == 0)
			rc = directory_line_search(l, d->conf->base, false, buf_str(&filter), d->wanted, 0, d->conf->timeout_ms, deadline_ms, &visit, why);
		if (!used || rc != -EPIPE)
			break;
		directory_line_free(l); /* it was idle, and the server did not wait: once more, with one that is new */
		finding_release(&f);
		directory_table_release(&found);
		f = (struct finding){ .conf = d->conf, .table = &found, .forms = forms };
		l = NULL;
		used = false;
	}
	/* Whoever has it has more addresses than come at once: among those that came, or the rest, or the server would not have found it. */
	if (rc == 0 && !f.found && f.rest_count > 0)
		rc = rests_fetch(l, &f, d->conf->timeout_ms, deadline_ms, why);
	finding_release(&f);
	/* Half an answer is none. */
	if (rc == 0 && f.found)
		(void)directory_table_merge(&d->table, &found); /* without memory: asked again the next time */
	if (rc == 0 && f.found && d->refreshing)
		(void)directory_table_merge(&d->late, &found);
	directory_table_release(&found);
	if (rc == 0)
		idle_give(d, l);
	else if (l && rc != -ECANCELED)
		server_leave(d);
	if (rc < 0)
		directory_line_free(l);
	if (rc == -ENOENT)
		rc = -EIO;              /* the base is not there: that says nothing about a recipient */
	*flags = f.found_flags;
	/* A server compares as it sees fit: whom it finds is somebody, even if none of his addresses reads like this one. */
	return rc < 0 ? rc : f.found || f.entries > 0;
}
