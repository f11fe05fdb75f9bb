/* live_backend - one server behind us: whether it answers, TLS with it, which recipients it takes, and whether it learns who the clients are */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/host.h"
#include "base/stream.h"
#include "base/tls.h"
#include "command/live.h"
#include "command/live_mailbox.h"
#include "command/live_recipients.h"
#include "command/routes_test.h"
#include "hop/backend_self.h"
#include "hop/backend_tls.h"
#include "hop/smtp_client.h"
#include "hop/xclient.h"
#include "policy/conf.h"

enum { SESSIONS_MAX = 21, SESSIONS_MS = 10 * 1000, GOODBYE_MS = 300 };       /* Exchange takes 20 from one source (MaxInboundConnectionPerSource) */

struct look {
	struct live_part *p;
	const struct backend_conf *b;
	struct smtp_client_conf conf;
	struct smtp_timeouts timeouts;
	struct ssl_ctx_st *ctx;
	struct net_addr addr;
	char at[NET_TEXT_MAX];
};

static int64_t soon(const struct look *k)
{
	int64_t until = clock_ms() + LIVE_STEP_MS;

	return until < k->p->until_ms ? until : k->p->until_ms;
}

static void configure(struct look *k)
{
	const struct site *s = k->p->live->site;
	const struct backend_conf *b = k->b;

	k->timeouts = s->timeouts;
	k->timeouts.greeting_ms = k->timeouts.helo_ms = k->timeouts.mail_ms = k->timeouts.rcpt_ms = k->timeouts.block_ms = LIVE_STEP_MS;
	k->timeouts.quit_ms = 1000;
	k->conf = (struct smtp_client_conf){
		.hostname = s->hostname, .tls = b->tls, .implicit = b->tls != TLS_OFF && b->implicit_tls, .tls_name = b->tls_name, .tls_ctx = k->ctx,
		.connect_timeout_ms = b->connect_timeout_ms < LIVE_STEP_MS ? b->connect_timeout_ms : LIVE_STEP_MS, .timeouts = &k->timeouts, .proxy = b->proxy,
	};
}

static int open_as(const struct look *k, const struct smtp_client_conf *conf, struct smtp_client **out, char *why)
{
	return smtp_client_open(conf, &k->addr, NULL, soon(k), out, why);
}

/* --- TLS --- */

/* What it shows, whether that would do or not. may wait */
static void show_certificate(const struct look *k)
{
	AUTO(buf) struct buf err = BUF_INIT(1024);
	AUTO(smtp_client) struct smtp_client *c = NULL;
	const struct tls_peer any = { .min = k->b->tls_min, .level = k->b->tls_level, .ciphers = k->b->tls_ciphers };
	struct smtp_client_conf conf = k->conf;
	char why[SMTP_WHY_MAX];

	conf.tls = TLS_REQUIRED;
	conf.tls_any = true;
	conf.tls_ctx = NULL;
	if (tls_peer_ctx(&any, &conf.tls_ctx, &err) == 0 && open_as(k, &conf, &c, why) == 0 && stream_tls_certificate(c->stream))
		live_certificate(k->p, stream_tls_certificate(c->stream), "its certificate", NULL, k->b->tls == TLS_REQUIRED && !k->b->tls_pin_count);
	smtp_client_free(c);
	c = NULL;
	tls_ctx_free(conf.tls_ctx);
}

