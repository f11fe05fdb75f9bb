#include "smtp/recipient.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/shares.h"
#include "base/task.h"
#include "directory/directory_ask.h"
#include "hop/backend.h"
#include "hop/backend_domains.h"
#include "hop/smtp_client.h"
#include "policy/conf.h"
#include "policy/state.h"

enum {
	DOMAINS_MAX = 64,               /* whose accept-all test is remembered */
	DOMAIN_TEST_S = 24 * 3600,
	TEST_AGAIN_S = 60,              /* after one that led to no verdict */
	CALLOUTS_MAX = 10,              /* at once, per worker; */
	CALLOUTS_SITE = 18,             /* all workers together: Exchange takes 20 sessions of one source, and says 421 to more */
	CALLOUT_MS = 30 * 1000,         /* one of them at most */
	DOWN_MS = 30 * 1000,            /* a source that failed is left alone for so long */
	RANDOM_BYTES = 10,
};

static const char unknown_user[] = "550 5.1.1 No such user here\r\n";
static const char restricted_user[] = "550 5.7.1 Only authenticated senders may write to this recipient\r\n";
static const char not_now[] = "451 4.3.0 Recipients cannot be looked up now, try again later\r\n";

/* What the accept-all test said about a domain. */
struct domain_test {
	char domain[SMTP_DOMAIN_MAX + 1];
	const struct backend_group *group;      /* that was asked; NULL: the call-out's host */
	int64_t until_s;                /* 0: free */
	bool accepts_all, pending;
	bool running;                   /* it is being asked now */
};

struct recipient_check {
	const struct site *site;
	struct state *state;
	struct backend_group *group;
	const struct backend_domains *domains;  /* or NULL */
	const struct directory_asker *directory;
	struct smtp_client_conf conf;
	struct shares calls;            /* who waits for a call-out, or has one */
	int64_t down_until_ms;
	bool down;
	struct domain_test test[DOMAINS_MAX];
	size_t next_test;
	int users;                      /* the owner and background probes */
};

static void unref(struct recipient_check *rc)
{
	if (--rc->users == 0)
		free(rc);
}

/* The code and text of one line, CRLF included, as a reply. */
static void reply_set(struct smtp_reply *r, const char *line)
{
	smtp_reply_release(r);
	smtp_reply_init(r);
	smtp_reply_add(r, line, strlen(line));
}

/* --- accept-all --- */

static struct domain_test *test_find(struct recipient_check *rc, const struct backend_group *g, const char *domain)
{
	for (size_t i = 0; i < DOMAINS_MAX; i++)
		if (rc->test[i].until_s > clock_wall_s() && rc->test[i].group == g && strcmp(rc->test[i].domain, domain) == 0)
			return &rc->test[i];
	return NULL;
}

/* One test at once: who writes to ever new subdomains shall not have all sessions asked about made-up addresses. */
static bool test_running(const struct recipient_check *rc, const struct backend_group *g)
{
	for (size_t i = 0; i < DOMAINS_MAX; i++)
		if (rc->test[i].running && rc->test[i].group == g)
			return true;
	return false;
}

/* The place of the next: the oldest, but none that is being asked. */
static struct domain_test *test_place(struct recipient_check *rc)
{
	struct domain_test *t = NULL;

	for (size_t i = 0; i < DOMAINS_MAX && (!t || t->running); i++)
		t = &rc->test[rc->next_test++ % DOMAINS_MAX];
	return t;
}

/* What it means that a server takes anybody. */
static const char *accepts_all_why(const struct recipient_check *rc, const struct backend_group *g, const char *domain)
{
	const struct domain_conf *d = rc->domains && g ? site_domain(rc->site, domain) : NULL;

	if (!d || d->owner_count < 2)
		return "it accepts an address made up at random: unknown users cannot be refused by asking it";
	if (backend_domains_find(rc->domains, d->owner[d->owner_count - 1].name) == g)
		return "it accepts an address made up at random: it gets what the servers before it in section domain do not know";
	return "it accepts an address made up at random: which server has a mailbox cannot be learnt from it, and those behind it in section domain are never asked";
}

