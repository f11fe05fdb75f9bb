#include "hop/destination_hop.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/stream.h"
#include "base/task.h"
#include "base/tls_mint.h"
#include "base/transparent.h"
#include "hop/backend.h"
#include "hop/backend_hop.h"
#include "hop/destination_tls.h"
#include "hop/outbound.h"
#include "hop/outbound_tls.h"
#include "hop/smtp_client.h"
#include "hop/xclient.h"
#include "policy/conf.h"

enum {
	PORTS_MAX = 3,                  /* attempts at a port that is not the client's own */
	OWN_MS = 3000,                  /* the second attempt, from our own address */
	SAY_MS = 10 * 60 * 1000,
	LINE_MS = 60 * 1000,            /* a connection on which nothing was said is not relied on for longer */
	PAUSE_MS = 30 * 1000,           /* for one transaction, after a silence */
	HELO_MAX = 256,
};

struct destination_session {
	struct destination to;
	struct smtp_client *client;
	struct smtp_client_conf conf;
	struct backend *backend;        /* NULL: it is none of them */
	struct outbound_tls_demand *demand;     /* what TLS has to be; conf points into it */
	char helo[HELO_MAX], sni[DOMAIN_MAX];
};

struct destination_hop {
	struct next_hop hop;
	struct destination to;
	char helo[HELO_MAX], domain[DOMAIN_MAX];
	struct destination_session *session;
	/* It did not answer: who names many recipients hears so at once. */
	int64_t not_before_ms;
	int failed;
	char failed_reply[NEXT_HOP_WHY_MAX];
};

/* --- connecting --- */

static unsigned short port_of(int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct net_addr own = { 0 };

	if (getsockname(fd, (struct sockaddr *)&ss, &len) == 0)
		net_from_sockaddr((struct sockaddr *)&ss, &own);
	return own.port;
}

/* A connection that has begun; or -errno. may wait */
static int begin(const struct destination *d, int timeout_ms)
{
	struct net_addr from = d->client;
	struct sockaddr_storage ss;
	int fd = d->sockets ? d->sockets->take(d->sockets, d->to.family, timeout_ms) : -EPERM, rc = 0;

	if (fd < 0)
		return fd;
	from.port = 0;
	if (bind(fd, (struct sockaddr *)&ss, net_to_sockaddr(&from, &ss)) < 0)
		rc = -errno;
	if (rc == 0 && connect(fd, (struct sockaddr *)&ss, net_to_sockaddr(&d->to, &ss)) < 0 && errno != EINPROGRESS)
		rc = -errno;
	if (rc == 0)
		return fd;
	close(fd);
	return rc;
}

/*
 * The client's own port is left to it: with connection tracking in the kernel both connections would be one.
 */
static int from_client(const struct destination *d, int timeout_ms, struct stream **out)
{
	int fd = -EADDRINUSE;

	for (int i = 0; i < PORTS_MAX; i++) {
		fd = begin(d, timeout_ms);
		if (fd < 0)
			return fd;
		if (port_of(fd) != d->client.port)
			return stream_connecting(fd, timeout_ms, out);
		close(fd);
	}
	return -EADDRINUSE;
}

/* The address of ours that faces the destination, which answers it: the way back from there. may wait */
static bool answers_us(const struct destination *d, int timeout_ms, struct net_addr *own)
{
	AUTO(stream) struct stream *s = NULL;
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	if (stream_connect(&d->to, NULL, timeout_ms < OWN_MS ? timeout_ms : OWN_MS, &s) < 0 || getsockname(stream_fd(s), (struct sockaddr *)&ss, &len) < 0)
		return false;
	net_from_sockaddr((struct sockaddr *)&ss, own);
	return true;
}

static void say_unreturned(const struct destination *d, const struct net_addr *own)
{
	int64_t now = clock_ms(), said = d->shared ? atomic_load(&d->shared->said_ms) : 0;
	char client[NET_TEXT_MAX], to[NET_TEXT_MAX], via[NET_TEXT_MAX], route[200];

	if (d->shared)
		atomic_fetch_add(&d->shared->unreturned, 1);
	if (said && now - said < SAY_MS)
		return;
	if (d->shared && !atomic_compare_exchange_strong(&d->shared->said_ms, &said, now))
		return;
	snprintf(route, sizeof(route), "ip %s route replace default via %s", own->family == AF_INET6 ? "-6" : "-4", net_text(own, via));
	log_error("return-route", "error", "THE SERVER'S ANSWERS DO NOT COME BACK THROUGH US: it answers our own address, not its clients'; mail is deferred",
		  "destination", net_text_port(&d->to, to), "client", net_text(&d->client, client), "on_the_server", route, NULL);
}

