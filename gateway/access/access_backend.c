#include "access/access_backend.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "access/access_session.h"
#include "base/log.h"
#include "base/stream.h"
#include "base/tls.h"
#include "hop/backend_self.h"
#include "hop/backend_tls.h"
#include "hop/destination_hop.h"
#include "policy/user_map.h"

enum { HANDSHAKE_MS = 30 * 1000 };      /* with a server that is none of ours; with ours, its connect_timeout */

struct access_servers {
	tcp_set all;                    /* that speak the protocol */
	bool mapped;                    /* the map of users leads to some of them */
	tcp_set *sni;                   /* of each of site->sni; NULL: there is none */
	struct ssl_ctx_st *any;         /* whatever the certificate */
	struct ssl_ctx_st *own[TCP_BACKENDS_MAX];       /* of each of site->backend, as its section says */
};

/* --- what is shared --- */

static tcp_set of_map(const struct user_map_backends *u)
{
	tcp_set set = 0;

	for (size_t i = 0; i < u->count; i++)
		if (u->number[i] < TCP_BACKENDS_MAX)
			set |= (tcp_set)1 << u->number[i];
	return set;
}

static int contexts_new(const struct site *site, struct access_servers *v, struct buf *err)
{
	int rc = tls_client_ctx(false, NULL, &v->any, err);

	for (size_t i = 0; rc == 0 && i < site->backend_count && i < TCP_BACKENDS_MAX; i++)
		if (v->all >> i & 1 && site->backend[i].tls != TLS_OFF)
			rc = backend_tls_ctx(&site->backend[i], &v->own[i], err);
	return rc;
}

int access_servers_new(const struct access_service *svc, struct access_servers **out, struct buf *err)
{
	const struct site *site = svc->site;
	struct access_servers *v = calloc(1, sizeof(*v));
	int rc;

	if (!v)
		return -ENOMEM;
	v->all = tcp_set_of_protocol(site, svc->protocol->protocol);
	for (size_t i = 0; i < user_map_list_count(site->users); i++)
		v->mapped = v->mapped || of_map(user_map_list(site->users, i)) & v->all;
	v->sni = calloc(site->sni_count + 1, sizeof(*v->sni));
	rc = v->sni ? contexts_new(site, v, err) : -ENOMEM;
	if (rc < 0) {
		access_servers_free(v);
		return rc;
	}
	for (size_t i = 0; i < site->sni_count; i++)
		v->sni[i] = tcp_set_of_names(site, site->sni[i].backends, site->sni[i].backend_count) & v->all;
	*out = v;
	return 0;
}

void access_servers_free(struct access_servers *v)
{
	if (!v)
		return;
	for (size_t i = 0; i < TCP_BACKENDS_MAX; i++)
		tls_ctx_free(v->own[i]);
	tls_ctx_free(v->any);
	free(v->sni);
	free(v);
}

/* --- which --- */

static tcp_set by_name(const struct access_session *s)
{
	const struct site *site = s->svc->site;
	const struct sni_conf *n = s->sni ? site_sni(site, s->sni) : NULL;

	return n ? s->svc->servers->sni[n - site->sni] : 0;
}

static tcp_set wanted(const struct access_session *s, const char *user)
{
	const struct user_map_backends *u = user ? user_map_lookup(s->svc->site->users, user) : NULL;
	tcp_set set = u ? of_map(u) & s->svc->servers->all : 0;

	if (!set)
		set = by_name(s);
	return set ? set : s->listener->backends;
}

static bool connected_among(const struct access_session *s, tcp_set set)
{
	const struct backend_conf *conf = s->backend.conf;

	return conf && set >> (conf - s->svc->site->backend) & 1;
}

/* What the client says comes under TLS, and is to stay so. */
static bool guarded(const struct access_session *s)
{
	return stream_is_tls(s->client) && !s->svc->site->auth.plaintext;
}

/* The client has begun TLS since: now it is tried with the server, too. */
static bool once_more(const struct access_session *s)
{
	return s->backend.tls_skipped && guarded(s);
}

bool access_backend_routes(const struct access_session *s)
{
	tcp_set named = by_name(s);

	if (once_more(s))
		return true;
	if (s->backend.direct)
		return false;
	return s->svc->servers->mapped || (named && !connected_among(s, named));
}

bool access_backend_suits(const struct access_session *s, const char *user)
{
	return !once_more(s) && (s->backend.direct || connected_among(s, wanted(s, user)));
}

/* --- TLS --- */

