#include "policy/history_key.h"

#include <string.h>
#include <strings.h>

enum kind { SENDER = 1, SENDER_DOMAIN, RCPT, RCPT_DOMAIN, CLIENT, MESSAGE_ID, CODE, SESSION, VERDICT, RULE, QUARANTINE };

enum { AUTHORS_MAX = 4 };       /* of From, that are found, too */

static unsigned char lower(char c)
{
	return (unsigned char)(c >= 'A' && c <= 'Z' ? c | 32 : c);
}

/* FNV-1a, then mixed (the finalizer of MurmurHash3), since the high bits are what is kept. */
static uint64_t key_of(enum kind kind, const char *p, size_t len)
{
	uint64_t h = (14695981039346656037u ^ kind) * 1099511628211u;

	for (size_t i = 0; i < len; i++)
		h = (h ^ lower(p[i])) * 1099511628211u;
	h = (h ^ h >> 33) * 0xff51afd7ed558ccdu;
	h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53u;
	return (h ^ h >> 33) >> 16;
}


static const char *domain_of(const char *address)
{
	const char *at = strrchr(address, '@');

	return at ? at + 1 : NULL;
}

/* Without white space and angle brackets around it. */
static const char *bare_id(const char *id, size_t *len)
{
	size_t n = strlen(id);

	while (n && strchr(" \t\r\n", *id))
		id++, n--;
	while (n && strchr(" \t\r\n", id[n - 1]))
		n--;
	if (n >= 2 && id[0] == '<' && id[n - 1] == '>')
		id++, n -= 2;
	*len = n;
	return id;
}

struct list {
	uint64_t *keys;
	size_t count;
};

static void add(struct list *l, enum kind kind, const char *p, size_t len)
{
	uint64_t key = key_of(kind, p, len);

	/* Recipients of one domain stand beside each other, as a rule. */
	for (size_t i = l->count; i > 0 && l->count - i < 8; i--)
		if (l->keys[i - 1] == key)
			return;
	if (l->count < HISTORY_KEYS_MAX)
		l->keys[l->count++] = key;
}

static void add_text(struct list *l, enum kind kind, const char *s)
{
	if (s)
		add(l, kind, s, strlen(s));
}

static void add_address(struct list *l, enum kind kind, enum kind domain_kind, const char *s)
{
	add_text(l, kind, s);
	add_text(l, domain_kind, domain_of(s));
}

static const struct fact *authors(const struct history_record *r)
{
	int id = fact_find("from.addresses", strlen("from.addresses"));

	for (int i = 0; id != FACT_NONE && i < 3 && r->facts[i]; i++) {
		const struct fact *f = facts_get(r->facts[i], id);

		if (f && f->state == FACT_KNOWN)
			return f;
	}
	return NULL;
}

static size_t session_len(const char *code)
{
	return strcspn(code, "-");
}

size_t history_keys(const struct history_record *r, uint64_t *keys)
{
	struct list l = { keys, 0 };
	const struct fact *from = authors(r);
	const char *id;
	size_t len;

	add_text(&l, CLIENT, r->client);
	add_text(&l, CODE, r->code);
	add(&l, SESSION, r->code, session_len(r->code));
	add_text(&l, VERDICT, r->verdict);
	add_text(&l, RULE, r->rule);
	add_text(&l, QUARANTINE, r->quarantine_id);
	if (r->message_id) {
		id = bare_id(r->message_id, &len);
		add(&l, MESSAGE_ID, id, len);
	}
	if (r->from)
		add_address(&l, SENDER, SENDER_DOMAIN, r->from);
	for (size_t i = 0; from && i < from->count && i < AUTHORS_MAX; i++)
		add_address(&l, SENDER, SENDER_DOMAIN, from->text[i]);
	for (size_t i = 0; i < r->rcpt_count; i++)
		add_address(&l, RCPT, RCPT_DOMAIN, r->rcpt[i]);
	return l.count;
}

static void ask_address(struct list *l, enum kind kind, enum kind domain_kind, const char *s)
{
	if (s && s[0] == '@')
		add_text(l, domain_kind, s + 1);
	else
		add_text(l, kind, s);
}

size_t history_query_keys(const struct history_query *q, uint64_t keys[HISTORY_QUERY_KEYS_MAX])
{
	struct list l = { keys, 0 };
	const char *id;
	size_t len;

	ask_address(&l, SENDER, SENDER_DOMAIN, q->from);
	ask_address(&l, RCPT, RCPT_DOMAIN, q->to);
	add_text(&l, CLIENT, q->client);
	if (q->message_id) {
		id = bare_id(q->message_id, &len);
		add(&l, MESSAGE_ID, id, len);
	}
	if (q->code)
		add_text(&l, strchr(q->code, '-') ? CODE : SESSION, q->code);
	add_text(&l, VERDICT, q->verdict);
	add_text(&l, RULE, q->rule);
	add_text(&l, QUARANTINE, q->quarantine_id);
	return l.count;
}

static bool same(const char *asked, const char *has)
{
	return !asked || (has && strcasecmp(asked, has) == 0);
}

static bool same_address(const char *asked, const char *has)
{
	const char *domain;

	if (asked[0] != '@')
		return strcasecmp(asked, has) == 0;
	domain = domain_of(has);
	return domain && strcasecmp(asked + 1, domain) == 0;
}

static bool from_matches(const char *asked, const struct history_record *r)
{
	const struct fact *from;

	if (!asked || (r->from && same_address(asked, r->from)))
		return true;
	from = authors(r);
	for (size_t i = 0; from && i < from->count && i < AUTHORS_MAX; i++)
		if (same_address(asked, from->text[i]))
			return true;
	return false;
}

static bool to_matches(const char *asked, const struct history_record *r)
{
	for (size_t i = 0; asked && i < r->rcpt_count; i++)
		if (same_address(asked, r->rcpt[i]))
			return true;
	return !asked;
}

static bool id_matches(const char *asked, const char *has)
{
	size_t n, m;

	if (!asked || !has)
		return !asked;
	asked = bare_id(asked, &n);
	has = bare_id(has, &m);
	return n == m && strncasecmp(asked, has, n) == 0;
}

static bool code_matches(const char *asked, const char *has)
{
	if (!asked || strchr(asked, '-'))
		return same(asked, has);
	return strlen(asked) == session_len(has) && strncasecmp(asked, has, strlen(asked)) == 0;
}

bool history_matches(const struct history_query *q, const struct history_record *r)
{
	return (!q->since_ms || r->at_ms >= q->since_ms) && (!q->until_ms || r->at_ms < q->until_ms) && same(q->client, r->client) &&
	       same(q->verdict, r->verdict) && same(q->rule, r->rule) && same(q->quarantine_id, r->quarantine_id) &&
	       code_matches(q->code, r->code) && id_matches(q->message_id, r->message_id) && from_matches(q->from, r) && to_matches(q->to, r);
}