int destination_connect(const struct destination *d, int timeout_ms, struct stream **out)
{
	struct net_addr own;
	int rc;

	if (d->line && d->line->stream) {
		struct stream *ready = d->line->stream;

		d->line->stream = NULL;
		if (clock_ms() - d->line->since_ms < LINE_MS) {
			*out = ready;
			return 0;
		}
		stream_free(ready);
	}
	if (backend_is_ourselves(d->site, &d->to) || net_is_loopback(&d->to))
		return -ELOOP;
	rc = from_client(d, timeout_ms, out);
	if (rc == -ETIMEDOUT && !task_cancelled() && answers_us(d, timeout_ms, &own)) {
		say_unreturned(d, &own);
		return -ENOTCONN;
	}
	return rc;
}

const char *destination_error(int rc)
{
	return rc == -ENOTCONN ? "its answers do not come back through us" : strerror(-rc);
}

/* --- the hop --- */

static int dial(void *arg, const struct net_addr *to, int timeout_ms, struct stream **out)
{
	struct destination_session *s = arg;

	return destination_connect(&s->to, timeout_ms, out);
}

static void session_free(struct destination_session *s)
{
	smtp_client_free(s->client);
	if (s->backend)
		backend_leave(s->backend);
	outbound_tls_demand_free(s->demand);
	free(s);
}

static void configure(struct destination_session *s)
{
	const struct site *site = s->to.site;

	if (s->backend)
		s->conf = *backend_client_conf(s->backend);
	else
		s->conf = (struct smtp_client_conf){
			.tls = TLS_OPPORTUNISTIC, .tls_ctx = s->to.tls, .tls_any = true,
			.connect_timeout_ms = site->outbound.connect_timeout_ms, .timeouts = &site->timeouts,
		};
	if (!s->conf.tls_ctx)
		s->conf.tls_ctx = s->to.tls;
	s->conf.hostname = xclient_helo_ok(s->helo) ? s->helo : site->hostname;
	s->conf.implicit = s->to.implicit;
	s->conf.proxy = PROXY_NO;       /* it sees the client himself */
	s->conf.dial = dial;
	s->conf.dial_arg = s;
}

/* A session that is still to be opened. may wait */
static int session_new(const struct destination *d, const char *helo, int64_t deadline_ms, struct destination_session **out, char *why)
{
	struct backend *b = backend_at(d->group, &d->to);
	int rc = b ? backend_enter(b, deadline_ms) : 0;
	struct destination_session *s;

	if (rc < 0) {
		snprintf(why, SMTP_WHY_MAX, "all its sessions are taken");
		return rc;
	}
	s = calloc(1, sizeof(*s));
	if (!s) {
		if (b)
			backend_leave(b);
		snprintf(why, SMTP_WHY_MAX, "out of memory");
		return -ENOMEM;
	}
	s->to = *d;
	s->to.helo = s->to.domain = NULL;
	s->to.ahead = NULL;
	s->backend = b;
	snprintf(s->helo, sizeof(s->helo), "%s", helo ? helo : "");
	configure(s);
	*out = s;
	return 0;
}

int destination_backend(const struct destination *d, int64_t deadline_ms, struct backend_session **out, char *why, char *refusal)
{
	struct destination_session *s = calloc(1, sizeof(*s));
	int rc = -ENOENT;

	snprintf(why, SMTP_WHY_MAX, "%s", s ? "it is none of the backends" : "out of memory");
	if (!s)
		return -ENOMEM;
	s->to = *d;
	s->backend = backend_at(d->group, &d->to);
	snprintf(s->helo, sizeof(s->helo), "%s", d->helo ? d->helo : "");
	configure(s);
	s->conf.tls_always = true;              /* a password is to be said there */
	if (s->backend)
		rc = backend_open(s->backend, &s->conf, &d->to, deadline_ms, out, why, refusal);
	free(s);                                /* needed to dial, and no more */
	return rc;
}

