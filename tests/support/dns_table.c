#include "tests/support/dns_table.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { BUCKETS = 1024, FAIL_TIMEOUT = -1, FAIL_SERVFAIL = -2, FAIL_BOGUS = -3, NOT_SECURE = -4 };

struct record {
	int type;               /* a dns_type, or FAIL_*: of fails */
	int fails;              /* 0: every type */
	uint8_t *data;
	size_t len;
	struct record *next;
};

struct name {
	char *text;             /* lower-case, no final dot */
	struct record *records, **last;
	struct name *next;      /* in its bucket */
};

struct dns_table {
	struct dns dns;
	struct name *bucket[BUCKETS];
	struct dns_question *asked;
	size_t asked_count, asked_cap;
	struct table_lookup *waiting;
	size_t alive;
	int later_ms;
	bool hold, secure;
	uint32_t ttl_s;
};

struct table_lookup {
	struct dns_lookup pub;
	struct dns_table *table;
	char *name;
	enum dns_type type;
	char *canon;
	struct dns_rr rr[DNS_RR_MAX];
	struct event *timer;
	struct table_lookup *next, **prev;      /* while waiting; prev NULL otherwise */
};

static void *must(void *p)
{
	assert(p);
	return p;
}

/* ---- the table ---- */

static char *name_key(const char *name)
{
	char *key = must(strdup(name));
	size_t n = strlen(key);

	if (n > 0 && key[n - 1] == '.')
		key[n - 1] = '\0';
	for (char *p = key; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	return key;
}

static struct name **name_slot(struct dns_table *t, const char *key)
{
	unsigned h = 5381;
	struct name **p;

	for (const char *s = key; *s; s++)
		h = h * 33 + (unsigned char)*s;
	for (p = &t->bucket[h % BUCKETS]; *p; p = &(*p)->next)
		if (strcmp((*p)->text, key) == 0)
			break;
	return p;
}

static struct name *name_find(struct dns_table *t, const char *key)
{
	return *name_slot(t, key);
}

/* The parent's text, or NULL at the top. An escaped dot is part of a label. */
static const char *name_parent(const char *key)
{
	for (const char *p = key; *p; p++) {
		if (*p == '\\' && p[1])
			p++;
		else if (*p == '.')
			return p + 1;
	}
	return NULL;
}

static struct name *name_add(struct dns_table *t, const char *name)
{
	char *key = name_key(name);
	struct name *found = NULL;

	for (const char *s = key; s; s = name_parent(s)) {      /* all above it exist too */
		struct name **slot = name_slot(t, s), *n = *slot;

		if (!n) {
			n = *slot = must(calloc(1, sizeof(*n)));
			n->text = must(strdup(s));
			n->last = &n->records;
		}
		if (!found)
			found = n;
	}
	free(key);
	return found;
}

static void record_add(struct dns_table *t, const char *name, int type, int fails, const void *data, size_t len)
{
	struct name *n = name_add(t, name);
	struct record *r = must(calloc(1, sizeof(*r)));

	r->type = type;
	r->fails = fails;
	r->len = len;
	r->data = must(malloc(len ? len : 1));
	if (len)
		memcpy(r->data, data, len);
	*n->last = r;
	n->last = &r->next;
}

static void records_free(struct name *n)
{
	while (n->records) {
		struct record *r = n->records;

		n->records = r->next;
		free(r->data);
		free(r);
	}
	n->last = &n->records;
}

/* ---- records from text ---- */

static int type_number(const char *type)
{
	static const struct { const char *name; int type; } types[] = {
		{ "A", DNS_A }, { "NS", DNS_NS }, { "CNAME", DNS_CNAME }, { "SOA", DNS_SOA }, { "PTR", DNS_PTR },
		{ "MX", DNS_MX }, { "TXT", DNS_TXT }, { "AAAA", DNS_AAAA }, { "TLSA", DNS_TLSA },
	};

	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++)
		if (strcasecmp(types[i].name, type) == 0)
			return types[i].type;
	if (strncasecmp(type, "TYPE", 4) == 0)
		return atoi(type + 4);
	return 0;
}

static size_t name_to_wire(const char *text, uint8_t *out)
{
	char *copy = must(strdup(text));
	size_t n = strlen(copy);
	int len;

	if (n > 0 && copy[n - 1] == '.')
		copy[--n] = '\0';
	if (n == 0) {
		out[0] = 0;
		len = 1;
	} else {
		len = dns_name_wire(copy, out);
	}
	free(copy);
	assert(len > 0 && "a domain name");
	return (size_t)len;
}

