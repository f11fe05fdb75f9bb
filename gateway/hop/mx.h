/*
 * mx - the hosts to try for mail to a domain, RFC 5321 5.1
 *
 * The domain's MX hosts by preference, equal ones in an order of chance; without an MX the domain itself; for an address literal
 * ("[192.0.2.1]", "[IPv6:2001:db8::1]") that address. Each host comes with its addresses, IPv6 and IPv4 by turns. Where one of the hosts is
 * ourselves, it and all that are not preferred to it are left out: they would send the mail back to us.
 *
 * CNAMEs are followed by the resolver. Counts are bounded: of the hosts the first MX_HOSTS_MAX, of each its first MX_ADDRESSES_MAX addresses.
 * Addresses that nobody may be connected to by a name in the DNS (the site says which) are left out.
 */
#ifndef MX_H
#define MX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/auto.h"
#include "base/net.h"
#include "filters/domain.h"

struct dns;

enum { MX_HOSTS_MAX = 16, MX_ADDRESSES_MAX = 8 };

enum mx_status {
	MX_FOUND,               /* at least one host with an address */
	MX_NULL,                /* the domain says that it takes no mail (RFC 7505) */
	MX_NXDOMAIN,            /* there is no such domain, or its name is none */
	MX_NO_ADDRESS,          /* it has no host that could be connected to */
	MX_LOOP,                /* the best host is ourselves */
	MX_TEMPFAIL,            /* the DNS could not tell: later */
};

struct mx_host {
	char name[DOMAIN_MAX];          /* or the literal's address in text */
	unsigned preference;
	bool secure;                    /* its addresses were validated by DNSSEC; an address lookup that failed does not count, as it gave none */
	char canon[DOMAIN_MAX];         /* the name that CNAMEs led to; "" without one */
	struct net_addr address[MX_ADDRESSES_MAX];
	size_t count;
};

struct mx {
	enum mx_status status;
	bool implicit;                  /* no MX record: the domain itself */
	bool literal;
	bool secure;                    /* the answer on MX was validated by DNSSEC: its names are the domain's own */
	struct mx_host *host;
	size_t count;                   /* 0 unless MX_FOUND */
	char why[160];                  /* in words, for the log; "" when MX_FOUND */
};

struct mx_query {
	const char *domain;             /* a name as A-labels, or a literal in brackets */
	unsigned short port;            /* given to every address */
	const char *hostname;           /* ours */
	int timeout_ms;                 /* of all lookups together */
	bool ipv4, ipv6;                /* families that are looked up */
	bool (*ours)(void *arg, const struct net_addr *a);      /* whether that is one of our listeners; may be NULL */
	bool (*usable)(void *arg, const struct net_addr *a);    /* whether it may be connected to; may be NULL */
	uint32_t (*random)(void *arg);
	void *arg;
};

/* 0 and *out, whatever came out; or -ENOMEM. may wait */
int mx_find(struct dns *dns, const struct mx_query *q, struct mx **out);

/* The same for servers that are named: in this order, at most MX_HOSTS_MAX. Of q its domain is for words alone, and port plays no part. */
struct mx_server {
	const char *host;               /* an address, or a name whose addresses are looked up */
	unsigned short port;
};
int mx_servers(struct dns *dns, const struct mx_query *q, const struct mx_server *server, size_t count, struct mx **out);
void mx_free(struct mx *mx);
AUTO_DEFINE(mx)

/* What the client hears of a recipient there, "550 5.1.2 ..."; NULL for MX_FOUND. */
const char *mx_reply(enum mx_status status);

#endif
