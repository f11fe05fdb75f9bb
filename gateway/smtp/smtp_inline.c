#include "smtp/smtp_inline.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/stream.h"
#include "hop/backend.h"
#include "hop/delivery.h"
#include "hop/destination_tls.h"
#include "hop/outbound_tls.h"
#include "policy/conf.h"
#include "smtp/smtp_session.h"

enum { DRAIN_IDLE_MS = 3000 };          /* what passes and stands still for so long may be ended when we stop */

void smtp_inline_know(struct smtp_session *s)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct net_addr to;

	memset(&s->destination, 0, sizeof(s->destination));
	if (!s->listener->transparent || !s->stream || getsockname(stream_fd(s->stream), (struct sockaddr *)&ss, &len) < 0)
		return;
	net_from_sockaddr((struct sockaddr *)&ss, &to);
	if (!net_is_loopback(&to) && !backend_is_ourselves(s->svc->site, &to))
		s->destination = to;
}

struct destination smtp_inline_destination(struct smtp_session *s, const char *domain)
{
	return (struct destination){
		.site = s->svc->site, .group = s->group, .sockets = s->svc->sockets, .shared = s->svc->destinations,
		.tls = s->svc->tls_any, .client = s->client.addr, .to = s->destination, .helo = s->client.helo,
		.outbound = s->listener->direction == DIRECTION_OUTBOUND ? s->svc->outbound : NULL, .domain = domain, .ahead = s->ahead,
		.line = &s->line,
		.implicit = s->listener->tls == LISTENER_TLS_IMPLICIT,
	};
}

bool smtp_inline_suits(struct smtp_session *s, const char *first_domain, const struct recipient *r, char *reply)
{
	AUTO(outbound_tls_demand) struct outbound_tls_demand *first = NULL, *more = NULL;
	struct destination d = smtp_inline_destination(s, r->domain);
	int64_t deadline_ms = clock_ms() + s->svc->site->timeouts.budget_ms;
	char why[SMTP_WHY_MAX];
	int rc;

	if (r->local || !d.outbound || r->domain[0] == '[' || strcmp(r->domain, first_domain) == 0 || backend_at(d.group, &d.to))
		return true;
	if (s->ahead && s->ahead->tls)          /* the client looks for itself */
		return true;
	rc = destination_demand(&d, r->domain, deadline_ms, &more, why);
	if (rc == 0 && outbound_tls_demanded(more))
		rc = destination_demand(&d, first_domain, deadline_ms, &first, why);
	if (rc == 0 && (!first || outbound_tls_same(first, more)))
		return true;
	snprintf(reply, DELIVERY_REPLY_MAX, "452 4.5.3 this recipient's domain wants another TLS than the first one's: in a transaction of its own, please");
	return false;
}

static void passed_line(const struct smtp_session *s, const struct pump *p, const char *how)
{
	char to[NET_TEXT_MAX];
	struct log_line l;

	log_start(&l, LOG_LEVEL_NOTICE, "bypassed");
	log_str(&l, "sid", s->id);
	log_str(&l, "client", s->client.ip);
	log_str(&l, "destination", net_text_port(&s->destination, to));
	log_num(&l, "from_client", (int64_t)p->from_a);
	log_num(&l, "from_server", (int64_t)p->from_b);
	log_str(&l, "end", how);
	log_emit(&l);
}

enum pump_end smtp_inline_pump(struct smtp_session *s, struct pump *p)
{
	const struct smtp_timeouts *t = &s->svc->site->timeouts;
	enum pump_end end;

	/* Without a limit of sessions, too: who has vanished says nothing. Nobody waits for longer than for the next command and for the reply to a message. */
	p->idle_ms = t->session_ms ? t->session_ms : t->command_ms + t->dot_ms;
	s->passing = p;
	end = pump_run(p);
	s->passing = NULL;
	return end;
}

bool smtp_inline_drain(struct smtp_session *s)
{
	if (!s->passing)
		return false;
	s->passing->idle_ms = DRAIN_IDLE_MS;
	task_wake(s->task, 0);                  /* it looks at the clock again */
	return true;
}

bool smtp_inline_pass(struct smtp_session *s)
{
	const struct site *site = s->svc->site;
	const struct net_addr *far = s->listener->direction == DIRECTION_OUTBOUND ? &s->destination : &s->client.addr;
	struct destination d = smtp_inline_destination(s, "");
	struct pump p = { .a = s->stream };
	AUTO(stream) struct stream *server = NULL;

	if (!s->destination.family || !site_in_networks(site->bypass, site->bypass_count, far))
		return false;
	/* Refused by the server: by us, too. The client comes again, or goes to its next server. */
	if (destination_connect(&d, site->outbound.connect_timeout_ms, &server) < 0) {
		passed_line(s, &p, "the destination does not answer");
		return true;
	}
	p.b = server;
	passed_line(s, &p, pump_end_text(smtp_inline_pump(s, &p)));
	return true;
}

bool smtp_inline_reach(struct smtp_session *s)
{
	struct destination d = smtp_inline_destination(s, "");
	char to[NET_TEXT_MAX];
	int rc;

	if (!s->destination.family || s->listener->direction != DIRECTION_OUTBOUND || !s->client.relay)
		return true;
	rc = destination_connect(&d, s->svc->site->outbound.connect_timeout_ms, &s->line.stream);
	s->line.since_ms = clock_ms();
	if (rc == 0)
		return true;
	log_notice("destination", "sid", s->id, "to", net_text_port(&s->destination, to), "client", s->client.ip, "error", strerror(-rc), NULL);
	smtp_sayf(s, "421 4.4.1 %s does not answer", to);
	stream_close(s->stream, 5000);
	return false;
}
