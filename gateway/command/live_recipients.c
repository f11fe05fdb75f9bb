#include "command/live_recipients.h"

#include <openssl/err.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "command/live.h"
#include "filters/domain.h"
#include "hop/smtp_client.h"
#include "policy/conf.h"

enum { DOMAINS_MAX = 5, RANDOM_BYTES = 10, TARPIT_MS = 2500 };

enum knows { TAKES_ALL, REFUSES, UNCLEAR };

/* may wait */
static enum knows ask(struct smtp_client *c, const char *domain, char *said, int64_t *took_ms, int64_t until_ms)
{
	unsigned char bytes[RANDOM_BYTES] = { 0 };
	char address[DOMAIN_MAX + 64];
	int n = snprintf(address, sizeof(address), "gatepost-check-");
	int64_t begun;

	ERR_clear_error();
	(void)RAND_bytes(bytes, sizeof(bytes));
	ERR_clear_error();
	for (size_t i = 0; i < sizeof(bytes); i++)
		n += snprintf(address + n, sizeof(address) - (size_t)n, "%02x", bytes[i]);
	snprintf(address + n, sizeof(address) - (size_t)n, "@%s", domain);
	snprintf(said, SMTP_WHY_MAX, "no answer");
	if (smtp_client_mail(c, "", "", 0, until_ms) == 0 && c->reply.code / 100 == 2) {
		begun = clock_ms();
		if (smtp_client_rcpt(c, address, "", until_ms) < 0)
			return UNCLEAR;
		*took_ms = clock_ms() - begun;
	}
	smtp_client_refusal(c, said);
	return c->reply.code / 100 == 2 ? TAKES_ALL : c->reply.code / 100 == 5 ? REFUSES : UNCLEAR;
}

/* Whether a server is one of several that have mailboxes of this domain; *last: the one that is asked last. */
static bool is_learnt_from(const struct live_part *p, const char *domain, bool *last)
{
	const struct domain_conf *d = site_domain(p->live->site, domain);
	const struct domain_owner *owner;

	if (!d || d->owner_count < 2 || !p->backend || !site_backend_serves(p->live->site, p->backend, domain, &owner))
		return false;
	*last = owner == &d->owner[d->owner_count - 1];
	return true;
}

/* What it means that a server takes anybody. */
static void takes_all(struct live_part *p, const char *domain)
{
	const struct site *s = p->live->site;
	bool last;

	if (is_learnt_from(p, domain, &last)) {
		if (last)
			live_say(p, LIVE_OK, "%s: it takes any address (accept-all), and gets what the other servers of section domain do not know", domain);
		else
			live_say(p, LIVE_FAIL, "%s: an address that nobody has is taken (accept-all): which server has a mailbox cannot be learnt from it, and those behind "
				 "it in section domain are never asked", domain);
		return;
	}
	if (p->look == live_callout)
		live_say(p, LIVE_FAIL, "%s: an address that nobody has is taken (accept-all): callout verifies nothing", domain);
	else if (s->verify == VERIFY_BACKEND)
		live_say(p, LIVE_WARN, "%s: an address that nobody has is taken (accept-all): unknown recipients cannot be refused by asking this server. Exchange "
			 "refuses them on its port 2525 (recipients: verify = callout), or at RCPT with recipient validation on an Edge", domain);
	else
		live_say(p, LIVE_OK, "%s: it takes any address (accept-all), and is not asked for recipients", domain);
}

void live_recipients(struct live_part *p, struct smtp_client *c, int64_t until_ms)
{
	const struct site *s = p->live->site;
	int64_t slow_ms = 0;

	for (size_t i = 0, n = 0; i < s->domain_count && n < DOMAINS_MAX && !c->broken; i++) {
		char said[SMTP_WHY_MAX];
		int64_t took_ms = 0;
		const struct domain_owner *owner;
		enum knows k;

		if (s->domains[i][0] == '.' || (p->backend && !site_backend_serves(s, p->backend, s->domains[i], &owner)))
			continue;
		n++;
		k = ask(c, s->domains[i], said, &took_ms, until_ms);
		if (k == TAKES_ALL)
			takes_all(p, s->domains[i]);
		else if (k == REFUSES)
			live_say(p, LIVE_OK, "%s: it refuses who does not exist: %s", s->domains[i], said);
		else
			live_say(p, LIVE_WARN, "%s: whether it knows its recipients is not clear: %s", s->domains[i], c->broken ? c->why : said);
		slow_ms = k == REFUSES && took_ms > slow_ms ? took_ms : slow_ms;
		if (!c->broken)
			(void)smtp_client_rset(c, until_ms);
	}
	if (slow_ms > TARPIT_MS)
		live_say(p, LIVE_WARN, "it waits %lld ms before it refuses a recipient: let it not do that to this gateway (Exchange: TarpitInterval 0 on the receive "
			 "connector for us)", (long long)slow_ms);
}

void live_callout(struct live_part *p)
{
	const struct site *s = p->live->site;
	struct smtp_timeouts timeouts = s->timeouts;
	const struct smtp_client_conf conf = { .hostname = s->hostname, .tls = TLS_OFF, .connect_timeout_ms = LIVE_STEP_MS, .timeouts = &timeouts };
	AUTO(smtp_client) struct smtp_client *c = NULL;
	char why[SMTP_WHY_MAX], at[NET_TEXT_MAX];

	timeouts.greeting_ms = timeouts.helo_ms = timeouts.mail_ms = timeouts.rcpt_ms = timeouts.block_ms = LIVE_STEP_MS;
	timeouts.quit_ms = 1000;
	net_text_port(&s->callout, at);
	if (smtp_client_open(&conf, &s->callout, NULL, clock_ms() + LIVE_STEP_MS, &c, why) < 0) {
		live_say(p, LIVE_FAIL, "%s, where recipients are asked for: %s", at, why);
		return;
	}
	live_say(p, LIVE_OK, "%s, where recipients are asked for, answers", at);
	live_recipients(p, c, p->until_ms);
	smtp_client_quit(c);
	c = NULL;
}