/* In words for the log, and why. */
static int tls_refused(const struct access_session *s, const struct backend_conf *conf, int rc, const char *what, char *why)
{
	snprintf(why, HOST_WHY_MAX, "TLS: %.150s", what);
	/* An injection is no sign of an old server, and nothing to remember it by. */
	if (conf && s->backend.link.backend && s->backend.tls == TLS_OPPORTUNISTIC && rc != -EPROTO) {
		backend_tls_seen(conf, tcp_link_weak(&s->backend.link), what);
		return rc;
	}
	log_warning("backend-tls", "sid", s->id, "backend", conf ? conf->name : "destination", "error",
		    conf && conf->tls == TLS_REQUIRED ? "TLS failed, and it is required: nothing is said to it" : "TLS failed", "why", what, NULL);
	return rc;
}

/*
 * The server speaks next only after our ClientHello: whatever is there now was put in by somebody (CVE-2011-0411, the other way round). What comes
 * later OpenSSL takes for a record, and ends it. may wait
 */
static int handshake(const struct access_session *s, const struct backend_conf *conf, struct stream *stream, char *why)
{
	const struct access_servers *v = s->svc->servers;
	struct ssl_ctx_st *own = conf ? v->own[conf - s->svc->site->backend] : NULL;
	const char *p;
	size_t len;
	int rc = stream_peek(stream, 0, &p, &len);

	if (rc == 0)
		return tls_refused(s, conf, -EPROTO, "the server spoke before the handshake (response injection)", why);
	if (rc == -ETIMEDOUT && !conf)
		rc = stream_tls_connect_any(stream, v->any, s->sni, HANDSHAKE_MS);
	else if (rc == -ETIMEDOUT)
		rc = stream_tls_connect(stream, own ? own : v->any, conf->tls_name, conf->connect_timeout_ms);
	if (rc == 0 || rc == -ECANCELED)
		return rc;
	return tls_refused(s, conf, rc == -EPROTO ? -ECONNABORTED : rc, rc == -EPROTO ? stream_error(stream) : strerror(-rc), why);
}

bool access_backend_wants_starttls(const struct access_session *s)
{
	const struct access_backend *b = &s->backend;

	return b->tls != TLS_OFF && !b->implicit && !b->tls_failed && b->stream && !stream_is_tls(b->stream);
}

int access_backend_starttls(struct access_session *s, char *why)
{
	struct access_backend *b = &s->backend;
	int rc = handshake(s, b->conf, b->stream, why);

	if (rc == 0)
		tcp_link_up(&b->link);
	if (rc == 0 && b->conf && b->link.backend)
		backend_tls_seen(b->conf, tcp_link_weak(&b->link), NULL);
	else if (rc != -ECANCELED && b->tls == TLS_REQUIRED)
		tcp_link_away(&b->link, why);
	/* An injection is no reason to go on in clear: that is what it may be for. */
	return rc < 0 && rc != -ECANCELED && rc != -EPROTO && b->tls == TLS_OPPORTUNISTIC ? -EAGAIN : rc;
}

bool access_backend_unsafe(const struct access_session *s)
{
	if (!s->backend.tls_failed || !guarded(s))
		return false;
	log_warning("backend-tls", "sid", s->id, "backend", s->backend.link.name, "error", "TLS failed: no password goes there", NULL);
	return true;
}

/* --- connecting --- */

static bool implicit_of(const struct backend_conf *conf)
{
	return conf->tls != TLS_OFF && conf->implicit_tls;
}

/* TLS from the first octet. may wait */
static int prepare(void *arg, const struct backend_conf *conf, struct stream *stream, char *why)
{
	return implicit_of(conf) ? handshake(arg, conf, stream, why) : 0;
}

/* Where TLS must be and comes later, a connection says nothing yet. */
static bool unproven(void *arg, const struct backend_conf *conf)
{
	return conf->tls == TLS_REQUIRED && !implicit_of(conf);
}

/* Behind us. may wait */
static int open_among(struct access_session *s, tcp_set among, char *why)
{
	struct access_backend *b = &s->backend;
	struct tcp_want w = { .among = among, .header = &s->header, .prepare = prepare, .unproven = unproven, .arg = s };
	int rc = tcp_backends_connect(s->svc->backends, &w, &b->link, why);

	if (rc < 0)
		return rc;
	b->conf = b->link.conf;
	b->tls = b->conf->tls;
	b->implicit = implicit_of(b->conf);
	b->stream = b->link.stream;
	return 0;
}

/* How the server at the far end is spoken to: as one of ours with this port is; on another port of ours, and elsewhere, TLS begins as the client's does. */
static void direct_settings(struct access_session *s)
{
	struct access_backend *b = &s->backend;
	bool implicit = s->conf->tls == LISTENER_TLS_IMPLICIT;

	b->direct = true;
	b->tls = b->conf ? b->conf->tls : TLS_OPPORTUNISTIC;
	if (b->conf && b->conf->port == s->local.port) {
		b->implicit = implicit_of(b->conf);
		return;
	}
	b->implicit = implicit;
	if (implicit && b->tls == TLS_OFF)
		b->tls = TLS_OPPORTUNISTIC;
}

