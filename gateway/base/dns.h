/*
 * dns - questions to the domain name system
 *
 * A struct dns is whoever answers: the worker's libunbound (base/dns_unbound.h), a table in a test
 * (tests/support/dns_table.h), later a recording. Who asks holds a struct dns_lookup: started early, waited for late,
 * dropped always.
 *
 *     struct dns_lookup *l;
 *     if (dns_start(dns, "example.com", DNS_TXT, &l) == 0) {
 *             const struct dns_answer *a = dns_wait(l);       // may wait
 *             ...
 *             dns_drop(l);
 *     }
 *
 * Names are text without the final dot, as RFC 1035 5.1 escapes them ("\." and "\DDD" inside labels). A name that is none (label over 63,
 * total over 253, empty label) is answered at once: DNS_BADNAME. A CNAME chain is followed by the resolver; only records
 * of the asked type are given. Every lookup has a deadline, the resolver's default unless dns_start_within says less.
 */
#ifndef DNS_H
#define DNS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/auto.h"
#include "base/task.h"

enum dns_type { DNS_A = 1, DNS_NS = 2, DNS_CNAME = 5, DNS_SOA = 6, DNS_PTR = 12, DNS_MX = 15, DNS_TXT = 16, DNS_AAAA = 28, DNS_TLSA = 52 };

enum dns_status {
	DNS_OK,                 /* count >= 1 */
	DNS_NODATA,             /* the name exists, nothing of this type */
	DNS_NXDOMAIN,
	DNS_BADNAME,            /* not a domain name: never sent */
	DNS_TEMPFAIL,           /* SERVFAIL, timeout, bogus, no resources: ask again later */
};

enum { DNS_RR_MAX = 256, DNS_NAME_MAX = 1024, DNS_WIRE_MAX = 255 };  /* records kept of one answer; a name in escaped text, with NUL; in wire format */

struct dns;
struct dns_ops;

struct dns_rr {
	const uint8_t *data;    /* RDATA in wire format, names in it uncompressed */
	size_t len;
};

struct dns_answer {
	enum dns_status status;
	size_t count;
	const struct dns_rr *rr;
	bool secure;            /* validated by DNSSEC, every CNAME on the way too; of DNS_NODATA and DNS_NXDOMAIN: so is the denial */
	bool bogus;             /* of DNS_TEMPFAIL: there is an answer, and DNSSEC says that it is forged */
	const char *canon;      /* of DNS_OK: the name that the records belong to, when CNAMEs led to another; else NULL */
	uint32_t ttl_s;
	const char *why;        /* for people: "timeout", "SERVFAIL", "bogus: ..."; "" when DNS_OK */
};

struct dns_lookup {
	struct future future;   /* done: answer is there */
	struct dns_answer answer;
	const struct dns_ops *ops;
	/* Set by dns_notify. Whoever answers calls dns_lookup_resolve. */
	void (*notify)(struct dns_lookup *l, void *arg);
	void *notify_arg;
};

struct dns_ops {
	int (*start)(struct dns *d, const char *name, enum dns_type type, int timeout_ms, struct dns_lookup **out);
	void (*drop)(struct dns_lookup *l);
};

struct dns {
	const struct dns_ops *ops;
	int timeout_ms;         /* default deadline of one lookup */
};

/* 0 and *out, or -ENOMEM. Never waits. */
int dns_start(struct dns *d, const char *name, enum dns_type type, struct dns_lookup **out);
int dns_start_within(struct dns *d, const char *name, enum dns_type type, int timeout_ms, struct dns_lookup **out);

/*
 * A continuation: fn(l, arg) is called once when the answer is there, from the loop's queue; or before this returns, when it
 * is there already (a bad name, a table's answer). It must not wait; it may start and drop lookups, l too. Not called after dns_drop.
 */
void dns_notify(struct dns_lookup *l, void (*fn)(struct dns_lookup *l, void *arg), void *arg);

/* The answer, owned by l, valid until dns_drop. Cancelled or past its deadline: a DNS_TEMPFAIL answer. may wait */
const struct dns_answer *dns_wait(struct dns_lookup *l);

/* Ends interest; NULL is fine. An unfinished lookup goes on in the resolver, for its cache. */
void dns_drop(struct dns_lookup *l);
static inline void dns_lookup_cleanup(struct dns_lookup **l)
{
	dns_drop(*l);
}

/* For those who answer: l->answer is filled in; wakes who waits, then notifies. l may be gone afterwards. */
void dns_lookup_resolve(struct dns_lookup *l);

/*
 * Reading RDATA; each bounds-checked, -EBADMSG if malformed.
 * dns_txt: all character-strings joined without separator; *out is a heap copy of *len bytes and a NUL. -ENOMEM.
 * dns_name: the name at offset off, as text; out has DNS_NAME_MAX bytes.
 * dns_mx: preference and exchange ("" for the root: null MX).
 */
int dns_txt(const struct dns_rr *rr, char **out, size_t *len);
int dns_name(const struct dns_rr *rr, size_t off, char *out);
int dns_mx(const struct dns_rr *rr, unsigned *preference, char *out);

/* Whether text is a domain name that can be asked (labels 1..63, total <= 253). */
bool dns_name_ok(const char *name);

/* The name in wire format, DNS_WIRE_MAX bytes at most, the root's length byte included. Its length, or -EINVAL when it is none. */
int dns_name_wire(const char *name, uint8_t *out);

/*
 * The name that an address is looked up by: "4.3.2.1" or 32 nibbles, a dot and zone; zone NULL: in-addr.arpa or ip6.arpa.
 * 0, -ENOSPC when it does not fit in size or in 253 octets, -EAFNOSUPPORT.
 */
int dns_reverse(const struct sockaddr *sa, const char *zone, char *out, size_t size);

#endif
