#include "smtp/destination_hop.h"

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
#include "base/transparent.h"
#include "policy/conf.h"
#include "smtp/backend.h"
#include "smtp/smtp_client.h"
#include "smtp/xclient.h"

enum {
	PORTS_MAX = 3,                  /* attempts at a port that is not the client's own */
	OWN_MS = 3000,                  /* the second attempt, from our own address */
	SAY_MS = 10 * 60 * 1000,
	HELO_MAX = 256,
};

struct session {
	struct destination to;
	struct smtp_client *client;
	struct smtp_client_conf conf;
	struct backend *backend;        /* NULL: it is none of them */
	char helo[HELO_MAX];
};

struct destination_hop {
	struct next_hop hop;
	struct destination to;
	char helo[HELO_MAX];
	struct session *session;
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
static bool answers_us(const struct destination *d, struct net_addr *own)
{
	AUTO(stream) struct stream *s = NULL;
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	if (stream_connect(&d->to, NULL, OWN_MS, &s) < 0 || getsockname(stream_fd(s), (struct sockaddr *)&ss, &len) < 0)
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

	if (backend_is_ourselves(d->site, &d->to) || net_is_loopback(&d->to))
		return -ELOOP;
	rc = from_client(d, timeout_ms, out);
	if (rc == -ETIMEDOUT && !task_cancelled() && answers_us(d, &own)) {
		say_unreturned(d, &own);
		return -ENOTCONN;
	}
	return rc;
}

/* --- the hop --- */

static int dial(void *arg, const struct net_addr *to, int timeout_ms, struct stream **out)
{
	struct session *s = arg;

	return destination_connect(&s->to, timeout_ms, out);
}

static void session_free(struct session *s)
{
	smtp_client_free(s->client);
	if (s->backend)
		backend_leave(s->backend);
	free(s);
}

static void configure(struct session *s)
{
	const struct site *site = s->to.site;

	if (s->backend)
		s->conf = *backend_client_conf(s->backend);
	else
		s->conf = (struct smtp_client_conf){
			.tls = TLS_OPPORTUNISTIC, .tls_ctx = s->to.tls,
			.connect_timeout_ms = site->outbound.connect_timeout_ms, .timeouts = &site->timeouts,
		};
	s->conf.hostname = xclient_helo_ok(s->helo) ? s->helo : site->hostname;
	s->conf.dial = dial;
	s->conf.dial_arg = s;
}

/* may wait */
static int session_open(struct destination_hop *h, int64_t deadline_ms, struct session **out, char *why)
{
	struct backend *b = backend_at(h->to.group, &h->to.to);
	int rc = b ? backend_enter(b, deadline_ms) : 0;
	struct session *s;

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
	s->to = h->to;
	s->backend = b;
	memcpy(s->helo, h->helo, sizeof(s->helo));
	configure(s);
	rc = smtp_client_open(&s->conf, &s->to.to, NULL, deadline_ms, &s->client, why);
	if (rc < 0) {
		session_free(s);
		return rc;
	}
	*out = s;
	return 0;
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
	char why[SMTP_WHY_MAX] = "";
	int rc;

	name_it(h);
	rc = session_open(h, deadline_ms, &h->session, why);
	if (rc == 0) {
		hop->client = h->session->client;
		hop->strain = 0;
		return 0;
	}
	if (rc == -ELOOP)
		snprintf(hop->refusal, sizeof(hop->refusal), "451 4.4.6 this would come back to us");
	else if (rc == -ENOTCONN)
		snprintf(hop->refusal, sizeof(hop->refusal), "451 4.4.1 the mail server behind cannot be reached in your name, try again later");
	log_notice("destination", "to", hop->name, "client", h->helo, "error", why, NULL);
	return rc == -EBUSY || rc == -ETIMEDOUT || rc == -ECANCELED || rc == -ENOMEM ? rc : -EHOSTUNREACH;
}

static void quit_task(void *arg)
{
	struct session *s = arg;

	smtp_client_quit(s->client);
	s->client = NULL;
	session_free(s);
}

static void give(struct next_hop *hop, bool clean)
{
	struct destination_hop *h = (struct destination_hop *)hop;
	struct session *s = h->session;

	h->session = NULL;
	hop->client = NULL;
	if (s->client->broken || task_spawn("destination quit", quit_task, s, NULL) < 0)
		session_free(s);
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
	h->to.helo = NULL;
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
