#include "filters/spf_eval.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/clock.h"
#include "filters/spf_macro.h"
#include "filters/spf_record.h"

enum {
	EXPANSION_MAX = 16 * 1024,      /* a domain-spec before it is cut to 253 bytes */
	EXPLANATION_MAX = 2048,
	WHY_MAX = 2048,
	TERM_SHOWN_MAX = 120,           /* of a term's text, in words for people */
	MISS = -1, HIT = -2,            /* what a term can be, besides an enum spf_code that ends the check */
};

/* Names out of an MX or PTR answer, and the lookups of their addresses. */
struct hosts {
	struct spf_eval *check;
	enum dns_type type;
	struct dns_lookup *lookup;
	struct { char *name; struct dns_lookup *lookup; } host[SPF_HOSTS_MAX];
	size_t count;
	bool read, over;                /* over: the answer has more of them */
	bool early;                     /* as the answer arrives, start the lookups of its hosts */
};

/* What was started for one term. */
struct aim {
	struct dns_lookup *lookup;      /* a, exists */
	struct hosts *hosts;            /* mx */
	struct level *level;            /* include, redirect */
};

/* One domain's record: a call of check_host(). */
struct level {
	struct spf_eval *check;
	struct level *parent;
	const struct spf_term *via;     /* the parent's include or redirect; NULL at the top */
	char *domain;
	struct dns_lookup *lookup;
	bool read;
	enum spf_code code;             /* SPF_NEUTRAL: there is a record; else the result, why in words */
	char *why;
	struct spf_record record;
	struct aim *aim;                /* one for each term, the last for redirect */
	const struct spf_term *matched;
};

struct spf_eval {
	const struct spf_query *q;
	const struct spf_identity *id;
	struct dns *dns;
	int64_t deadline_ms, now_s;
	int terms, voids, asked;        /* as in struct spf_result */
	int started;                    /* lookups of terms, early or not */
	int hosts_early;                /* lookups of MX hosts that were started early */
	struct level *top;
	struct hosts *ptr;              /* of the client's address */
	struct buf why, name;
	char text[DNS_NAME_MAX];        /* the name being asked for */
};

/* ---- asking ---- */

static int remaining_ms(const struct spf_eval *c)
{
	int64_t left = c->deadline_ms - clock_ms();

	return left > 0 ? (int)left : 0;
}

/* name in bytes. NULL when there is no memory. */
static struct dns_lookup *ask_bytes(struct spf_eval *c, const char *name, enum dns_type type)
{
	struct dns_lookup *l;

	if (spf_macro_name(name, strlen(name), c->text, sizeof(c->text)) < 0)
		c->text[0] = '\0';              /* too long for a name: answered as none */
	c->asked++;
	return dns_start_within(c->dns, c->text, type, remaining_ms(c), &l) == 0 ? l : NULL;
}

/* name as dns.h has it. */
static struct dns_lookup *ask_text(struct spf_eval *c, const char *name, enum dns_type type)
{
	struct dns_lookup *l;

	c->asked++;
	return dns_start_within(c->dns, name, type, remaining_ms(c), &l) == 0 ? l : NULL;
}

static const struct dns_answer *answer_of(struct dns_lookup *l)
{
	static const struct dns_answer no_memory = { .status = DNS_TEMPFAIL, .why = "no memory" };

	return l ? dns_wait(l) : &no_memory;
}

static bool is_void(const struct dns_answer *a)
{
	return a->status == DNS_NODATA || a->status == DNS_NXDOMAIN;
}

static enum dns_type address_type(const struct spf_eval *c)
{
	return c->q->client.family == AF_INET6 ? DNS_AAAA : DNS_A;
}

/* ---- words ---- */

static void say_path(struct buf *b, const struct level *l)
{
	if (!l->parent) {
		buf_addf(b, "%s: ", l->domain);
		return;
	}
	say_path(b, l->parent);
	buf_addf(b, "%.*s: ", (int)(l->via->len < TERM_SHOWN_MAX ? l->via->len : TERM_SHOWN_MAX), l->via->text);
}