/* Strings in quotes, with \" \\ \DDD inside. */
static size_t txt_quoted(const char *s, uint8_t *out)
{
	size_t n = 0;

	while (*(s += strspn(s, " ")) == '"') {
		size_t start = n++;

		for (s++; *s != '"'; s++) {
			assert(*s && "a closing quote");
			if (*s != '\\') {
				out[n++] = (uint8_t)*s;
			} else if (isdigit((unsigned char)s[1])) {
				out[n++] = (uint8_t)((s[1] - '0') * 100 + (s[2] - '0') * 10 + (s[3] - '0'));
				s += 3;
			} else {
				out[n++] = (uint8_t)*++s;
			}
		}
		assert(n - start - 1 <= 255 && "a string of at most 255 bytes");
		out[start] = (uint8_t)(n - start - 1);
		s++;
	}
	assert(*s == '\0' && "nothing but quoted strings");
	return n;
}

static size_t txt_plain(const char *s, uint8_t *out)
{
	size_t n = 0, left = strlen(s);

	do {
		size_t cut = left < 255 ? left : 255;

		out[n++] = (uint8_t)cut;
		memcpy(out + n, s, cut);
		n += cut;
		s += cut;
		left -= cut;
	} while (left > 0);
	return n;
}

static size_t hex_to_wire(const char *s, uint8_t *out)
{
	size_t n = 0;
	unsigned byte;

	for (; sscanf(s, " %2x", &byte) == 1; s += strspn(s, " ") + 2)
		out[n++] = (uint8_t)byte;
	return n;
}

static size_t data_to_wire(int type, bool generic, const char *data, uint8_t *out)
{
	char exchange[DNS_NAME_MAX];
	unsigned preference;

	if (generic)
		return hex_to_wire(data, out);
	switch (type) {
	case DNS_A:
		assert(inet_pton(AF_INET, data, out) == 1);
		return 4;
	case DNS_AAAA:
		assert(inet_pton(AF_INET6, data, out) == 1);
		return 16;
	case DNS_MX:
		assert(sscanf(data, "%u %1023s", &preference, exchange) == 2);
		out[0] = (uint8_t)(preference >> 8);
		out[1] = (uint8_t)preference;
		return 2 + name_to_wire(exchange, out + 2);
	case DNS_TXT:
		return *data == '"' ? txt_quoted(data, out) : txt_plain(data, out);
	case DNS_NS:
	case DNS_CNAME:
	case DNS_PTR:
		return name_to_wire(data, out);
	default:
		return hex_to_wire(data, out);
	}
}

void dns_table_add(struct dns_table *t, const char *name, const char *type, const char *data)
{
	static const char *const fails[] = { "TIMEOUT", "SERVFAIL", "BOGUS", "INSECURE" };
	uint8_t *wire;
	int number = type_number(type);

	if (strcasecmp(type, "NODATA") == 0) {
		name_add(t, name);
		return;
	}
	for (int i = 0; i < 4; i++) {
		if (strcasecmp(type, fails[i]) == 0) {
			assert((!*data || type_number(data)) && "a type, or none");
			record_add(t, name, -1 - i, type_number(data), NULL, 0);
			return;
		}
	}
	assert(number > 0 && "a type");
	wire = must(malloc(2 * strlen(data) + DNS_WIRE_MAX + 32));
	record_add(t, name, number, 0, wire, data_to_wire(number, strncasecmp(type, "TYPE", 4) == 0, data, wire));
	free(wire);
}

void dns_table_add_rdata(struct dns_table *t, const char *name, enum dns_type type, const void *data, size_t len)
{
	record_add(t, name, (int)type, 0, data, len);
}

void dns_table_zone(struct dns_table *t, const char *lines)
{
	while (*lines) {
		size_t len = strcspn(lines, "\n");
		char *line = must(strndup(lines, len)), *name, *type, *data;

		lines += len + (lines[len] == '\n');
		name = line + strspn(line, " \t");
		if (*name && *name != '#') {
			type = name + strcspn(name, " \t");
			assert(*type && "name TYPE data");
			*type++ = '\0';
			type += strspn(type, " \t");
			data = type + strcspn(type, " \t");
			if (*data)
				*data++ = '\0';
			dns_table_add(t, name, type, data + strspn(data, " \t"));
		}
		free(line);
	}
}