static void look_at_tls(const struct look *k, struct smtp_client *c)
{
	const struct backend_conf *b = k->b;
	bool counts = b->tls == TLS_REQUIRED && !b->tls_pin_count;

	if (stream_is_tls(c->stream)) {
		live_say(k->p, LIVE_OK, "TLS: %s with %s, %s", stream_tls_version(c->stream), stream_tls_cipher(c->stream),
			 c->proof == TLS_PROOF_PIN ? "its certificate is pinned" : b->tls == TLS_REQUIRED ? "its certificate is verified" :
			 "its certificate is not looked at (tls = opportunistic)");
		live_certificate(k->p, stream_tls_certificate(c->stream), "its certificate", NULL, counts);
	} else if (c->tls_failed[0]) {
		live_say(k->p, LIVE_WARN, "TLS fails, and mail goes there in clear text (%s): see tls_min, tls_security_level and tls_ciphers", c->tls_failed);
	} else if (b->tls == TLS_OFF) {
		live_say(k->p, c->caps.starttls ? LIVE_WARN : LIVE_OK, c->caps.starttls ? "it offers TLS, and tls = off" : "no TLS: neither side wants it");
	} else {
		live_say(k->p, LIVE_WARN, "it offers no TLS: mail goes there in clear text");
	}
}

/* --- who the clients are --- */

static bool is_behind_transparent(const struct look *k)
{
	const struct site *s = k->p->live->site;

	for (size_t i = 0; i < s->listener_count; i++)
		if (s->listener[i].transparent && listener_has_backend(s, &s->listener[i], k->b))
			return true;
	return false;
}

static void look_at_return(const struct look *k)
{
	struct net_addr client;
	int rc;

	net_parse(k->addr.family == AF_INET6 ? "2001:db8::1" : "192.0.2.1", &client);
	rc = routes_try(&k->addr, &client);
	if (rc == 0)
		live_say(k->p, LIVE_OK, "it sees each client's own address: its answers to strangers come back through this machine");
	else if (rc == -EPERM)
		live_say(k->p, LIVE_WARN, "whether it sees the clients' addresses cannot be seen by this user: gatepost routes --test, as root");
	else if (rc == -ETIMEDOUT)
		live_say(k->p, LIVE_FAIL, "its answers to clients' addresses do not come back through this machine: gatepost routes --test says which route it needs");
	else
		live_say(k->p, LIVE_WARN, "from a client's address: %s; see gatepost routes --test", strerror(-rc));
}

static void look_at_identity(const struct look *k, const struct smtp_client *c)
{
	const struct site *s = k->p->live->site;
	const struct backend_conf *b = k->b;

	if (b->proxy != PROXY_NO)
		live_say(k->p, LIVE_OK, "it takes the PROXY header, and so learns who each client is");
	else if (b->xclient && c->caps.xclient & XCLIENT_ADDR)
		live_say(k->p, LIVE_OK, "it offers XCLIENT to us, and so learns who each client is");
	else if (b->xclient)
		live_say(k->p, LIVE_FAIL, "xclient = yes, and it does not offer XCLIENT to us: it takes all mail for ours (Postfix: smtpd_authorized_xclient_hosts)");
	else if (is_behind_transparent(k))
		look_at_return(k);
	else if (s->client_header)
		live_say(k->p, LIVE_OK, "it sees this gateway as the client of all mail; who sent it stands in the header field %s", s->client_header);
	else
		live_say(k->p, LIVE_WARN, "it sees this gateway as the client of all mail, so that its own lists and SPF checks know nobody: let it leave those "
			 "to us, or tell it by transparent = yes, xclient, proxy or client_header");
}

/* --- how many sessions --- */

static void look_at_sessions(const struct look *k)
{
	struct smtp_client *held[SESSIONS_MAX] = { NULL };
	struct smtp_client_conf conf = k->conf;
	int most = k->b->max_sessions > 0 && k->b->max_sessions < SESSIONS_MAX ? k->b->max_sessions : SESSIONS_MAX, n = 0, rc = 0;
	int64_t until = clock_ms() + SESSIONS_MS < k->p->until_ms ? clock_ms() + SESSIONS_MS : k->p->until_ms;
	char why[SMTP_WHY_MAX];

	if (!conf.implicit)
		conf.tls = TLS_OFF;
	while (n < most && rc == 0 && clock_ms() < until) {
		rc = open_as(k, &conf, &held[n], why);
		/* A session that has said QUIT may count there for another moment. */
		if (rc < 0 && clock_ms() < until && task_sleep(GOODBYE_MS) == 0)
			rc = open_as(k, &conf, &held[n], why);
		n++;
	}
	if (rc == 0 && n < most)
		live_say(k->p, LIVE_OK, "it takes %d sessions from us at once; for more there was no time, since it is slow to greet", n);
	else if (rc < 0)
		live_say(k->p, LIVE_WARN, "session %d at once fails: %s; say max_sessions = %d, or let it take more from us", n, why, n > 1 ? n - 1 : 1);
	else
		live_say(k->p, LIVE_OK, "it takes %d sessions from us at once", n);
	for (int i = 0; i < SESSIONS_MAX; i++)
		smtp_client_free(held[i]);
}

