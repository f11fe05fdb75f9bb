#include "retrieval/retrieval_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/log.h"
#include "filters/domain.h"
#include "filters/filter.h"
#include "retrieval/reading.h"

enum {
	TURN_BYTES = 256 * 1024,        /* hashed at a stretch, then others get their turn */
	QUESTION_MS = 3000,             /* one question to the DNS, */
	JUDGE_MS = 4000,                /* and all that are left when the message is complete */
	ADDRESS_MAX = 321,              /* RFC 5321 4.5.3.1: 64 + 1 + 255, and a NUL */
};

/* --- the service --- */

struct retrieval *retrieval_new(const struct retrieval_conf *conf)
{
	struct retrieval *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->conf = *conf;
	r->needed = policy_filters(conf->site->policy);
	r->by_listener = r->needed >> fact_owner(fact_find("listener", 8)) & 1;
	return r;
}

void retrieval_free(struct retrieval *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < KEEP_SLOTS; i++)
		free(r->kept[i].reason);
	free(r);
}

/* --- who --- */

static int hurried_start(struct dns *d, const char *name, enum dns_type type, int timeout_ms, struct dns_lookup **out)
{
	struct hurried_dns *h = (struct hurried_dns *)d;
	int64_t left = h->until_ms ? h->until_ms - clock_ms() : QUESTION_MS;

	if (left > timeout_ms)
		left = timeout_ms;
	if (left > QUESTION_MS)
		left = QUESTION_MS;
	return dns_start_within(h->real, name, type, left < 1 ? 1 : (int)left, out);
}

static const struct dns_ops hurried_ops = { .start = hurried_start };   /* a lookup is dropped by who answers it */

/*
 * An address as the envelope may have one, and as nobody misreads it: ASCII, no quotes, no blanks, one @. Its domain in lower
 * case.
 */