void dns_table_remove(struct dns_table *t, const char *name)
{
	char *key = name_key(name);
	struct name **slot = name_slot(t, key), *n = *slot;

	if (n) {
		*slot = n->next;
		records_free(n);
		free(n->text);
		free(n);
	}
	free(key);
}

void dns_table_clear(struct dns_table *t)
{
	for (size_t i = 0; i < BUCKETS; i++) {
		while (t->bucket[i]) {
			struct name *n = t->bucket[i];

			t->bucket[i] = n->next;
			records_free(n);
			free(n->text);
			free(n);
		}
	}
	dns_table_forget(t);
}

/* ---- answering ---- */

/* The name itself, or the wildcard of its closest encloser (RFC 4592). */
static struct name *name_match(struct dns_table *t, const char *key)
{
	struct name *n = name_find(t, key);

	for (const char *up = name_parent(key); !n && up; up = name_parent(up)) {
		char *star = must(malloc(strlen(up) + 3));

		sprintf(star, "*.%s", up);
		n = name_find(t, star);
		free(star);
		if (name_find(t, up))
			break;
	}
	return n;
}

static void fail(struct table_lookup *l, int how)
{
	l->pub.answer.status = DNS_TEMPFAIL;
	l->pub.answer.bogus = how == FAIL_BOGUS;
	l->pub.answer.why = how == FAIL_TIMEOUT ? "timeout" : how == FAIL_BOGUS ? "bogus: signature expired" : "SERVFAIL";
}

/* Fills in the answer from n; or returns the name to go on with. */
static char *answer_from(struct table_lookup *l, const struct name *n)
{
	const struct record *failure = NULL, *cname = NULL;
	struct dns_answer *a = &l->pub.answer;
	char target[DNS_NAME_MAX];

	for (const struct record *r = n->records; r; r = r->next) {
		if (r->type == (int)l->type && a->count < DNS_RR_MAX)
			l->rr[a->count++] = (struct dns_rr){ .data = r->data, .len = r->len };
		else if (r->type == DNS_CNAME)
			cname = r;
		else if (r->type == NOT_SECURE)
			a->secure = false;
		else if (r->type < 0 && (r->fails == 0 || r->fails == (int)l->type))
			failure = r;
	}
	if (a->count > 0) {
		a->status = DNS_OK;
		a->rr = l->rr;
	} else if (cname) {
		struct dns_rr rr = { .data = cname->data, .len = cname->len };

		assert(dns_name(&rr, 0, target) == 0);
		return name_key(target);
	} else if (failure) {
		fail(l, failure->type);
	} else {
		a->status = DNS_NODATA;
		a->why = "no such record";
	}
	return NULL;
}

static void answer_fill(struct table_lookup *l)
{
	struct dns_table *t = l->table;
	char *key = name_key(l->name);

	free(l->canon);
	l->canon = NULL;
	l->pub.answer = (struct dns_answer){ .status = DNS_NODATA, .why = "", .secure = t->secure, .ttl_s = t->ttl_s };
	for (int links = 0; key; links++) {
		struct name *n = name_match(t, key);
		char *next = NULL;

		if (links > DNS_TABLE_CHAIN) {
			fail(l, FAIL_SERVFAIL);
		} else if (!n) {
			l->pub.answer.status = DNS_NXDOMAIN;
			l->pub.answer.why = "no such domain";
		} else {
			next = answer_from(l, n);
		}
		if (links > 0 && l->pub.answer.status == DNS_OK)
			l->pub.answer.canon = l->canon = key;
		else
			free(key);
		key = next;
	}
	if (l->pub.answer.status == DNS_TEMPFAIL)
		l->pub.answer.secure = false;
}

static void unlink_waiting(struct table_lookup *l)
{
	if (!l->prev)
		return;
	*l->prev = l->next;
	if (l->next)
		l->next->prev = l->prev;
	l->prev = NULL;
}

static void answer_give(struct table_lookup *l)
{
	unlink_waiting(l);
	answer_fill(l);
	dns_lookup_resolve(&l->pub);
}

static void later_cb(evutil_socket_t fd, short what, void *arg)
{
	answer_give(arg);
}

static void answer_later(struct table_lookup *l, int timeout_ms)
{
	struct timeval tv;
	int ms = l->table->later_ms;

	answer_fill(l);
	if (l->pub.answer.status == DNS_TEMPFAIL && strcmp(l->pub.answer.why, "timeout") == 0)
		ms = timeout_ms;
	tv = (struct timeval){ .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };
	l->timer = must(event_new(loop_base(), -1, 0, later_cb, l));
	event_add(l->timer, &tv);
}

