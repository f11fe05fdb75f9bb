#include "filters/spf_eval.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "filters/spf_level.h"

enum {
	EXPANSION_MAX = 16 * 1024,      /* a domain-spec before it is cut to 253 bytes */
	EXPLANATION_MAX = 2048,
	WHY_MAX = 2048,
	RECORD_SHOWN = 1000,
	TERM_SHOWN_MAX = 120,           /* of a term's text, in words for people */
	MISS = -1, HIT = -2,            /* what a term can be, besides an enum spf_code that ends the check */
};

/* ---- answers ---- */

static const struct dns_answer *answer_of(struct dns_lookup *l)
{
	static const struct dns_answer no_memory = { .status = DNS_TEMPFAIL, .why = "no memory" };

	return l ? dns_wait(l) : &no_memory;
}

static bool is_void(const struct dns_answer *a)
{
	return a->status == DNS_NODATA || a->status == DNS_NXDOMAIN;
}

/* ---- words ---- */

static void say_path(struct buf *b, const struct spf_level *l)
{
	if (!l->parent) {
		buf_addf(b, "%s: ", l->domain);
		return;
	}
	say_path(b, l->parent);
	buf_addf(b, "%.*s: ", (int)(l->via->len < TERM_SHOWN_MAX ? l->via->len : TERM_SHOWN_MAX), l->via->text);
}