/* The last thing said stands as the result's reason. */
static void say(struct level *l, const struct spf_term *t, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void say(struct level *l, const struct spf_term *t, const char *fmt, ...)
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

static int temperror(struct level *l, const struct spf_term *t, const struct dns_answer *a)
{
	if (remaining_ms(l->check) == 0)
		say(l, t, "could not be looked up within the check's %d ms", l->check->q->timeout_ms);
	else
		say(l, t, "could not be looked up: %s", a->why);
	return SPF_TEMPERROR;
}

/* ---- hosts of an MX or PTR answer ---- */

static void hosts_read(struct hosts *h)
{
	const struct dns_answer *a = &h->lookup->answer;
	char *name = h->check->text;
	unsigned preference;

	if (h->read || !h->lookup->future.done)
		return;
	h->read = true;
	h->over = a->count > SPF_HOSTS_MAX;
	for (size_t i = 0; i < a->count && h->count < SPF_HOSTS_MAX; i++) {
		int rc = h->type == DNS_MX ? dns_mx(&a->rr[i], &preference, name) : dns_name(&a->rr[i], 0, name);

		/* "" is the null MX (RFC 7505); a PTR name with an escape in it is nobody's host name. */
		if (rc < 0 || !name[0] || (h->type == DNS_PTR && strchr(name, '\\')))
			continue;
		h->host[h->count].name = strdup(name);
		if (!h->host[h->count].name)
			return;
		h->count++;
	}
}

static void hosts_ask(struct hosts *h, bool early)
{
	struct spf_eval *c = h->check;

	if (h->over && h->type == DNS_MX)
		return;                         /* a permerror: nobody needs them */
	for (size_t i = 0; i < h->count; i++) {
		if (h->host[i].lookup)
			continue;
		if (early && c->hosts_early >= SPF_HOSTS_MAX)
			return;
		c->hosts_early += early;
		h->host[i].lookup = ask_text(c, h->host[i].name, address_type(c));
	}
}

static void hosts_arrived(struct dns_lookup *l, void *arg)
{
	struct hosts *h = arg;

	hosts_read(h);
	hosts_ask(h, true);
}

static struct hosts *hosts_new(struct spf_eval *c, struct dns_lookup *l, enum dns_type type, bool early)
{
	struct hosts *h = l ? calloc(1, sizeof(*h)) : NULL;

	if (!h) {
		dns_drop(l);
		return NULL;
	}
	h->check = c;
	h->type = type;
	h->lookup = l;
	if (early)
		dns_notify(l, hosts_arrived, h);
	return h;
}

static void hosts_free(struct hosts *h)
{
	if (!h)
		return;
	dns_drop(h->lookup);
	for (size_t i = 0; i < h->count; i++) {
		dns_drop(h->host[i].lookup);
		free(h->host[i].name);
	}
	free(h);
}

static bool same_network(const struct spf_eval *c, const struct spf_term *t, const struct dns_answer *a, enum dns_type type)
{
	for (size_t i = 0; i < a->count; i++)
		if (a->rr[i].len == (type == DNS_AAAA ? 16 : 4) && spf_term_same_network(t, a->rr[i].data, &c->q->client))
			return true;
	return false;
}

static struct hosts *ptr_start(struct spf_eval *c, bool early)
{
	struct sockaddr_storage ss;

	if (c->ptr)
		return c->ptr;
	net_to_sockaddr(&c->q->client, &ss);
	if (dns_reverse((struct sockaddr *)&ss, NULL, c->text, sizeof(c->text)) < 0)
		return NULL;
	c->ptr = hosts_new(c, ask_text(c, c->text, DNS_PTR), DNS_PTR, early);
	return c->ptr;
}

/* Whether host i of the PTR answer has the client's address; errors only skip it (section 5.5). may wait */
static bool ptr_valid(struct spf_eval *c, size_t i)
{
	static const struct spf_term whole = { .bits4 = 32, .bits6 = 128 };

	return c->ptr->host[i].lookup && same_network(c, &whole, answer_of(c->ptr->host[i].lookup), address_type(c));
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

	if (!ptr_start(c, true))
		return NULL;
	answer_of(c->ptr->lookup);
	hosts_read(c->ptr);
	hosts_ask(c->ptr, false);
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

/* ---- names of terms ---- */

static struct spf_macro_context context_of(const struct level *l, const char *validated)
{
	const struct spf_eval *c = l->check;

	return (struct spf_macro_context){
		.sender = c->id->sender, .local = c->id->local, .sender_domain = c->id->domain, .domain = l->domain,
		.client = &c->q->client, .validated = validated, .helo = c->q->helo, .receiver = c->q->receiver, .now_s = c->now_s,
	};
}

/* The name that a term names, in bytes, valid until the next call. "" is no name. validated: what %{p} is. */
static const char *target(struct level *l, const struct spf_term *t, const char *validated)
{
	struct spf_macro_context ctx = context_of(l, validated);
	struct buf *b = &l->check->name;

	if (t->domain_len == 0)
		return l->domain;
	if (spf_macro_domain(t->domain, t->domain_len, &ctx, b) < 0)
		buf_clear(b);                   /* nobody's name */
	return buf_str(b);
}

/* As target, and %{p} is looked up. may wait */
static const char *target_wait(struct level *l, const struct spf_term *t)
{
	bool p = spf_macro_has(t->domain, t->domain_len, 'p');

	return target(l, t, p ? validated_name(l->check, l->domain) : NULL);
}

/* ---- records ---- */

static void level_ahead(struct level *l);

static struct level *level_new(struct spf_eval *c, struct level *parent, const struct spf_term *via, const char *domain)
{
	struct level *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->check = c;
	l->parent = parent;
	l->via = via;
	l->domain = strdup(domain);
	if (!l->domain) {
		free(l);
		return NULL;
	}
	return l;
}

static void level_free(struct level *l)
{
	if (!l)
		return;
	dns_drop(l->lookup);
	for (size_t i = 0; l->aim && i <= l->record.count; i++) {
		dns_drop(l->aim[i].lookup);
		hosts_free(l->aim[i].hosts);
		level_free(l->aim[i].level);    /* at most as deep as lookups were started */
	}
	free(l->aim);
	spf_record_release(&l->record);
	free(l->domain);
	free(l->why);
	free(l);
}

static void level_is(struct level *l, enum spf_code code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void level_is(struct level *l, enum spf_code code, const char *fmt, ...)
{
	va_list ap;

	l->code = code;
	va_start(ap, fmt);
	if (vasprintf(&l->why, fmt, ap) < 0)
		l->why = NULL;
	va_end(ap);
}

static void level_parse(struct level *l, const char *text, size_t len)
{
	struct spf_record_error err;
	int rc = spf_record_parse(text, len, &l->record, &err);

	if (rc == -EBADMSG) {
		AUTO(buf) struct buf shown = BUF_INIT(TERM_SHOWN_MAX);

		for (size_t i = 0; i < err.len && !shown.failed; i++) {
			unsigned char b = (unsigned char)text[err.at + i];

			if (b > ' ' && b <= '~')
				buf_addc(&shown, (char)b);
			else
				buf_addf(&shown, "\\x%02X", b);
		}
		level_is(l, SPF_PERMERROR, "the record has %s: \"%s\"", err.what, buf_str(&shown));
		return;
	}
	if (rc == 0)
		l->aim = calloc(l->record.count + 1, sizeof(*l->aim));
	if (!l->aim) {
		spf_record_release(&l->record);
		level_is(l, SPF_TEMPERROR, "no memory");
		return;
	}
	l->code = SPF_NEUTRAL;
}

/* Section 4.5: exactly one TXT record that is an SPF record. */
static void level_select(struct level *l, const struct dns_answer *a)
{
	char *found = NULL;
	size_t found_len = 0;

	for (size_t i = 0; i < a->count; i++) {
		char *text;
		size_t len;
		int rc = dns_txt(&a->rr[i], &text, &len);

		if (rc == -ENOMEM)
			goto no_memory;
		if (rc < 0)
			continue;
		if (!spf_record_is(text, len)) {
			free(text);
		} else if (found) {
			free(text);
			free(found);
			level_is(l, SPF_PERMERROR, "there are several SPF records");
			return;
		} else {
			found = text;
			found_len = len;
		}
	}
	if (found)
		level_parse(l, found, found_len);
	else
		level_is(l, SPF_NONE, "there is no SPF record");
	free(found);
	return;
no_memory:
	free(found);
	level_is(l, SPF_TEMPERROR, "no memory");
}

static void level_read(struct level *l)
{
	const struct dns_answer *a;

	if (l->read || !l->lookup->future.done)
		return;
	l->read = true;
	a = &l->lookup->answer;
	if (a->status == DNS_TEMPFAIL)
		level_is(l, SPF_TEMPERROR, "the record could not be looked up: %s", a->why);
	else if (a->status != DNS_OK)
		level_is(l, SPF_NONE, a->status == DNS_NXDOMAIN ? "there is no such domain" : "there is no SPF record");
	else
		level_select(l, a);
	if (l->code == SPF_NEUTRAL)
		level_ahead(l);
}

static void level_arrived(struct dns_lookup *lookup, void *arg)
{
	level_read(arg);
}

static void level_start(struct level *l)
{
	const char *unfit = spf_domain_unfit(l->domain);

	if (!unfit)
		l->lookup = ask_bytes(l->check, l->domain, DNS_TXT);
	if (l->lookup) {
		dns_notify(l->lookup, level_arrived, l);
		return;
	}
	l->read = true;
	level_is(l, unfit ? SPF_NONE : SPF_TEMPERROR, "%s", unfit ? unfit : "no memory");
}

static struct level *level_below(struct level *l, const struct spf_term *t, const char *domain)
{
	struct level *below = level_new(l->check, l, t, domain);

	if (below)
		level_start(below);
	return below;
}

/* ---- early lookups ---- */

static void aim_start(struct level *l, const struct spf_term *t, struct aim *aim, const char *domain, bool early)
{
	struct spf_eval *c = l->check;

	c->started++;
	switch (t->kind) {
	case SPF_A:
		aim->lookup = ask_bytes(c, domain, address_type(c));
		break;
	case SPF_EXISTS:
		aim->lookup = ask_bytes(c, domain, DNS_A);      /* also for IPv6, section 5.7 */
		break;
	case SPF_MX:
		aim->hosts = hosts_new(c, ask_bytes(c, domain, DNS_MX), DNS_MX, early);
		break;
	case SPF_INCLUDE:
	case SPF_REDIRECT:
		aim->level = level_below(l, t, domain);
		break;
	default:
		break;
	}
}

/* Start what a term will need. False: nothing behind this term will be evaluated. */
static bool term_ahead(struct level *l, const struct spf_term *t, struct aim *aim)
{
	if (t->kind == SPF_ALL || spf_term_covers(t, &l->check->q->client))
		return false;
	if (t->kind == SPF_IP4 || t->kind == SPF_IP6)
		return true;
	if (t->kind == SPF_PTR) {
		l->check->started += !l->check->ptr;
		ptr_start(l->check, true);
	} else if (!spf_macro_has(t->domain, t->domain_len, 'p')) {
		aim_start(l, t, aim, target(l, t, NULL), true);
	}
	return true;
}

static void level_ahead(struct level *l)
{
	for (size_t i = 0; i < l->record.count; i++) {
		if (l->check->started >= SPF_TERMS_MAX)
			return;
		if (!term_ahead(l, &l->record.term[i], &l->aim[i]))
			return;
	}
	if (l->record.redirect.len > 0 && l->check->started < SPF_TERMS_MAX)
		term_ahead(l, &l->record.redirect, &l->aim[l->record.count]);
}

/* ---- terms ---- */

static enum spf_code level_eval(struct level *l, struct level **last);

/* MISS when the term may ask. Section 4.6.4 */
static int spend_term(struct level *l, const struct spf_term *t)
{
	if (l->check->terms >= SPF_TERMS_MAX) {
		say(l, t, "is the 11th term that asks the DNS; 10 are allowed");
		return SPF_PERMERROR;
	}
	l->check->terms++;
	if (remaining_ms(l->check) > 0)
		return MISS;
	say(l, t, "was not looked up: the check's %d ms are over", l->check->q->timeout_ms);
	return SPF_TEMPERROR;
}

static int spend_void(struct level *l, const struct spf_term *t)
{
	if (++l->check->voids <= SPF_VOIDS_MAX)
		return MISS;
	say(l, t, "is the third lookup without an answer; 2 are allowed");
	return SPF_PERMERROR;
}

static int address_eval(struct level *l, const struct spf_term *t, struct aim *aim)
{
	struct spf_eval *c = l->check;
	const struct dns_answer *a;

	if (!aim->lookup)
		aim_start(l, t, aim, target_wait(l, t), false);
	a = answer_of(aim->lookup);
	if (a->status == DNS_TEMPFAIL)
		return temperror(l, t, a);
	if (is_void(a))
		return spend_void(l, t);
	if (t->kind == SPF_EXISTS)
		return a->count > 0 ? HIT : MISS;
	return same_network(c, t, a, address_type(c)) ? HIT : MISS;
}

static int mx_eval(struct level *l, const struct spf_term *t, struct aim *aim)
{
	struct spf_eval *c = l->check;
	const struct dns_answer *a;

	if (!aim->hosts)
		aim_start(l, t, aim, target_wait(l, t), true);
	a = answer_of(aim->hosts ? aim->hosts->lookup : NULL);
	if (a->status == DNS_TEMPFAIL)
		return temperror(l, t, a);
	if (is_void(a))
		return spend_void(l, t);
	hosts_read(aim->hosts);
	if (aim->hosts->over) {
		say(l, t, "names more than 10 MX hosts");
		return SPF_PERMERROR;
	}
	hosts_ask(aim->hosts, false);
	for (size_t i = 0; i < aim->hosts->count; i++) {
		a = answer_of(aim->hosts->host[i].lookup);
		if (a->status == DNS_TEMPFAIL)
			return temperror(l, t, a);
		if (same_network(c, t, a, address_type(c)))
			return HIT;
	}
	return MISS;
}

static int ptr_eval(struct level *l, const struct spf_term *t)
{
	struct spf_eval *c = l->check;
	const struct dns_answer *a;
	char *domain;
	int rc = MISS;

	if (!ptr_start(c, true))
		return MISS;
	a = answer_of(c->ptr->lookup);
	if (is_void(a))
		return spend_void(l, t);
	hosts_read(c->ptr);
	hosts_ask(c->ptr, false);
	domain = strdup(target_wait(l, t));     /* a copy: while the names are waited for, records that arrive use the buffer */
	for (size_t i = 0; domain && rc == MISS && i < c->ptr->count; i++)
		if (name_below(c->ptr->host[i].name, domain, true) && ptr_valid(c, i))
			rc = HIT;
	free(domain);
	return rc;
}

static int include_eval(struct level *l, const struct spf_term *t, struct aim *aim)
{
	struct level *last;
	enum spf_code code;

	if (!aim->level)
		aim_start(l, t, aim, target_wait(l, t), false);
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

static int term_eval(struct level *l, size_t i)
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
static int record_eval(struct level *l)
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
static struct level *redirect_follow(struct level *l, enum spf_code *code)
{
	const struct spf_term *t = &l->record.redirect;
	struct aim *aim = &l->aim[l->record.count];
	int rc = spend_term(l, t);

	if (rc != MISS) {
		*code = (enum spf_code)rc;
		return NULL;
	}
	if (!aim->level)
		aim_start(l, t, aim, target_wait(l, t), false);
	if (!aim->level) {
		say(l, t, "was not looked up: no memory");
		*code = SPF_TEMPERROR;
	}
	return aim->level;
}

/* check_host(). *last: the level whose record gave the result, behind redirects. may wait */
static enum spf_code level_eval(struct level *l, struct level **last)
{
	struct level *first = l;
	enum spf_code code;
	int rc;

	for (;; l = *last) {
		*last = l;
		if (!l->read && l->lookup) {
			const struct dns_answer *a = answer_of(l->lookup);

			level_read(l);
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
static char *explanation(struct level *l)
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

	if (t->len == 0 || remaining_ms(c) == 0)
		return NULL;
	lookup = ask_bytes(c, target_wait(l, t), DNS_TXT);
	text = explanation_text(answer_of(lookup), &len);
	if (!text)
		return NULL;
	if (spf_macro_has(text, len, 'p'))
		validated = validated_name(c, l->domain);
	ctx = context_of(l, validated);
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
	c->top = level_new(c, NULL, NULL, id->domain);
	if (!c->top) {
		spf_eval_free(c);
		return NULL;
	}
	level_start(c->top);
	return c;
}

int spf_eval_finish(struct spf_eval *c, struct spf_result *out)
{
	struct level *last;

	c->deadline_ms = clock_ms() + c->q->timeout_ms;         /* what counts is the time that somebody waits */
	out->code = level_eval(c->top, &last);
	out->why = buf_steal(&c->why);
	if (!out->why)
		out->why = strdup("the reason is too long to tell");
	if (last->matched)
		out->mechanism = strndup(last->matched->text, last->matched->len);
	if (!out->why || (last->matched && !out->mechanism))
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
	level_free(c->top);
	hosts_free(c->ptr);
	buf_release(&c->why);
	buf_release(&c->name);
	free(c);
}