static void table_drop(struct dns_lookup *pub)
{
	struct table_lookup *l = (struct table_lookup *)pub;

	unlink_waiting(l);
	if (l->timer)
		event_free(l->timer);
	l->table->alive--;
	free(l->name);
	free(l->canon);
	free(l);
}

static int table_start(struct dns *d, const char *name, enum dns_type type, int timeout_ms, struct dns_lookup **out);

static const struct dns_ops table_ops = { .start = table_start, .drop = table_drop };

static int table_start(struct dns *d, const char *name, enum dns_type type, int timeout_ms, struct dns_lookup **out)
{
	struct dns_table *t = (struct dns_table *)d;
	struct table_lookup *l = must(calloc(1, sizeof(*l)));

	if (t->asked_count == t->asked_cap) {
		t->asked_cap = t->asked_cap ? 2 * t->asked_cap : 64;
		t->asked = must(realloc(t->asked, t->asked_cap * sizeof(*t->asked)));
	}
	t->asked[t->asked_count++] = (struct dns_question){ must(strdup(name)), type, timeout_ms };
	l->pub.ops = &table_ops;
	l->table = t;
	l->name = must(strdup(name));
	l->type = type;
	t->alive++;
	*out = &l->pub;
	if (!t->hold && t->later_ms < 0) {
		answer_give(l);
		return 0;
	}
	l->prev = &t->waiting;
	while (*l->prev)
		l->prev = &(*l->prev)->next;    /* in order */
	*l->prev = l;
	if (!t->hold)
		answer_later(l, timeout_ms);
	return 0;
}

/* ---- around it ---- */

struct dns_table *dns_table_new(void)
{
	struct dns_table *t = must(calloc(1, sizeof(*t)));

	t->dns.ops = &table_ops;
	t->dns.timeout_ms = 5000;
	t->ttl_s = 300;
	t->later_ms = -1;
	return t;
}

void dns_table_free(struct dns_table *t)
{
	if (!t)
		return;
	assert(t->alive == 0 && "every lookup dropped");
	dns_table_clear(t);
	free(t->asked);
	free(t);
}

struct dns *dns_table_dns(struct dns_table *t)
{
	return &t->dns;
}

void dns_table_secure(struct dns_table *t, bool secure)
{
	t->secure = secure;
}

void dns_table_ttl(struct dns_table *t, uint32_t ttl_s)
{
	t->ttl_s = ttl_s;
}

size_t dns_table_asked(const struct dns_table *t)
{
	return t->asked_count;
}

const struct dns_question *dns_table_question(const struct dns_table *t, size_t i)
{
	assert(i < t->asked_count);
	return &t->asked[i];
}

size_t dns_table_count(const struct dns_table *t, const char *name, int type)
{
	size_t n = 0;

	for (size_t i = 0; i < t->asked_count; i++)
		if (strcasecmp(t->asked[i].name, name) == 0 && (type == 0 || t->asked[i].type == (enum dns_type)type))
			n++;
	return n;
}

void dns_table_forget(struct dns_table *t)
{
	for (size_t i = 0; i < t->asked_count; i++)
		free(t->asked[i].name);
	t->asked_count = 0;
}

void dns_table_hold(struct dns_table *t, bool hold)
{
	t->hold = hold;
}

size_t dns_table_answer(struct dns_table *t, const char *name, int type)
{
	struct table_lookup *batch[256];
	size_t n = 0;

	/* Those that are held now: an answer may start lookups, and drop held ones. */
	for (struct table_lookup *l = t->waiting; l && n < 256; l = l->next)
		if ((!name || strcasecmp(l->name, name) == 0) && (type == 0 || l->type == (enum dns_type)type))
			batch[n++] = l;
	for (size_t i = 0; i < n; i++) {
		struct table_lookup *l = t->waiting;

		while (l && l != batch[i])
			l = l->next;
		if (l)
			answer_give(l);
	}
	return n;
}

size_t dns_table_waiting(const struct dns_table *t)
{
	size_t n = 0;

	for (const struct table_lookup *l = t->waiting; l; l = l->next)
		n++;
	return n;
}

void dns_table_later(struct dns_table *t, int ms)
{
	t->later_ms = ms;
}