/* may wait */
static int direct_connect(struct access_session *s, char *why)
{
	struct access_service *svc = s->svc;
	struct access_backend *b = &s->backend;
	struct destination d = {
		.site = svc->site, .sockets = svc->sockets, .shared = svc->destinations, .client = s->peer, .to = s->local,
	};
	int rc = destination_connect(&d, b->conf ? b->conf->connect_timeout_ms : svc->site->outbound.connect_timeout_ms, &b->link.stream);

	if (rc < 0 && rc != -ELOOP)
		snprintf(why, HOST_WHY_MAX, "connect: %s", destination_error(rc));
	else if (rc == 0 && b->implicit)
		rc = handshake(s, b->conf, b->link.stream, why);
	return rc;
}

/*
 * Inline: where the client wanted to go, from its own address. What a load balancer tells is its own address: to go there would be a loop.
 * -ENOENT: it wanted to come here. may wait
 */
static int open_direct(struct access_session *s, char *why)
{
	struct access_service *svc = s->svc;
	struct access_backend *b = &s->backend;
	int at, rc;

	if (backend_is_ourselves(svc->site, &s->local))
		return -ENOENT;
	at = tcp_backends_at(svc->backends, svc->servers->all, &s->local);
	b->link.name = "destination";
	net_text_port(&s->local, b->link.address);
	if (at >= 0 && !tcp_backends_enter(svc->backends, (size_t)at, &b->link)) {
		snprintf(why, HOST_WHY_MAX, "all its sessions are taken");
		return -EBUSY;
	}
	b->conf = b->link.conf;
	direct_settings(s);
	rc = direct_connect(s, why);
	if (rc == -ELOOP) {
		access_backend_close(s);
		return -ENOENT;
	}
	if (rc == 0)
		b->stream = b->link.stream;
	return rc;
}

/*
 * A server whose handshakes fail is not asked for TLS each time, where the client's password may go there in clear text as it is. Whom that would
 * cost his login tries it each time.
 */
static void skip_tls(struct access_session *s)
{
	struct access_backend *b = &s->backend;

	if (b->conf && b->link.backend && b->conf->tls != TLS_OPPORTUNISTIC)
		backend_tls_seen(b->conf, tcp_link_weak(&b->link), NULL);
	if (b->tls != TLS_OPPORTUNISTIC || b->implicit || !b->link.backend || guarded(s))
		return;
	b->tls_failed = b->tls_skipped = tls_weak_skip(tcp_link_weak(&b->link));
}

int access_backend_open(struct access_session *s, const char *user, char *why)
{
	int rc;

	access_backend_close(s);
	rc = s->conf->transparent ? open_direct(s, why) : -ENOENT;
	if (rc == -ENOENT)
		rc = open_among(s, wanted(s, user), why);
	if (rc == 0)
		skip_tls(s);
	return rc;
}

int access_backend_open_clear(struct access_session *s, const char *user, char *why)
{
	const struct backend_conf *conf = s->backend.conf;
	bool direct = s->backend.direct;
	int rc;

	access_backend_close(s);
	rc = direct ? open_direct(s, why) : conf ? open_among(s, (tcp_set)1 << (conf - s->svc->site->backend), why) : -ENOENT;
	s->backend.tls_failed = true;
	return rc;
}

void access_backend_close(struct access_session *s)
{
	tcp_link_release(&s->backend.link);
	s->backend = (struct access_backend){ 0 };
}

/* --- what the server is told --- */

/* Inline it sees the client himself; of a load balancer's own check there is nothing to tell. */
static bool tells(const struct access_session *s)
{
	return s->backend.conf && s->backend.conf->xclient && !s->backend.direct && s->header.told;
}

const char *access_backend_xclient(const struct access_session *s, char out[ACCESS_TOLD_MAX])
{
	char ip[NET_TEXT_MAX];

	if (!tells(s))
		return NULL;
	snprintf(out, ACCESS_TOLD_MAX, "XCLIENT ADDR=%s PORT=%u SESSION=%s", net_text(&s->header.source, ip), s->header.source.port, s->id);
	return out;
}

const char *access_backend_id(const struct access_session *s, char out[ACCESS_TOLD_MAX])
{
	char ip[NET_TEXT_MAX], local[NET_TEXT_MAX];
	int n;

	if (!tells(s))
		return NULL;
	n = snprintf(out, ACCESS_TOLD_MAX, "ID (\"x-originating-ip\" \"%s\" \"x-originating-port\" \"%u\"", net_text(&s->header.source, ip),
		     s->header.source.port);
	if (s->header.destination.family)
		n += snprintf(out + n, ACCESS_TOLD_MAX - (size_t)n, " \"x-connected-ip\" \"%s\" \"x-connected-port\" \"%u\"",
			      net_text(&s->header.destination, local), s->header.destination.port);
	snprintf(out + n, ACCESS_TOLD_MAX - (size_t)n, " \"x-session-id\" \"%s\")", s->id);
	return out;
}
