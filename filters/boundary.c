#include "filters/boundary.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "filters/received.h"
#include "policy/conf.h"

/* ---- the header ---- */

/* 127.0.0.1 and ::1, as a host writes of itself. */
static bool is_itself(const struct net_addr *a)
{
	static const unsigned char v4[4] = { 127, 0, 0, 1 }, v6[16] = { [15] = 1 };

	return a->family == AF_INET ? memcmp(a->ip, v4, 4) == 0 : memcmp(a->ip, v6, 16) == 0;
}

/* Addresses that a host has within its own network only (RFC 1918, 6598, 3927, 4193, 4291), or none has: who sent from there is no stranger. */
static bool is_inside(const struct net_addr *a)
{
	const unsigned char *p = a->ip;

	if (a->family == AF_INET6)
		return (p[0] & 0xfe) == 0xfc || (p[0] == 0xfe && (p[1] & 0xc0) == 0x80) || p[0] == 0xff || (p[0] == 0 && memcmp(p, p + 1, 14) == 0 && p[15] == 0);
	return p[0] == 0 || p[0] == 10 || (p[0] == 172 && (p[1] & 0xf0) == 16) || (p[0] == 192 && p[1] == 168) || (p[0] == 100 && (p[1] & 0xc0) == 64) ||
	       (p[0] == 169 && p[1] == 254) || p[0] >= 224;
}

bool boundary_find(const struct message *m, const struct net_prefix *trusted, size_t count, struct received *out, char *why, size_t size)
{
	static const char *const words[] = {
		[RECEIVED_ORIGIN] = "says that the message began there", [RECEIVED_SILENT] = "does not say from where it came",
		[RECEIVED_UNREADABLE] = "has no address that can be read",
	};
	unsigned line = 0;

	for (size_t i = 0; i < message_field_count(m) && line < BOUNDARY_LINES_MAX; i++) {
		const struct header_field *h = message_field(m, i);

		if (h->name_len != 8 || strncasecmp(h->name, "Received", 8) != 0)
			continue;
		line++;
		received_parse(h->body, h->body_len, out);
		if (out->kind == RECEIVED_HANDED_ON)
			continue;
		if (out->kind != RECEIVED_CLIENT) {
			snprintf(why, size, "Received field %u %s", line, words[out->kind]);
			return false;
		}
		if (site_in_networks(trusted, count, &out->addr) || is_itself(&out->addr))
			continue;
		if (is_inside(&out->addr)) {
			char ip[NET_TEXT_MAX];

			snprintf(why, size, "Received field %u has %s, an address within a network", line, net_text(&out->addr, ip));
			return false;
		}
		snprintf(why, size, "Received field %u", line);
		return true;
	}
	snprintf(why, size, line < BOUNDARY_LINES_MAX ? "%u Received fields, all of trusted relays" : "the first %u Received fields have none", line);
	return false;
}

/* ---- the client of a message ---- */

void boundary_begin(struct client *origin, const struct client *relay)
{
	origin->via = relay;
	origin->listener = relay->listener;
	origin->boundary = BOUNDARY_PENDING;
}

/* 0 or -ENOMEM: then nothing is known of it. */
static int become(struct client *c, const struct received *r, enum boundary how)
{
	char *helo = r->helo[0] ? strdup(r->helo) : NULL;

	if (r->helo[0] && !helo)
		return -ENOMEM;
	free(c->helo);
	c->helo = helo;
	c->addr = r->addr;
	net_text(&c->addr, c->ip);
	c->esmtp = r->esmtp;
	c->tls_version = r->tls ? r->tls_version ? r->tls_version : "" : NULL;
	c->tls_cipher = c->tls_version ? "" : NULL;
	c->boundary = how;
	return 0;
}

int boundary_told(struct client *origin, const struct site *site, const struct received *told, enum boundary how)
{
	if (told->addr.family && (site_in_networks(site->trusted_relays, site->trusted_relay_count, &told->addr) || is_itself(&told->addr)))
		return 0;
	snprintf(origin->boundary_why, sizeof(origin->boundary_why), "the relay said so%s", told->addr.family && !is_inside(&told->addr) ? "" : ": it began there");
	if (!told->addr.family || is_inside(&told->addr)) {
		origin->boundary = BOUNDARY_NONE;
		return 0;
	}
	return become(origin, told, how);
}

void boundary_settle(struct txn *t)
{
	struct client *c = t->client;
	struct received r;

	if (c->boundary != BOUNDARY_PENDING || !t->message || !message_header_done(t->message))
		return;
	c->boundary = BOUNDARY_NONE;
	if (!boundary_find(t->message, t->site->trusted_relays, t->site->trusted_relay_count, &r, c->boundary_why, sizeof(c->boundary_why)))
		return;
	if (become(c, &r, BOUNDARY_RECEIVED) < 0)
		snprintf(c->boundary_why, sizeof(c->boundary_why), "no memory");
}

/* ---- client.relayed, client.via ---- */

static const struct fact_def relayed_facts[] = {
	{ "client.relayed", FACT_BOOL, false, STAGE_CONNECT, NULL, "one of trusted_relays has brought the message: it bounces what is refused, to a sender that is often forged" },
	{ "client.via", FACT_IP, false, STAGE_CONNECT, NULL, "that relay's address; no value when the client has connected itself" },
	{ 0 },
};

static int relayed_run(struct txn *t, int self, struct facts *out)
{
	int rc = facts_set_bool(out, "client.relayed", t->client->via != NULL);

	return rc < 0 || !t->client->via ? rc : facts_set(out, "client.via", t->client->via->ip);
}

const struct filter filter_relayed = {
	.name = "relayed", .scope = SCOPE_CLIENT, .stage = STAGE_CONNECT, .facts = relayed_facts, .run = relayed_run,
};

/* ---- client.boundary ---- */

static const char *const words[] = { "direct", "pending", "received", "xclient", "xforward", "none", NULL };
/* A fact is never pending: then it is unknown. */
static const char *const boundary_words[] = { "direct", "received", "xclient", "xforward", "none", NULL };

static const struct fact_def boundary_facts[] = {
	{ "client.boundary", FACT_WORD, false, STAGE_CONNECT, boundary_words, "how it is known who the client is; of mail by way of a trusted relay mostly not before the header" },
	{ 0 },
};

const char *boundary_word(const struct client *c)
{
	return c->boundary == BOUNDARY_PENDING ? NULL : words[c->boundary];
}

static int boundary_run(struct txn *t, int self, struct facts *out)
{
	return facts_set_why(out, "client.boundary", words[t->client->boundary], "%s", t->client->boundary_why);
}

const struct filter filter_boundary = {
	.name = "boundary", .scope = SCOPE_CLIENT, .stage = STAGE_CONNECT, .facts = boundary_facts, .client = CLIENT_AWAITED, .run = boundary_run,
};