static bool address_ok(const char *p, size_t len, char domain[DOMAIN_MAX])
{
	const char *at = memchr(p, '@', len);
	size_t local = at ? (size_t)(at - p) : 0;

	if (!at || local < 1 || local > 64 || len >= ADDRESS_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if (p[i] <= ' ' || p[i] >= 0x7f || strchr("<>()[]\\,;:\"", p[i]) || (p[i] == '@' && i != local))
			return false;
	return domain_canonical(at + 1, len - local - 1, domain) == 0;
}

/* The site's only domain, or NULL. */
static const char *only_domain(const struct site *site)
{
	return site->domain_count == 1 && site->domains[0][0] != '.' ? site->domains[0] : NULL;
}

/*
 * A name without domain is one at the site's domain, where it has but one: with several, "joe" may be another's address in
 * each.
 */
static int fill_recipient(const struct site *site, const char *account, struct recipient *r)
{
	char domain[DOMAIN_MAX] = "";
	const char *only = only_domain(site);
	size_t len = strlen(account);

	if (address_ok(account, len, domain)) {
		r->address = strdup(account);
	} else if (only && !strchr(account, '@') && asprintf(&r->address, "%s@%s", account, only) < 0) {
		r->address = NULL;
		return -ENOMEM;
	}
	if (r->address && !address_ok(r->address, strlen(r->address), domain)) {
		free(r->address);
		r->address = NULL;
	}
	if (!r->address)
		r->address = strdup(account);
	r->params = strdup("NOTIFY=NEVER");     /* of a copy that is released: who sent it heard of it long ago */
	r->domain = strdup(domain);
	r->local = domain[0] && site_accepts(site, domain);
	r->direction = "retrieval";
	return r->address && r->params && r->domain ? 0 : -ENOMEM;
}

static int open_file(void *arg)
{
	struct retrieval_scan *s = arg;

	return s->r->conf.store ? store_open(s->r->conf.store) : -ENOSPC;
}

static int fill(struct retrieval_scan *s, const struct retrieval_key *key)
{
	const struct site *site = s->r->conf.site;

	s->backend = strdup(key->backend);
	s->account = strdup(key->account);
	s->mailbox = strdup(key->mailbox);
	s->uid = strdup(key->uid);
	s->txn.message = message_new(&site->limits.message, open_file, s);
	s->rcpt = s->txn.env.rcpt = calloc(1, sizeof(*s->rcpt));
	if (!s->backend || !s->account || !s->mailbox || !s->uid || !s->txn.message || !s->rcpt)
		return -ENOMEM;
	s->txn.env.rcpt_count = 1;
	s->txn.env.from = strdup("");
	s->txn.env.from_domain = strdup("");
	s->txn.env.params = strdup("");
	if (!s->txn.env.from || !s->txn.env.from_domain || !s->txn.env.params)
		return -ENOMEM;
	return fill_recipient(site, key->account, s->rcpt);
}

struct retrieval_scan *retrieval_scan_new(struct retrieval *r, const struct retrieval_client *client, const struct retrieval_key *key)
{
	struct retrieval_scan *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->r = r;
	s->who = *client;
	s->begun_ms = clock_ms();
	s->client = (struct client){ .addr = *client->addr, .esmtp = true, .tls_version = client->tls, .listener = client->listener, .relay = true, .fetches = true };
	net_text(client->addr, s->client.ip);
	s->dns = (struct hurried_dns){ .dns = { .ops = &hurried_ops, .timeout_ms = QUESTION_MS }, .real = r->conf.dns };
	txn_init(&s->txn, r->conf.site, &s->dns.dns, &s->client);
	s->txn.state = r->conf.state;
	s->txn.daemons = r->conf.daemons;
	s->txn.stage = STAGE_RCPT;
	snprintf(s->txn.id, sizeof(s->txn.id), "%s-%u", client->sid, ++r->number % 100000);
	keep_key(r, key, s->key);
	if (fill(s, key) < 0) {
		retrieval_scan_free(s);
		return NULL;
	}
	return s;
}

void retrieval_scan_free(struct retrieval_scan *s)
{
	if (!s)
		return;
	judge_release(&s->judge);
	txn_release(&s->txn);
	client_release(&s->client);
	free(s->backend);
	free(s->account);
	free(s->mailbox);
	free(s->uid);
	free(s);
}

/* --- the message comes --- */

static int feed_filters(struct retrieval_scan *s, const char *p, size_t len)
{
	int rc = filters_body(&s->txn, s->r->needed, p, len);

	s->hashed += len;
	if (s->hashed >= TURN_BYTES && task_self()) {
		s->hashed = 0;
		task_yield();
	}
	return rc;
}

/* The header is complete; what came behind it is the first of the body. */
static int header_done(struct retrieval_scan *s)
{
	struct message *m = s->txn.message;
	size_t off = message_body_offset(m), n;
	const char *p;
	int rc = 0;

	s->txn.stage = STAGE_HEADER;
	filters_start(&s->txn, STAGE_HEADER, s->r->needed);
	while (rc == 0 && off < message_size(m)) {
		rc = message_read(m, off, &p, &n);
		if (rc == 0)
			rc = feed_filters(s, p, n);
		off += n;
	}
	return rc;
}

int retrieval_scan_add(struct retrieval_scan *s, const char *p, size_t len)
{
	uint64_t room = s->r->conf.site->limits.message_bytes, kept = s->size < room ? s->size : room;
	bool had_header;

	s->size += len;
	if (len > room - kept)
		len = (size_t)(room - kept);
	if (s->rc < 0 || len == 0)
		return s->rc;
	had_header = message_header_done(s->txn.message);
	s->rc = message_add(s->txn.message, p, len);
	if (s->known.answer != RETRIEVAL_UNKNOWN)       /* perhaps nobody has to look at it: when all is there */
		return s->rc;
	if (s->rc == 0 && had_header)
		s->rc = feed_filters(s, p, len);
	else if (s->rc == 0 && message_header_done(s->txn.message))
		s->rc = header_done(s);
	return s->rc;
}

int retrieval_scan_read(struct retrieval_scan *s, uint64_t off, const char **p, size_t *len)
{
	if (s->rc < 0 || off > message_size(s->txn.message) || (off == message_size(s->txn.message) && off < s->size))
		return s->rc < 0 && s->rc != -EMSGSIZE ? s->rc : -EFBIG;
	return message_read(s->txn.message, (size_t)off, p, len);
}

void retrieval_scan_bind(struct retrieval_scan *s, const struct retrieval_verdict *known)
{
	s->bound = true;
	s->known = *known;
	if (!known->content[0])         /* nobody knows of what */
		s->known.answer = RETRIEVAL_UNKNOWN;
}

/* It is the message that there is a verdict for. */
static bool is_known(const struct retrieval_scan *s)
{
	return s->known.answer != RETRIEVAL_UNKNOWN && strcmp(s->content, s->known.content) == 0;
}

/* All octets are there. */
static int complete(struct retrieval_scan *s)
{
	bool had_header;
	int rc = s->rc;

	if (rc < 0)
		return rc;
	had_header = message_header_done(s->txn.message);
	rc = message_end(s->txn.message);
	if (rc == 0 && s->bound)
		rc = released_content(s->txn.message, s->content);
	if (rc < 0 || is_known(s))
		return rc;
	return !had_header || s->known.answer != RETRIEVAL_UNKNOWN ? header_done(s) : 0;
}

/* --- the verdict --- */

/* RFC 5321 4.4. */
int retrieval_sender(struct txn *t)
{
	const struct header_field *f = message_find(t->message, "Return-Path", 0);
	const char *begin = f ? memchr(f->body, '<', f->body_len) : NULL, *end;
	char domain[DOMAIN_MAX];
	char *from, *from_domain;

	if (!begin)
		return 0;
	begin++;
	end = memchr(begin, '>', f->body_len - (size_t)(begin - f->body));
	if (!end || !address_ok(begin, (size_t)(end - begin), domain))
		return 0;
	from = strndup(begin, (size_t)(end - begin));
	from_domain = strdup(domain);
	if (!from || !from_domain) {
		free(from);
		free(from_domain);
		return -ENOMEM;
	}
	free(t->env.from);
	free(t->env.from_domain);
	t->env.from = from;
	t->env.from_domain = from_domain;
	return 0;
}

/* Of a message of which not all was looked at. */
static void true_size(struct retrieval_scan *s)
{
	int id = fact_find("message.size", 12);

	if (s->size > message_size(s->txn.message) && id != FACT_NONE && filters_fact(&s->txn, id))
		facts_set_num(&s->txn.evidence.facts, "message.size", (int64_t)s->size);
}

static int judge(struct retrieval_scan *s)
{
	int rc = retrieval_sender(&s->txn);

	if (rc == 0)
		rc = judge_init(&s->judge, &s->txn, s->rcpt);
	if (rc < 0)
		return rc;
	s->txn.stage = STAGE_DATA;
	s->dns.until_ms = clock_ms() + JUDGE_MS;
	true_size(s);
	judge_step(&s->judge, JUDGE_FINAL);
	return 0;
}

static bool redirected(const struct judge *j)
{
	for (size_t i = 0; i < j->run.effect_count; i++)
		if (j->run.effects[i]->action == ACTION_REDIRECT)
			return true;
	return false;
}

bool retrieval_convicts(const struct judge *j)
{
	switch (j->verdict.action) {
	case ACTION_REJECT:
	case ACTION_QUARANTINE:
	case ACTION_DISCARD:
		return true;
	case ACTION_ACCEPT:
		return redirected(j);
	default:                        /* a defer that the policy asks for: nobody could come again with what has been delivered */
		return false;
	}
}

/* The message of s to another scan, its header as many programs read it. Failures stick in that. */
static int read_again(struct retrieval_scan *s, struct retrieval_scan *other)
{
	size_t most = s->r->conf.site->limits.message.header_bytes, off = 0, len = 1;
	AUTO(buf) struct buf head = BUF_INIT(most + 2 * TURN_BYTES), fields = BUF_INIT(2 * most + 4 * TURN_BYTES);
	const char *p;
	bool ended;
	int rc = 0;

	while (rc == 0 && len > 0 && head.len <= most) {
		rc = message_read(s->txn.message, head.len, &p, &len);
		if (rc == 0)
			rc = buf_add(&head, p, len);
	}
	if (rc < 0)
		return rc;
	off = reading_header(buf_str(&head), head.len, &fields, &ended);
	if (fields.failed)
		return -ENOMEM;
	if (fields.len)
		retrieval_scan_add(other, buf_str(&fields), fields.len);
	if (ended || off == message_size(s->txn.message))
		retrieval_scan_add(other, "\r\n", 2);
	for (len = 1; rc == 0 && len > 0; off += len) {
		rc = message_read(s->txn.message, off, &p, &len);
		if (rc == 0 && len > 0)
			retrieval_scan_add(other, p, len);
	}
	return rc < 0 ? rc : complete(other);
}

/*
 * What is not convicted as the standard reads it may be shown as something else: *out, the scan of that, if it has to be kept back; else NULL. 0 or -errno;
 * -EMSGSIZE: its header, read so, is too large. may wait
 */
static int judge_again(struct retrieval_scan *s, struct retrieval_scan **out)
{
	const struct message *m = s->txn.message;
	const struct retrieval_key key = { .backend = s->backend, .account = s->account, .mailbox = s->mailbox, .validity = "", .uid = "" };
	struct retrieval_scan *other;
	int rc;

	*out = NULL;
	if (!message_header_broken(m) && !message_header_has_bare_cr(m))
		return 0;
	other = retrieval_scan_new(s->r, &s->who, &key);
	if (!other)
		return -ENOMEM;
	rc = read_again(s, other);
	if (rc == 0)
		rc = judge(other);
	if (rc < 0 || !retrieval_convicts(&other->judge)) {
		retrieval_scan_free(other);
		return rc;
	}
	memcpy(other->key, s->key, sizeof(other->key));
	memcpy(other->txn.id, s->txn.id, sizeof(other->txn.id));
	free(other->uid);
	other->uid = s->uid;
	other->bound = s->bound;
	memcpy(other->content, s->content, sizeof(other->content));
	other->size = s->size;
	other->begun_ms = s->begun_ms;
	*out = other;
	return 0;
}

/* A copy for the quarantine; or the one that it has of this content for this account. 0 and the id, or -errno. may wait */
static int quarantine(struct retrieval_scan *s, char id[STORE_ID_MAX])
{
	int rc;

	keep_copy_find(s, id);
	if (id[0])
		return 0;
	rc = record_quarantine(s, id);
	if (rc < 0) {
		id[0] = '\0';
		log_error("quarantine-failed", "sid", s->who.sid, "error", strerror(-rc), NULL);
		return rc;
	}
	keep_copy(s, id);
	return 0;
}

/* What is convicted is shown all the same if it was released once. May wait */
static int convict(struct retrieval_scan *s, struct retrieval_verdict *out)
{
	int rc = s->bound ? 0 : released_content(s->txn.message, s->content);

	if (rc < 0)
		return rc;
	s->released = keep_released(s->r, s->content);
	if (!s->released)
		out->answer = RETRIEVAL_NOTICE;
	return 0;
}

/* What came of it: the verdict, kept and told. s: the scan that it was found by, whose message is that of the caller. */
static int conclude(struct retrieval_scan *s, uint64_t fingerprint, struct retrieval_verdict *out)
{
	bool observe = s->r->conf.site->mode == MODE_OBSERVE;
	int rc = 0, kept = 0;

	out->answer = RETRIEVAL_PASS;
	if (s->rc < 0)
		out->answer = observe ? RETRIEVAL_PASS : RETRIEVAL_NOTICE;
	else if (!observe && retrieval_convicts(&s->judge))
		rc = convict(s, out);
	if (rc < 0) {
		out->answer = RETRIEVAL_UNKNOWN;
		return rc;
	}
	if (out->answer == RETRIEVAL_NOTICE) {
		record_reason(s, out->reason);
		kept = s->rc < 0 ? s->rc : quarantine(s, out->id);
	}
	memcpy(out->content, s->content, sizeof(out->content));
	keep_verdict(s, fingerprint, out);
	record_verdict(s, out, kept);
	return 0;
}

int retrieval_scan_end(struct retrieval_scan *s, struct retrieval_verdict *out)
{
	uint64_t fingerprint = keep_fingerprint(s->r);
	struct retrieval_scan *other = NULL;
	struct message *theirs;
	int rc;

	*out = (struct retrieval_verdict){ .answer = RETRIEVAL_UNKNOWN };
	if (s->ended)
		return -EINVAL;
	s->ended = true;
	s->rc = complete(s);
	if (s->rc < 0 && s->rc != -EMSGSIZE)
		return s->rc;
	if (is_known(s)) {
		*out = s->known;
		return 0;
	}
	rc = s->rc < 0 ? 0 : judge(s);
	if (rc == 0 && s->rc == 0 && !retrieval_convicts(&s->judge))
		rc = judge_again(s, &other);
	if (rc == -EMSGSIZE)
		s->rc = rc;
	else if (rc < 0)
		return rc;
	if (!other)
		return conclude(s, fingerprint, out);
	theirs = other->txn.message;
	other->txn.message = s->txn.message;
	rc = conclude(other, fingerprint, out);
	other->txn.message = theirs;
	other->uid = NULL;
	retrieval_scan_free(other);
	return rc;
}