static void test_note(struct recipient_check *rc, const struct backend_group *g, const char *domain, bool accepts_all, const char *source)
{
	struct domain_test *t = test_find(rc, g, domain);

	if (!t)
		t = test_place(rc);
	snprintf(t->domain, sizeof(t->domain), "%s", domain);
	t->until_s = clock_wall_s() + DOMAIN_TEST_S;
	t->group = g;
	t->accepts_all = accepts_all;
	t->pending = t->running = !source;
	if (accepts_all)
		log_warning("recipient", "domain", domain, "source", source, "why", accepts_all_why(rc, g, domain), NULL);
}

/* An address that nobody has. */
static int random_address(const char *domain, char *out, size_t size)
{
	unsigned char bytes[RANDOM_BYTES];
	char hex[2 * RANDOM_BYTES + 1];

	ERR_clear_error();
	if (RAND_bytes(bytes, sizeof(bytes)) != 1) {
		ERR_clear_error();
		return -EIO;
	}
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
	return snprintf(out, size, "gatepost-%s@%s", hex, domain) < (int)size ? 0 : -ENOSPC;
}

/* Ask c (after MAIL) for a made-up address; 1: taken, 0: refused, -errno: no verdict. may wait */
static int ask_random(struct smtp_client *c, const char *domain, int64_t deadline_ms)
{
	char address[SMTP_DOMAIN_MAX + 64];
	int rc = random_address(domain, address, sizeof(address));

	if (rc == 0)
		rc = smtp_client_rcpt(c, address, "", deadline_ms);
	if (rc < 0)
		return rc;
	return c->reply.code / 100 == 2 ? 1 : c->reply.code / 100 == 5 ? 0 : -EAGAIN;
}

struct background {
	struct recipient_check *rc;
	struct backend_group *group;
	char domain[SMTP_DOMAIN_MAX + 1];
};

/* VERIFY_BACKEND: is its word worth anything? Found out beside the mail, never in its way. */
static void test_backend_task(void *arg)
{
	struct background *bg = arg;
	struct recipient_check *rc = bg->rc;
	AUTO(backend_session) struct backend_session *bs = NULL;
	int64_t deadline_ms = clock_ms() + CALLOUT_MS;
	int said = -EAGAIN;

	if (backend_take(bg->group, deadline_ms, &bs) == 0 && smtp_client_mail(bs->client, "", "", 0, deadline_ms) == 0 &&
	    bs->client->reply.code / 100 == 2)
		said = ask_random(bs->client, bg->domain, deadline_ms);
	if (said >= 0)
		test_note(rc, bg->group, bg->domain, said == 1, backend_name(bs->backend));
	else if (test_find(rc, bg->group, bg->domain))
		test_find(rc, bg->group, bg->domain)->until_s = clock_wall_s() + TEST_AGAIN_S;
	for (size_t i = 0; i < DOMAINS_MAX; i++)
		rc->test[i].running &= rc->test[i].group != bg->group;
	if (bs && !bs->client->broken) {
		backend_give(bs, true);
		bs = NULL;
	}
	free(bg);
	unref(rc);
}

static void test_backend(struct recipient_check *rc, struct backend_group *g, const char *domain)
{
	struct background *bg;

	if (!g || test_running(rc, g) || test_find(rc, g, domain))
		return;
	bg = calloc(1, sizeof(*bg));
	if (!bg)
		return;
	bg->rc = rc;
	bg->group = g;
	snprintf(bg->domain, sizeof(bg->domain), "%s", domain);
	if (task_spawn("accept-all test", test_backend_task, bg, NULL) < 0) {
		free(bg);
		return;
	}
	rc->users++;
	test_note(rc, g, domain, false, NULL);     /* under way: not a second one */
}

/* Those who have the domain; where they are learnt from, each one's word counts. */
static void test_servers(struct recipient_check *rc, const char *domain)
{
	const struct domain_conf *d = rc->domains ? site_domain(rc->site, domain) : NULL;

	for (size_t i = 0; d && i < d->owner_count; i++)
		test_backend(rc, backend_domains_find(rc->domains, d->owner[i].name), domain);
	if (!d)
		test_backend(rc, rc->group, domain);
}