/* --- one address --- */

static void failed(const struct look *k, const char *why)
{
	AUTO(smtp_client) struct smtp_client *c = NULL;
	struct smtp_client_conf conf = k->conf;
	char other[SMTP_WHY_MAX];

	live_say(k->p, LIVE_FAIL, "%s: %s", k->at, why);
	if (strstr(why, "TLS"))
		show_certificate(k);
	if (k->b->proxy == PROXY_NO)
		return;
	conf.proxy = PROXY_NO;
	if (open_as(k, &conf, &c, other) == 0)
		live_say(k->p, LIVE_FAIL, "%s: without a PROXY header it answers: let it expect one, or say proxy = no", k->at);
}

static void look_at_smtp(const struct look *k, bool first)
{
	AUTO(smtp_client) struct smtp_client *c = NULL;
	AUTO(buf) struct buf offers = BUF_INIT(1024);
	char why[SMTP_WHY_MAX], name[100];
	int64_t begun = clock_ms();

	if (open_as(k, &k->conf, &c, why) < 0) {
		failed(k, why);
		return;
	}
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(buf_str(&c->reply.text), " \n"), buf_str(&c->reply.text));
	smtp_caps_text(&c->caps, NULL, &offers);
	live_say(k->p, LIVE_OK, "%s answers after %lld ms as %s: %s", k->at, (long long)(clock_ms() - begun), name, buf_str(&offers));
	if (!c->caps.eightbit)
		live_say(k->p, LIVE_WARN, "it does not offer 8BITMIME: 8-bit mail is passed as it is, or refused (eightbit)");
	look_at_tls(k, c);
	if (!first)
		return;
	look_at_identity(k, c);
	live_recipients(k->p, c, k->p->until_ms);
	smtp_client_quit(c);
	c = NULL;
	look_at_sessions(k);
}

static void look_at_all(struct look *k)
{
	struct net_addr *addr = calloc(HOST_ADDRESSES_MAX, sizeof(*addr));
	char why[HOST_WHY_MAX];
	size_t n = addr ? host_addresses(k->p->live->dns, k->b->host, k->b->port, LIVE_STEP_MS, addr, why) : 0;

	if (addr && n == 0)
		live_say(k->p, LIVE_FAIL, "%s: %s", k->b->host, why);
	for (size_t i = 0; i < n && !task_cancelled(); i++) {
		k->addr = addr[i];
		net_text_port(&k->addr, k->at);
		if (backend_is_ourselves(k->p->live->site, &k->addr))
			live_say(k->p, LIVE_FAIL, "%s is ourselves: mail would loop", k->at);
		else if (k->b->protocol == LISTENER_SMTP)
			look_at_smtp(k, i == 0);
		else
			live_mailbox(k->p, &k->addr, k->ctx);
	}
	free(addr);
}

void live_backend(struct live_part *p)
{
	AUTO(buf) struct buf err = BUF_INIT(1024);
	struct look k = { .p = p, .b = p->backend };

	if (k.b->tls != TLS_OFF && backend_tls_ctx(k.b, &k.ctx, &err) < 0) {
		live_say(p, LIVE_FAIL, "TLS: %s", buf_str(&err));
		return;
	}
	configure(&k);
	look_at_all(&k);
	tls_ctx_free(k.ctx);
}
