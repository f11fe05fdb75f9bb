/*
 * dns_table - a struct dns whose answers are a table in memory, for tests
 *
 *     struct dns_table *t = dns_table_new();
 *     dns_table_add(t, "example.com", "TXT", "v=spf1 mx -all");
 *     dns_table_add(t, "example.com", "MX", "10 mx.example.com");
 *     txn.dns = dns_table_dns(t);
 *
 * A name that was never added is NXDOMAIN, unless something was added below it (an empty non-terminal: NODATA). A CNAME is
 * followed, DNS_TABLE_CHAIN links at most, then SERVFAIL. "*.example.com" answers for names below example.com that do not exist.
 * A lookup is answered in this order: records of its type; the CNAME; a failure that was added for the type or for all; NODATA.
 *
 * By default answers are given inside dns_start: code under test needs no event loop. hold() keeps lookups until
 * answer() gives them; later() gives them from the event loop after some milliseconds.
 * Every question is recorded, those that were answered by a bad name alone excepted (they never reach a resolver).
 */
#ifndef TESTS_DNS_TABLE_H
#define TESTS_DNS_TABLE_H

#include "base/dns.h"

enum { DNS_TABLE_CHAIN = 8 };

struct dns_table;

struct dns_question {
	char *name;             /* as asked */
	enum dns_type type;
	int timeout_ms;
};

struct dns_table *dns_table_new(void);          /* asserts memory */
void dns_table_free(struct dns_table *t);       /* every lookup has been dropped by then: asserted */
AUTO_DEFINE(dns_table)
struct dns *dns_table_dns(struct dns_table *t);

/*
 * Add a record. type and data in text:
 *   A, AAAA        an address
 *   MX             "10 mx.example.com"; "0 ." is the null MX
 *   NS, CNAME, PTR a name
 *   TXT            bytes as they are, cut into strings of 255; or, when it begins with a quote, strings: "a" "b\"c\000"
 *   TYPEn          RDATA in hex
 *   NODATA         the name exists (data is ignored)
 *   TIMEOUT, SERVFAIL, BOGUS   the lookup fails: of the type named by data ("TXT"), of any when data is ""
 *   INSECURE       what the name says, or is led to by, is not validated (dns_table_secure otherwise)
 * A final dot of names is ignored; case does not matter. Asserts that all of it makes sense.
 */
void dns_table_add(struct dns_table *t, const char *name, const char *type, const char *data);
/* RDATA as it is, well-formed or not. */
void dns_table_add_rdata(struct dns_table *t, const char *name, enum dns_type type, const void *data, size_t len);
/* Lines "name TYPE data", empty ones and those that begin with # skipped. */
void dns_table_zone(struct dns_table *t, const char *lines);
/* Forget all records of the name. */
void dns_table_remove(struct dns_table *t, const char *name);
/* Forget everything, the questions too. */
void dns_table_clear(struct dns_table *t);

void dns_table_secure(struct dns_table *t, bool secure);        /* answers from now on: validated or not */
void dns_table_ttl(struct dns_table *t, uint32_t ttl_s);        /* default 300 */

/* What was asked, in order. */
size_t dns_table_asked(const struct dns_table *t);
const struct dns_question *dns_table_question(const struct dns_table *t, size_t i);
/* How often name was asked for type (0: any type). */
size_t dns_table_count(const struct dns_table *t, const char *name, int type);
void dns_table_forget(struct dns_table *t);                     /* the questions */

/* From now on lookups wait until they are answered: all (name NULL), or those of name and type (0: any). How many were. */
void dns_table_hold(struct dns_table *t, bool hold);
size_t dns_table_answer(struct dns_table *t, const char *name, int type);
size_t dns_table_waiting(const struct dns_table *t);            /* held, or to come later; dropped ones not counted */

/* From now on answers come from the event loop after ms (a TIMEOUT after the lookup's own timeout); -1: at once again. */
void dns_table_later(struct dns_table *t, int ms);

#endif