int recipient_accepts_all(struct recipient_check *rc, struct backend_group *g, const char *domain)
{
	const struct domain_test *t;

	test_backend(rc, g, domain);
	t = test_find(rc, g, domain);
	return !t || t->pending ? -1 : t->accepts_all;
}

/* --- the cache --- */

/* An address as a key: what differs in case only is the same user on every server that we stand before. */
static void cache_key(struct state_op *op, const struct smtp_mailbox *to)
{
	char text[sizeof(to->text)];
	size_t i;

	for (i = 0; to->text[i]; i++)
		text[i] = to->text[i] >= 'A' && to->text[i] <= 'Z' ? to->text[i] | 0x20 : to->text[i];
	text[i] = '\0';
	state_key(op, "rcpt", text, NULL);
}

/* true: *answer and reply are from the cache. may wait */
static bool cache_get(struct recipient_check *rc, const struct smtp_mailbox *to, enum recipient_answer *answer, struct smtp_reply *reply)
{
	struct state_op op = { .verb = STATE_GET };

	if (!rc->state)
		return false;
	cache_key(&op, to);
	if (state_run(rc->state, &op, 1) < 0 || !op.found)
		return false;
	*answer = op.count ? RECIPIENT_YES : RECIPIENT_NO;
	if (*answer == RECIPIENT_NO) {
		char line[STATE_TEXT_MAX + 2];

		snprintf(line, sizeof(line), "%.*s\r\n", STATE_TEXT_MAX - 1, op.text);
		reply_set(reply, line);
		if (reply->lines == 0)
			reply_set(reply, unknown_user);
	}
	return true;
}

/* refusal NULL: it is known. */
static void cache_put(struct recipient_check *rc, const struct smtp_mailbox *to, const struct smtp_reply *refusal)
{
	struct state_op op = { .verb = STATE_PUT, .add = !refusal };
	AUTO(buf) struct buf clean = BUF_INIT(64 * 1024);
	size_t n;

	if (!rc->state)
		return;
	cache_key(&op, to);
	op.ttl_s = !refusal ? rc->site->verify_positive_s : rc->site->verify_negative_s;
	if (refusal && smtp_reply_pass(&clean, refusal, "5.1.1", NULL) == 0) {
		n = strcspn(buf_str(&clean), "\r\n");
		snprintf(op.text, sizeof(op.text), "%.*s", (int)n, buf_str(&clean));
		if (n > 3 && op.text[3] == '-')
			op.text[3] = ' ';       /* the first line alone */
	}
	state_run(rc->state, &op, 1);           /* not kept: asked again */
}

/* --- call-outs --- */

static void source_failed(struct recipient_check *rc, const char *why)
{
	char address[NET_TEXT_MAX];

	if (!rc->down)
		log_warning("recipient", "source", net_text_port(&rc->site->callout, address), "state", "away", "why", why, NULL);
	rc->down = true;
	rc->down_until_ms = clock_ms() + DOWN_MS;
}

/*
 * Whether a refusal says that there is no such user, rather than that we may not ask: "5.1.x", "5.2.1", Exchange Online's "5.4.1",
 * or no enhanced code and a basic one that means a mailbox.
 */
static bool means_unknown(const struct smtp_reply *r)
{
	int subject = r->status[1], detail = r->status[2];

	if (r->status[0])
		return subject == 1 || (subject == 0 && detail == 0) || (detail == 1 && (subject == 2 || subject == 4));
	return r->code == 550 || r->code == 551 || r->code == 553;
}

static void reply_copy(struct smtp_reply *to, const struct smtp_reply *from)
{
	smtp_reply_release(to);
	smtp_reply_init(to);
	to->code = from->code;
	to->lines = from->lines;
	memcpy(to->status, from->status, sizeof(to->status));
	buf_add(&to->text, buf_str(&from->text), from->text.len);
}

/* The dialogue after EHLO. may wait */
static enum recipient_answer converse(struct recipient_check *rc, struct smtp_client *c, const struct smtp_mailbox *to, int64_t deadline_ms,
				      struct smtp_reply *reply)
{
	struct domain_test *t = test_find(rc, NULL, to->domain);
	char address[NET_TEXT_MAX];
	int said;