int destination_open_plain(const struct destination *d, int64_t deadline_ms, struct destination_session **out, char *why)
{
	struct destination_session *s;
	int rc = session_new(d, d->helo, deadline_ms, &s, why);

	if (rc < 0)
		return rc;
	s->conf.tls = TLS_OFF;
	rc = smtp_client_open(&s->conf, &s->to.to, NULL, deadline_ms, &s->client, why);
	if (rc < 0)
		session_free(s);
	else
		*out = s;
	return rc;
}

struct smtp_client *destination_client(struct destination_session *s)
{
	return s->client;
}

int destination_starttls(struct destination_session *s, const char *sni, int64_t deadline_ms, char *why)
{
	struct ssl_ctx_st *own = s->backend ? backend_tls_peculiar(s->backend) : NULL;
	struct ssl_ctx_st *ctx = own ? own : s->to.outbound ? outbound_tls_any(outbound_tls(s->to.outbound)) : s->to.tls;
	int rc;

	if (!ctx) {
		snprintf(why, SMTP_WHY_MAX, "no TLS context");
		return -ENOMEM;
	}
	snprintf(s->sni, sizeof(s->sni), "%s", sni ? sni : "");
	s->conf.tls = TLS_REQUIRED;
	s->conf.tls_ctx = ctx;
	s->conf.tls_any = true;
	s->conf.tls_name = s->sni[0] ? s->sni : NULL;
	rc = smtp_client_starttls_finish(s->client, deadline_ms);
	if (rc < 0)
		snprintf(why, SMTP_WHY_MAX, "%s", s->client->why);
	return rc;
}

/* Once more what the client was shown the certificate of. may wait */
static int open_alike(const struct destination_hop *h, int64_t deadline_ms, struct destination_session **out, char *why)
{
	const struct destination_ahead *a = h->to.ahead;
	struct destination d = h->to;
	struct destination_session *s;
	unsigned char names[sizeof(a->names)];
	int rc;

	d.helo = h->helo;
	rc = destination_open_plain(&d, deadline_ms, &s, why);
	if (rc < 0)
		return rc;
	rc = smtp_client_starttls_begin(s->client, deadline_ms);
	if (rc == 0 && s->client->reply.code != 220)
		rc = -EPROTO;
	if (rc == 0)
		rc = destination_starttls(s, a->sni[0] ? a->sni : NULL, deadline_ms, why);
	else
		snprintf(why, SMTP_WHY_MAX, "STARTTLS is not taken any more");
	if (rc == 0 && a->trusted && (!stream_tls_trusted(s->client->stream) ||
				      tls_names_digest(stream_tls_certificate(s->client->stream), names) < 0 || memcmp(names, a->names, sizeof(names)) != 0)) {
		snprintf(why, SMTP_WHY_MAX, "its certificate is not of the names any more that the client was shown");
		rc = -EPROTO;
	}
	if (rc < 0)
		destination_end(s);
	else
		*out = s;
	return rc;
}

/* may wait */
static int open_as_wanted(const struct destination_hop *h, int64_t deadline_ms, struct destination_session **out, char *why, char *refusal)
{
	struct destination_session *s;
	int rc = session_new(&h->to, h->helo, deadline_ms, &s, why);

	if (rc < 0)
		return rc;
	if (!s->backend && h->to.outbound) {
		rc = destination_demand(&h->to, h->domain, deadline_ms, &s->demand, why);
		if (rc == 0)
			outbound_tls_apply(s->demand, &s->conf);
	}
	if (rc == 0) {
		rc = smtp_client_open_told(&s->conf, &s->to.to, NULL, deadline_ms, &s->client, why, refusal);
		if (rc == 0 && s->backend)
			backend_tls_note(s->backend, s->client);
		if (s->demand)
			outbound_tls_opened(s->demand, rc, s->client, why);
		if (rc == -EPROTO && s->demand && outbound_tls_demanded(s->demand))
			rc = -EACCES;
	}
	if (rc < 0)
		session_free(s);
	else
		*out = s;
	return rc;
}

/* may wait */
static int session_open(struct destination_hop *h, int64_t deadline_ms, struct destination_session **out, char *why, char *refusal)
{
	struct destination_ahead *a = h->to.ahead;
	struct destination_session *s = a ? a->session : NULL;

	if (a)
		a->session = NULL;
	if (s && !s->client->closing && smtp_client_quiet(s->client)) {
		*out = s;
		return 0;
	}
	destination_end(s);
	return a && a->tls ? open_alike(h, deadline_ms, out, why) : open_as_wanted(h, deadline_ms, out, why, refusal);
}

