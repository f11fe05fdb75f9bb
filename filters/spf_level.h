/*
 * spf_level - the inside of spf_eval: records of a check as they arrive, and the lookups that are started for them
 *
 * A level is one domain's record, the checked domain's at the top, below it those of includes and redirects. Its TXT lookup is
 * started with it; when the answer arrives (in a callback of the resolver, or when somebody reads it) the record is
 * chosen and parsed, and what its terms will ask is started, early: see spf_eval.h for how much. Nothing here waits, and nothing
 * decides: a result comes of spf_eval.c alone.
 */
#ifndef SPF_LEVEL_H
#define SPF_LEVEL_H

#include "base/buf.h"
#include "filters/spf_engine.h"
#include "filters/spf_macro.h"
#include "filters/spf_record.h"

/* Names out of an MX or PTR answer, and the lookups of their addresses. */
struct spf_hosts {
	struct spf_eval *check;
	enum dns_type type;
	struct dns_lookup *lookup;
	struct { char *name; struct dns_lookup *lookup; } host[SPF_HOSTS_MAX];
	size_t count;
	bool read, over;                /* over: the answer has more of them */
};

/* What was started for one term. */
struct spf_aim {
	struct dns_lookup *lookup;      /* a, exists */
	struct spf_hosts *hosts;        /* mx */
	struct spf_level *level;        /* include, redirect */
};

/* One domain's record: a call of check_host(). */
struct spf_level {
	struct spf_eval *check;
	struct spf_level *parent;
	const struct spf_term *via;     /* the parent's include or redirect; NULL at the top */
	char *domain;
	struct dns_lookup *lookup;
	bool read;
	enum spf_code code;             /* SPF_NEUTRAL: there is a record; else the result, why in words */
	char *why;
	struct spf_record record;
	struct spf_aim *aim;            /* one for each term, the last for redirect */
	const struct spf_term *matched;
};

struct spf_eval {
	const struct spf_query *q;
	const struct spf_identity *id;
	struct dns *dns;
	int64_t deadline_ms, now_s;
	int terms, voids, asked;        /* as in struct spf_result */
	int started;                    /* lookups of terms, early or not */
	int hosts_early;                /* lookups of MX hosts that were started early */
	struct spf_level *top;
	struct spf_hosts *ptr;          /* of the client's address */
	bool no_memory;                 /* a name could not be made: whatever the result is, it is none */
	struct buf why, name;
	char text[DNS_NAME_MAX];        /* the name being asked for */
};

/* Of the check's time; 0: over. */
int spf_remaining_ms(const struct spf_eval *c);

/* Start a lookup of a name in bytes; one that is none is answered as DNS_BADNAME. NULL: no memory. */
struct dns_lookup *spf_ask(struct spf_eval *c, const char *name, enum dns_type type);
enum dns_type spf_address_type(const struct spf_eval *c);       /* A or AAAA, by the client's family */

/* Take the names out of the answer, once it is there. Start the lookups of their addresses; early: as far as that may be. */
void spf_hosts_read(struct spf_hosts *h);
void spf_hosts_ask(struct spf_hosts *h, bool early);
void spf_hosts_free(struct spf_hosts *h);

/* The names of the client's address: c->ptr, made once; NULL: no memory. */
struct spf_hosts *spf_ptr_start(struct spf_eval *c);

struct spf_level *spf_level_new(struct spf_eval *c, struct spf_level *parent, const struct spf_term *via, const char *domain);
void spf_level_free(struct spf_level *l);                       /* with all below it */
void spf_level_start(struct spf_level *l);
/* Read the answer if it is there and has not been read: sets l->read. */
void spf_level_read(struct spf_level *l);

struct spf_macro_context spf_level_context(const struct spf_level *l, const char *validated);

/* The name that a term names, in bytes, valid until the next lookup is started or waited for. "" is no name. validated: what %{p} is. */
const char *spf_target(struct spf_level *l, const struct spf_term *t, const char *validated);

/* Start what the term asks for, about domain. */
void spf_aim_start(struct spf_level *l, const struct spf_term *t, struct spf_aim *aim, const char *domain, bool early);

#endif