	said = smtp_client_mail(c, "", to->utf8 ? "SMTPUTF8" : "", 0, deadline_ms);
	if (said == 0 && c->reply.code / 100 == 4 && !c->closing) {
		/* Exchange short of memory or disk says 452 to MAIL: it knows who exists and will say so later; whoever takes all must not be asked instead. */
		reply_copy(reply, &c->reply);
		return RECIPIENT_LATER;
	}
	if (said < 0 || c->reply.code / 100 != 2) {
		source_failed(rc, c->broken ? c->why : c->closing ? "it said 421" : "it refuses the null sender");
		return RECIPIENT_ASK;
	}
	if (smtp_client_rcpt(c, to->text, "", deadline_ms) < 0 || c->closing) {
		source_failed(rc, c->broken ? c->why : "it said 421");
		return RECIPIENT_ASK;
	}
	if (c->reply.code / 100 == 4) {
		reply_copy(reply, &c->reply);
		return RECIPIENT_LATER;
	}
	net_text_port(&rc->site->callout, address);
	if (c->reply.code / 100 == 5) {
		if (!means_unknown(&c->reply)) {
			source_failed(rc, "it refuses to be asked");
			return RECIPIENT_ASK;
		}
		if (!t)
			test_note(rc, NULL, to->domain, false, address);
		reply_copy(reply, &c->reply);
		cache_put(rc, to, &c->reply);
		return RECIPIENT_NO;
	}
	if (!t) {
		said = ask_random(c, to->domain, deadline_ms);
		if (said >= 0)
			test_note(rc, NULL, to->domain, said == 1, address);
		if (said == 1)
			return RECIPIENT_ASK;
	}
	cache_put(rc, to, NULL);
	return RECIPIENT_YES;
}

static enum recipient_answer callout(struct recipient_check *rc, const struct net_addr *who, const struct smtp_mailbox *to, int64_t deadline_ms,
				     struct smtp_reply *reply)
{
	const struct domain_test *t = test_find(rc, NULL, to->domain);
	enum recipient_answer answer = RECIPIENT_ASK;
	struct smtp_client *c;
	struct share *share = NULL;
	char why[SMTP_WHY_MAX];
	int64_t until = clock_ms() + CALLOUT_MS;

	if (t && t->accepts_all)
		return RECIPIENT_ASK;
	if (cache_get(rc, to, &answer, reply))
		return answer;
	if (clock_ms() < rc->down_until_ms)
		return RECIPIENT_ASK;
	if (deadline_ms && deadline_ms < until)
		until = deadline_ms;
	if (until <= clock_ms() || shares_enter(&rc->calls, who, (int)(until - clock_ms()), &share) < 0)
		return RECIPIENT_ASK;
	if (smtp_client_open(&rc->conf, &rc->site->callout, NULL, until, &c, why) < 0) {
		if (!task_cancelled())
			source_failed(rc, why);
	} else {
		if (rc->down)
			log_notice("recipient", "state", "up", "why", "the source answers again", NULL);
		rc->down = false;
		answer = converse(rc, c, to, until, reply);
		smtp_client_free(c);            /* a source of answers, not of mail: no ceremony */
	}
	shares_leave(&rc->calls, share);
	return answer;
}

static int text_compare(const void *key, const void *item)
{
	return strcmp(key, *(char *const *)item);
}

static bool listed(const struct site *site, const char *text)
{
	return site->verify_list_count > 0 &&
	       bsearch(text, site->verify_list, site->verify_list_count, sizeof(*site->verify_list), text_compare) != NULL;
}

static enum recipient_answer file(const struct site *site, const struct smtp_mailbox *to, struct smtp_reply *reply)
{
	char text[sizeof(to->text) + 1];
	size_t i;

	for (i = 0; to->text[i]; i++)
		text[i] = to->text[i] >= 'A' && to->text[i] <= 'Z' ? to->text[i] | 0x20 : to->text[i];
	text[i] = '\0';
	if (listed(site, text))
		return RECIPIENT_YES;
	snprintf(text, sizeof(text), "@%s", to->domain);
	if (listed(site, text))
		return RECIPIENT_YES;
	reply_set(reply, unknown_user);
	return RECIPIENT_NO;
}