static void name_it(struct destination_hop *h)
{
	struct backend *b = backend_at(h->to.group, &h->to.to);
	char text[NET_TEXT_MAX];

	snprintf(h->hop.name, sizeof(h->hop.name), "%s", b ? backend_name(b) : net_text_port(&h->to.to, text));
}

static int take(struct next_hop *hop, int64_t deadline_ms)
{
	struct destination_hop *h = (struct destination_hop *)hop;
	char why[SMTP_WHY_MAX] = "", refusal[SMTP_WHY_MAX] = "", client[NET_TEXT_MAX];
	int rc;

	name_it(h);
	hop->refusal[0] = '\0';
	if (clock_ms() < h->not_before_ms) {
		memcpy(hop->refusal, h->failed_reply, sizeof(hop->refusal));
		return h->failed;
	}
	rc = session_open(h, deadline_ms, &h->session, why, refusal);
	if (rc == 0) {
		hop->client = h->session->client;
		hop->strain = 0;
		if (!h->session->backend)
			outbound_tls_words(hop->client, hop->tls);
		return 0;
	}
	if (rc == -ELOOP)
		snprintf(hop->refusal, sizeof(hop->refusal), "451 4.4.6 this would come back to us");
	else if (rc == -ENOTCONN)
		snprintf(hop->refusal, sizeof(hop->refusal), "451 4.4.1 the mail server behind cannot be reached in your name, try again later");
	else if (rc == -EACCES || rc == -EAGAIN)
		snprintf(hop->refusal, sizeof(hop->refusal), "451 %s the mail server there cannot be used as its domain wants it (%.200s), try again later",
			 rc == -EACCES ? "4.7.5" : "4.4.3", why);
	log_notice("destination", "to", hop->name, "client", net_text(&h->to.client, client), "error", why, NULL);
	if (refusal[0]) {
		backend_hop_refuse(hop, refusal);
		return refusal[0] == '5' ? -EACCES : -EBUSY;
	}
	if (rc == -ETIMEDOUT || rc == -ENOTCONN) {
		h->not_before_ms = clock_ms() + PAUSE_MS;
		h->failed = -EHOSTUNREACH;
		memcpy(h->failed_reply, hop->refusal, sizeof(h->failed_reply));
	}
	return rc == -EBUSY || rc == -ETIMEDOUT || rc == -ECANCELED || rc == -ENOMEM ? rc : -EHOSTUNREACH;
}

static void quit_task(void *arg)
{
	struct destination_session *s = arg;

	smtp_client_quit(s->client);
	s->client = NULL;
	session_free(s);
}

void destination_end(struct destination_session *s)
{
	if (s && (s->client->broken || task_spawn("destination quit", quit_task, s, NULL) < 0))
		session_free(s);
}

static void give(struct next_hop *hop, bool clean)
{
	struct destination_hop *h = (struct destination_hop *)hop;
	struct destination_session *s = h->session;

	h->session = NULL;
	hop->client = NULL;
	destination_end(s);
}

static void release(struct next_hop *hop)
{
	free(hop);
}

static const struct next_hop_ops ops = { take, give, release };

struct next_hop *destination_hop_new(const struct destination *d)
{
	struct destination_hop *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->hop.ops = &ops;
	h->to = *d;
	h->to.helo = h->to.domain = NULL;
	snprintf(h->domain, sizeof(h->domain), "%s", d->domain ? d->domain : "");
	snprintf(h->helo, sizeof(h->helo), "%s", d->helo ? d->helo : "");
	return &h->hop;
}

void destination_caps(struct backend_group *g, const struct net_addr *to, struct smtp_caps *out)
{
	struct backend *b = backend_at(g, to);

	memset(out, 0, sizeof(*out));
	if (b && backend_caps(b, out))
		return;
	/*
	 * Nobody knows. Not to offer SMTPUTF8 would make the sender give up what the destination may take; RCPT says if it does not. Nearly every server has
	 * 8BITMIME. DSN is left out: the sender then reports what it has relayed itself (RFC 3461 6.2.7.2), where we might have to drop its wish.
	 */
	memset(out, 0, sizeof(*out));
	out->eightbit = out->smtputf8 = true;
}