/* The last thing said stands as the result's reason. */
static void say(struct spf_level *l, const struct spf_term *t, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void say(struct spf_level *l, const struct spf_term *t, const char *fmt, ...)
{
	struct buf *b = &l->check->why;
	char *words;
	va_list ap;
	int n;

	buf_clear(b);
	say_path(b, l);
	if (t)
		buf_addf(b, "%.*s%s", (int)(t->len < TERM_SHOWN_MAX ? t->len : TERM_SHOWN_MAX), t->text, t->len > TERM_SHOWN_MAX ? "..." : "");
	va_start(ap, fmt);
	n = vasprintf(&words, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	buf_addf(b, "%s%s", t ? " " : "", words);
	free(words);
}

static int temperror(struct spf_level *l, const struct spf_term *t, const struct dns_answer *a)
{
	if (spf_remaining_ms(l->check) == 0)
		say(l, t, "could not be looked up within the check's %d ms", l->check->q->timeout_ms);
	else
		say(l, t, "could not be looked up: %s", a->why);
	return SPF_TEMPERROR;
}

/* ---- addresses and names ---- */

static bool same_network(const struct spf_eval *c, const struct spf_term *t, const struct dns_answer *a, enum dns_type type)
{
	for (size_t i = 0; i < a->count; i++)
		if (a->rr[i].len == (type == DNS_AAAA ? 16 : 4) && spf_term_same_network(t, a->rr[i].data, &c->q->client))
			return true;
	return false;
}

/* Whether host i of the PTR answer has the client's address; errors only skip it (section 5.5). may wait */
static bool ptr_valid(struct spf_eval *c, size_t i)
{
	static const struct spf_term whole = { .bits4 = 32, .bits6 = 128 };

	return c->ptr->host[i].lookup && same_network(c, &whole, answer_of(c->ptr->host[i].lookup), spf_address_type(c));
}

static bool name_below(const char *name, const char *domain, bool itself)
{
	size_t n = strlen(name), d = strlen(domain);

	if (n == d)
		return itself && strcasecmp(name, domain) == 0;
	return n > d && name[n - d - 1] == '.' && strcasecmp(name + n - d, domain) == 0;
}

/* %{p}: the domain itself, else a name below it, else any (section 7.3). may wait */
static const char *validated_name(struct spf_eval *c, const char *domain)
{
	const char *below = NULL, *any = NULL;

	if (!spf_ptr_start(c))
		return NULL;
	answer_of(c->ptr->lookup);
	spf_hosts_read(c->ptr);
	spf_hosts_ask(c->ptr, false);
	for (size_t i = 0; i < c->ptr->count; i++) {
		const char *name = c->ptr->host[i].name;

		if (!ptr_valid(c, i))
			continue;
		if (strcasecmp(name, domain) == 0)
			return name;
		if (!below && name_below(name, domain, false))
			below = name;
		if (!any)
			any = name;
	}
	return below ? below : any;
}

/* As target, and %{p} is looked up. may wait */
static const char *target_wait(struct spf_level *l, const struct spf_term *t)
{
	bool p = spf_macro_has(t->domain, t->domain_len, 'p');

	return spf_target(l, t, p ? validated_name(l->check, l->domain) : NULL);
}

/* ---- terms ---- */

static enum spf_code level_eval(struct spf_level *l, struct spf_level **last);

/* MISS when the term may ask. Section 4.6.4 */
static int spend_term(struct spf_level *l, const struct spf_term *t)
{
	if (l->check->terms >= SPF_TERMS_MAX) {
		say(l, t, "is the 11th term that asks the DNS; 10 are allowed");
		return SPF_PERMERROR;
	}
	l->check->terms++;
	if (spf_remaining_ms(l->check) > 0)
		return MISS;
	say(l, t, "was not looked up: the check's %d ms are over", l->check->q->timeout_ms);
	return SPF_TEMPERROR;
}

static int spend_void(struct spf_level *l, const struct spf_term *t)
{
	if (++l->check->voids <= SPF_VOIDS_MAX)
		return MISS;
	say(l, t, "is the third lookup without an answer; 2 are allowed");
	return SPF_PERMERROR;
}

static int address_eval(struct spf_level *l, const struct spf_term *t, struct spf_aim *aim)
{
	struct spf_eval *c = l->check;
	const struct dns_answer *a;

	if (!aim->lookup)
		spf_aim_start(l, t, aim, target_wait(l, t), false);
	a = answer_of(aim->lookup);
	if (a->status == DNS_TEMPFAIL)
		return temperror(l, t, a);
	if (is_void(a))
		return spend_void(l, t);
	if (t->kind == SPF_EXISTS)
		return a->count > 0 ? HIT : MISS;
	return same_network(c, t, a, spf_address_type(c)) ? HIT : MISS;
}

static int mx_eval(struct spf_level *l, const struct spf_term *t, struct spf_aim *aim)
{
	struct spf_eval *c = l->check;
	const struct dns_answer *a;

	if (!aim->hosts)
		spf_aim_start(l, t, aim, target_wait(l, t), true);
	a = answer_of(aim->hosts ? aim->hosts->lookup : NULL);
	if (a->status == DNS_TEMPFAIL)
		return temperror(l, t, a);
	if (is_void(a))
		return spend_void(l, t);
	assert(aim->hosts);     /* without: no memory, a temporary failure */
	spf_hosts_read(aim->hosts);
	if (aim->hosts->over) {
		say(l, t, "names more than 10 MX hosts");
		return SPF_PERMERROR;
	}
	spf_hosts_ask(aim->hosts, false);
	for (size_t i = 0; i < aim->hosts->count; i++) {
		a = answer_of(aim->hosts->host[i].lookup);
		if (a->status == DNS_TEMPFAIL)
			return temperror(l, t, a);
		if (same_network(c, t, a, spf_address_type(c)))
			return HIT;
	}
	return MISS;
}

static int ptr_eval(struct spf_level *l, const struct spf_term *t)
{
	struct spf_eval *c = l->check;
	const struct dns_answer *a;
	char *domain;
	int rc = MISS;

	if (!spf_ptr_start(c))
		return MISS;
	a = answer_of(c->ptr->lookup);
	if (is_void(a))
		return spend_void(l, t);
	spf_hosts_read(c->ptr);
	spf_hosts_ask(c->ptr, false);
	domain = strdup(target_wait(l, t));     /* a copy: while the names are waited for, records that arrive use the buffer */
	for (size_t i = 0; domain && rc == MISS && i < c->ptr->count; i++)
		if (name_below(c->ptr->host[i].name, domain, true) && ptr_valid(c, i))
			rc = HIT;
	free(domain);
	return rc;
}

static int include_eval(struct spf_level *l, const struct spf_term *t, struct spf_aim *aim)
{
	struct spf_level *last;
	enum spf_code code;

	if (!aim->level)
		spf_aim_start(l, t, aim, target_wait(l, t), false);
	if (!aim->level) {
		say(l, t, "was not looked up: no memory");
		return SPF_TEMPERROR;
	}
	code = level_eval(aim->level, &last);
	switch (code) {
	case SPF_PASS:
		return HIT;
	case SPF_NONE:                          /* section 5.2's table */
		return SPF_PERMERROR;
	case SPF_TEMPERROR:
	case SPF_PERMERROR:
		return (int)code;
	default:
		return MISS;
	}
}

static int term_eval(struct spf_level *l, size_t i)
{
	const struct spf_term *t = &l->record.term[i];
	int rc;

	switch (t->kind) {
	case SPF_ALL:
		return HIT;
	case SPF_IP4:
	case SPF_IP6:
		return spf_term_covers(t, &l->check->q->client) ? HIT : MISS;
	default:
		break;
	}
	rc = spend_term(l, t);
	if (rc != MISS)
		return rc;
	switch (t->kind) {
	case SPF_INCLUDE:
		return include_eval(l, t, &l->aim[i]);
	case SPF_MX:
		return mx_eval(l, t, &l->aim[i]);
	case SPF_PTR:
		return ptr_eval(l, t);
	default:
		return address_eval(l, t, &l->aim[i]);
	}
}

static enum spf_code qualified(char qualifier)
{
	return qualifier == '-' ? SPF_FAIL : qualifier == '~' ? SPF_SOFTFAIL : qualifier == '?' ? SPF_NEUTRAL : SPF_PASS;
}

/* The terms of one record: a result, or MISS. */
static int record_eval(struct spf_level *l)
{
	for (size_t i = 0; i < l->record.count; i++) {
		const struct spf_term *t = &l->record.term[i];
		int rc = term_eval(l, i);

		if (rc == MISS)
			continue;
		if (rc != HIT)
			return rc;
		l->matched = t;
		if (t->kind != SPF_INCLUDE)     /* there the term inside has been said */
			say(l, t, "matched");
		return (int)qualified(t->qualifier);
	}
	return MISS;
}

/* Section 6.1. The level that the redirect leads to, or NULL and the result. */
static struct spf_level *redirect_follow(struct spf_level *l, enum spf_code *code)
{
	const struct spf_term *t = &l->record.redirect;
	struct spf_aim *aim = &l->aim[l->record.count];
	int rc = spend_term(l, t);

	if (rc != MISS) {
		*code = (enum spf_code)rc;
		return NULL;
	}
	if (!aim->level)
		spf_aim_start(l, t, aim, target_wait(l, t), false);
	if (!aim->level) {
		say(l, t, "was not looked up: no memory");
		*code = SPF_TEMPERROR;
	}
	return aim->level;
}

/* check_host(). *last: the level whose record gave the result, behind redirects. may wait */
static enum spf_code level_eval(struct spf_level *l, struct spf_level **last)
{
	struct spf_level *first = l;
	enum spf_code code;
	int rc;

	for (;; l = *last) {
		*last = l;
		if (!l->read && l->lookup) {
			const struct dns_answer *a = answer_of(l->lookup);

			spf_level_read(l);
			if (!l->read)           /* cancelled */
				return (enum spf_code)temperror(l, NULL, a);
		}
		if (l->code != SPF_NEUTRAL) {
			say(l, NULL, "%s", l->why ? l->why : "no memory");
			return l->code == SPF_NONE && l != first ? SPF_PERMERROR : l->code;
		}
		rc = record_eval(l);
		if (rc != MISS)
			return (enum spf_code)rc;
		if (l->record.redirect.len == 0) {
			say(l, NULL, "no term matched");
			return SPF_NEUTRAL;
		}
		*last = redirect_follow(l, &code);
		if (!*last) {
			*last = l;
			return code;
		}
	}
}

/* ---- explanation ---- */

/* Section 6.2: exactly one TXT record, ASCII, without syntax error; else as if there were none. */
static char *explanation_text(const struct dns_answer *a, size_t *len)
{
	char *text;

	if (a->status != DNS_OK || a->count != 1 || dns_txt(&a->rr[0], &text, len) < 0)
		return NULL;
	if (spf_macro_check(text, *len, SPF_MACRO_TEXT) == NULL)
		return text;
	free(text);
	return NULL;
}

/* may wait */
static char *explanation(struct spf_level *l)
{
	struct spf_eval *c = l->check;
	const struct spf_term *t = &l->record.exp;
	AUTO(dns_lookup) struct dns_lookup *lookup = NULL;
	AUTO(buf) struct buf out = BUF_INIT(EXPLANATION_MAX);
	struct spf_macro_context ctx;
	const char *validated = NULL;
	char *text;
	size_t len;
	int rc;

	if (t->len == 0 || spf_remaining_ms(c) == 0)
		return NULL;
	lookup = spf_ask(c, target_wait(l, t), DNS_TXT);
	text = explanation_text(answer_of(lookup), &len);
	if (!text)
		return NULL;
	if (spf_macro_has(text, len, 'p'))
		validated = validated_name(c, l->domain);
	ctx = spf_level_context(l, validated);
	rc = spf_macro_expand(text, len, &ctx, &out);
	free(text);
	if (rc < 0)
		return NULL;
	/* HELO and local part are a stranger's: no byte of theirs may end a reply line. */
	for (size_t i = 0; i < out.len; i++)
		if (out.data[i] < ' ' || out.data[i] > '~')
			out.data[i] = '?';
	return buf_steal(&out);
}

/* ---- the check ---- */

struct spf_eval *spf_eval_begin(const struct spf_query *q, const struct spf_identity *id, struct dns *dns)
{
	struct spf_eval *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->q = q;
	c->id = id;
	c->dns = dns;
	c->deadline_ms = clock_ms() + q->timeout_ms;
	c->now_s = clock_wall_s();
	buf_init(&c->why, WHY_MAX);
	buf_init(&c->name, EXPANSION_MAX);
	c->top = spf_level_new(c, NULL, NULL, id->domain);
	if (!c->top) {
		spf_eval_free(c);
		return NULL;
	}
	spf_level_start(c->top);
	return c;
}

int spf_eval_finish(struct spf_eval *c, struct spf_result *out)
{
	struct spf_level *last;

	c->deadline_ms = clock_ms() + c->q->timeout_ms;         /* what counts is the time that somebody waits */
	out->code = level_eval(c->top, &last);
	if (c->no_memory)
		return -ENOMEM;
	out->why = buf_steal(&c->why);
	if (!out->why)
		out->why = strdup("the reason is too long to tell");
	if (last->matched)
		out->mechanism = strndup(last->matched->text, last->matched->len);
	if (c->top->record.text)
		out->record = strndup(c->top->record.text, RECORD_SHOWN);
	if (!out->why || (last->matched && !out->mechanism) || (c->top->record.text && !out->record))
		return -ENOMEM;
	if (out->code == SPF_FAIL && c->q->explain)
		out->explanation = explanation(last);
	out->terms = c->terms;
	out->voids = c->voids;
	out->asked = c->asked;
	return 0;
}

void spf_eval_free(struct spf_eval *c)
{
	if (!c)
		return;
	spf_level_free(c->top);
	spf_hosts_free(c->ptr);
	buf_release(&c->why);
	buf_release(&c->name);
	free(c);
}
