#include "access/access_backend.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "access/access_session.h"
#include "base/stream.h"
#include "hop/destination_hop.h"

/*
 * Inline: where the client wanted to go, from its own address. What a load balancer tells is its own address: to go there would be a loop.
 * -ENOENT: it wanted to come here. may wait
 */
static int open_inline(struct access_session *s, char *why)
{
	struct access_service *svc = s->svc;
	struct destination d = {
		.site = svc->site, .sockets = svc->sockets, .shared = svc->destinations, .client = s->peer, .to = s->local,
	};
	int rc = destination_connect(&d, svc->site->outbound.connect_timeout_ms, &s->backend.link.stream);

	if (rc == -ELOOP)
		return -ENOENT;
	s->backend.link.name = "destination";
	net_text_port(&d.to, s->backend.link.address);
	if (rc < 0)
		snprintf(why, HOST_WHY_MAX, "connect: %s", rc == -ENOTCONN ? "its answers do not come back through us" : strerror(-rc));
	return rc;
}

int access_backend_open(struct access_session *s, const char *user, char *why)
{
	int rc = s->conf->transparent ? open_inline(s, why) : -ENOENT;

	if (rc == -ENOENT)
		rc = tcp_backends_connect(s->listener->backends, &s->header, &s->backend.link, why);
	if (rc == 0)
		s->backend.stream = s->backend.link.stream;
	return rc;
}

int access_backend_open_clear(struct access_session *s, const char *user, char *why)
{
	access_backend_close(s);
	return access_backend_open(s, user, why);
}

void access_backend_close(struct access_session *s)
{
	tcp_link_release(&s->backend.link);
	s->backend = (struct access_backend){ 0 };
}

bool access_backend_wants_starttls(const struct access_session *s)
{
	return s->backend.tls != TLS_OFF && !s->backend.implicit && !stream_is_tls(s->backend.stream);
}

int access_backend_starttls(struct access_session *s, char *why)
{
	snprintf(why, HOST_WHY_MAX, "TLS is not spoken here");
	return -EPROTO;
}

bool access_backend_routes(const struct access_session *s)
{
	return false;
}

bool access_backend_suits(const struct access_session *s, const char *user)
{
	return true;
}