/* may wait */
static enum recipient_answer directory(const struct recipient_check *rc, const struct smtp_mailbox *to, int64_t deadline_ms, struct smtp_reply *reply)
{
	switch (rc->directory ? rc->directory->ask(rc->directory->arg, to->local, to->domain, deadline_ms) : DIRECTORY_LATER) {
	case DIRECTORY_KNOWN:
		return RECIPIENT_YES;
	case DIRECTORY_KNOWN_RESTRICTED:
		reply_set(reply, restricted_user);
		return RECIPIENT_RESTRICTED;
	case DIRECTORY_UNKNOWN:
		reply_set(reply, unknown_user);
		return RECIPIENT_NO;
	case DIRECTORY_ELSEWHERE:
		return RECIPIENT_ASK;
	default:
		reply_set(reply, not_now);
		return RECIPIENT_LATER;
	}
}

int recipient_check_new(const struct site *site, struct state *state, struct backend_group *group, struct recipient_check **out, struct buf *err)
{
	struct recipient_check *rc;
	char address[NET_TEXT_MAX];
	int places;

	if (site->verify == VERIFY_CALLOUT && backend_is_ourselves(site, &site->callout)) {
		buf_addf(err, "recipients cannot be asked of %s: that is ourselves", net_text_port(&site->callout, address));
		return -ELOOP;
	}
	rc = calloc(1, sizeof(*rc));
	if (!rc)
		return -ENOMEM;
	rc->site = site;
	rc->state = state;
	rc->group = group;
	rc->users = 1;
	places = CALLOUTS_SITE / (site->workers > 0 ? site->workers : 1);
	shares_init(&rc->calls, places > CALLOUTS_MAX ? CALLOUTS_MAX : places < 2 ? 2 : places);
	rc->conf = (struct smtp_client_conf){
		.hostname = site->hostname,
		.tls = TLS_OFF,
		.connect_timeout_ms = 10 * 1000,
		.timeouts = &site->timeouts,
	};
	*out = rc;
	return 0;
}

void recipient_check_domains(struct recipient_check *rc, const struct backend_domains *domains)
{
	rc->domains = domains;
}

void recipient_check_directory(struct recipient_check *rc, const struct directory_asker *asker)
{
	rc->directory = asker;
}

void recipient_check_free(struct recipient_check *rc)
{
	if (rc)
		unref(rc);
}

enum recipient_answer recipient_ask_for(struct recipient_check *rc, const struct net_addr *who, const struct smtp_mailbox *to, int64_t deadline_ms,
					struct smtp_reply *reply)
{
	if (strcasecmp(to->local, "postmaster") == 0)
		return RECIPIENT_YES;
	switch (rc->site->verify) {
	case VERIFY_BACKEND:
		test_servers(rc, to->domain);
		return RECIPIENT_ASK;
	case VERIFY_CALLOUT:
		/* The one host that is asked need not know what other servers have: it would say no, or that it does not relay. */
		if (site_domain(rc->site, to->domain)) {
			test_servers(rc, to->domain);
			return RECIPIENT_ASK;
		}
		return callout(rc, who, to, deadline_ms, reply);
	case VERIFY_FILE:
		return file(rc->site, to, reply);
	case VERIFY_DIRECTORY:
		return directory(rc, to, deadline_ms, reply);
	case VERIFY_NONE:
		break;
	}
	return RECIPIENT_YES;
}

enum recipient_answer recipient_ask(struct recipient_check *rc, const struct smtp_mailbox *to, int64_t deadline_ms, struct smtp_reply *reply)
{
	return recipient_ask_for(rc, NULL, to, deadline_ms, reply);
}

int recipient_forget(struct state *state, int64_t *count)
{
	struct state_op op = { .verb = STATE_DELETE, .space = "rcpt" };
	int rc = state_run(state, &op, 1);

	if (rc == 0)
		*count = op.count;
	return rc;
}
