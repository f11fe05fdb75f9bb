#include "filters/spf_level.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

enum { TERM_SHOWN_MAX = 120 };          /* bytes of a broken term, in words for people */

/* ---- asking ---- */

int spf_remaining_ms(const struct spf_eval *c)
{
	int64_t left = c->deadline_ms - clock_ms();

	return left > 0 ? (int)left : 0;
}

struct dns_lookup *spf_ask(struct spf_eval *c, const char *name, enum dns_type type)
{
	struct dns_lookup *l;

	if (spf_macro_name(name, strlen(name), c->text, sizeof(c->text)) < 0)
		c->text[0] = '\0';              /* too long for a name: answered as none */
	c->asked++;
	return dns_start_within(c->dns, c->text, type, spf_remaining_ms(c), &l) == 0 ? l : NULL;
}

/* name as dns.h has it. */
static struct dns_lookup *ask_text(struct spf_eval *c, const char *name, enum dns_type type)
{
	struct dns_lookup *l;

	c->asked++;
	return dns_start_within(c->dns, name, type, spf_remaining_ms(c), &l) == 0 ? l : NULL;
}

enum dns_type spf_address_type(const struct spf_eval *c)
{
	return c->q->client.family == AF_INET6 ? DNS_AAAA : DNS_A;
}

/* ---- hosts of an MX or PTR answer ---- */

void spf_hosts_read(struct spf_hosts *h)
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

void spf_hosts_ask(struct spf_hosts *h, bool early)
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
		h->host[i].lookup = ask_text(c, h->host[i].name, spf_address_type(c));
	}
}

static void hosts_arrived(struct dns_lookup *l, void *arg)
{
	struct spf_hosts *h = arg;

	spf_hosts_read(h);
	spf_hosts_ask(h, true);
}

static struct spf_hosts *hosts_new(struct spf_eval *c, struct dns_lookup *l, enum dns_type type, bool early)
{
	struct spf_hosts *h = l ? calloc(1, sizeof(*h)) : NULL;

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

void spf_hosts_free(struct spf_hosts *h)
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

struct spf_hosts *spf_ptr_start(struct spf_eval *c)
{
	struct sockaddr_storage ss;

	if (c->ptr)
		return c->ptr;
	net_to_sockaddr(&c->q->client, &ss);
	if (dns_reverse((struct sockaddr *)&ss, NULL, c->text, sizeof(c->text)) < 0)
		return NULL;
	c->ptr = hosts_new(c, ask_text(c, c->text, DNS_PTR), DNS_PTR, true);
	return c->ptr;
}

/* ---- names of terms ---- */

struct spf_macro_context spf_level_context(const struct spf_level *l, const char *validated)
{
	const struct spf_eval *c = l->check;

	return (struct spf_macro_context){
		.sender = c->id->sender, .local = c->id->local, .sender_domain = c->id->domain, .domain = l->domain,
		.client = &c->q->client, .validated = validated, .helo = c->q->helo, .receiver = c->q->receiver, .now_s = c->now_s,
	};
}

const char *spf_target(struct spf_level *l, const struct spf_term *t, const char *validated)
{
	struct spf_macro_context ctx = spf_level_context(l, validated);
	struct buf *b = &l->check->name;
	int rc;

	if (t->domain_len == 0)
		return l->domain;
	rc = spf_macro_domain(t->domain, t->domain_len, &ctx, b);
	l->check->no_memory |= rc == -ENOMEM;
	if (rc < 0)
		buf_clear(b);                   /* nobody's name */
	return buf_str(b);
}

/* ---- records ---- */

static void level_ahead(struct spf_level *l);

struct spf_level *spf_level_new(struct spf_eval *c, struct spf_level *parent, const struct spf_term *via, const char *domain)
{
	struct spf_level *l = calloc(1, sizeof(*l));

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

void spf_level_free(struct spf_level *l)
{
	if (!l)
		return;
	dns_drop(l->lookup);
	for (size_t i = 0; l->aim && i <= l->record.count; i++) {
		dns_drop(l->aim[i].lookup);
		spf_hosts_free(l->aim[i].hosts);
		spf_level_free(l->aim[i].level);    /* at most as deep as lookups were started */
	}
	free(l->aim);
	spf_record_release(&l->record);
	free(l->domain);
	free(l->why);
	free(l);
}

static void level_is(struct spf_level *l, enum spf_code code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void level_is(struct spf_level *l, enum spf_code code, const char *fmt, ...)
{
	va_list ap;

	l->code = code;
	va_start(ap, fmt);
	if (vasprintf(&l->why, fmt, ap) < 0)
		l->why = NULL;
	va_end(ap);
}

static void level_parse(struct spf_level *l, const char *text, size_t len)
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
static void level_select(struct spf_level *l, const struct dns_answer *a)
{
	char *found = NULL;
	size_t found_len = 0;

	for (size_t i = 0; i < a->count; i++) {
		char *text;
		size_t len;
		int rc = dns_txt(&a->rr[i], &text, &len);

		if (rc == -ENOMEM) {
			free(found);
			level_is(l, SPF_TEMPERROR, "no memory");
			return;
		}
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
}

void spf_level_read(struct spf_level *l)
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
	spf_level_read(arg);
}

void spf_level_start(struct spf_level *l)
{
	const char *unfit = spf_domain_unfit(l->domain);

	if (!unfit)
		l->lookup = spf_ask(l->check, l->domain, DNS_TXT);
	if (l->lookup) {
		dns_notify(l->lookup, level_arrived, l);
		return;
	}
	l->read = true;
	level_is(l, unfit ? SPF_NONE : SPF_TEMPERROR, "%s", unfit ? unfit : "no memory");
}

static struct spf_level *level_below(struct spf_level *l, const struct spf_term *t, const char *domain)
{
	struct spf_level *below = spf_level_new(l->check, l, t, domain);

	if (below)
		spf_level_start(below);
	return below;
}

/* ---- early lookups ---- */

void spf_aim_start(struct spf_level *l, const struct spf_term *t, struct spf_aim *aim, const char *domain, bool early)
{
	struct spf_eval *c = l->check;

	c->started++;
	switch (t->kind) {
	case SPF_A:
		aim->lookup = spf_ask(c, domain, spf_address_type(c));
		break;
	case SPF_EXISTS:
		aim->lookup = spf_ask(c, domain, DNS_A);      /* also for IPv6, section 5.7 */
		break;
	case SPF_MX:
		aim->hosts = hosts_new(c, spf_ask(c, domain, DNS_MX), DNS_MX, early);
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
static bool term_ahead(struct spf_level *l, const struct spf_term *t, struct spf_aim *aim)
{
	if (t->kind == SPF_ALL || spf_term_covers(t, &l->check->q->client))
		return false;
	if (t->kind == SPF_IP4 || t->kind == SPF_IP6)
		return true;
	if (t->kind == SPF_PTR) {
		l->check->started += !l->check->ptr;
		spf_ptr_start(l->check);
	} else if (!spf_macro_has(t->domain, t->domain_len, 'p')) {
		spf_aim_start(l, t, aim, spf_target(l, t, NULL), true);
	}
	return true;
}

static void level_ahead(struct spf_level *l)
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
