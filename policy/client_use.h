/*
 * client_use - what each client network has asked of us lately, and the whole site: a table in memory that all workers share
 *
 * Counted are connections, commands, errors, recipients, those that are unknown, messages, bytes and logins; each in a window that slides: all of the
 * present period, and of the one before the part that is still within a period's time. A client counts as an IPv4 address; of IPv6 as its /64, and with 4 and 16
 * times the limit as the /56 and the /48 around it.
 *
 * The table holds hashes with a key of its own: nobody can choose addresses that meet. When a place is needed for a newcomer, the one of eight gives way that has
 * used the least of its limits: whoever comes from ever new addresses pushes out others that have done next to nothing, as he has himself, and none that is near
 * a limit. Nobody is ever counted for another. What is not in the table has done nothing yet; so the worst that an attacker can do to others is that they
 * are counted from the beginning.
 *
 * Nobody waits for anybody, and a process that dies in the middle of it leaves nothing behind but its counts.
 */
#ifndef CLIENT_USE_H
#define CLIENT_USE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/net.h"
#include "base/siphash.h"

enum use_kind { USE_CONNECTIONS, USE_COMMANDS, USE_ERRORS, USE_RECIPIENTS, USE_UNKNOWN, USE_MESSAGES, USE_BYTES, USE_LOGINS, USE_KINDS,
		 USE_SESSIONS = USE_KINDS, USE_TOLD };       /* what is there at once is not counted here, but told */

enum {
	USE_NETWORKS = 3,              /* as which a client counts, from near to wide */
	USE_BUCKETS = 1 << 13, USE_WAYS = 8,
	USE_FULL = 1000,               /* a limit, as a load */
	USE_LIMIT_MAX = 1000000,
	USE_BYTES_UNIT = 64 * 1024,    /* what USE_BYTES counts */
};

/* How much in a period. */
struct use_conf {
	int period_ms;                  /* 1 min */
	int limit[USE_KINDS];          /* 0: none, and not counted; USE_LIMIT_MAX at most */
	int slow_from;                  /* percent of a limit from which on each step costs a delay, 100: none does */
	int slow_max_ms;                /* that grows to this */
};

/* How a client limit is described in options, logs and the manual: "unknown_recipients". */
const char *use_kind_name(enum use_kind kind);

/* Counters of one network, or of the site. */
struct use_entry {
	_Alignas(64) _Atomic uint64_t window[USE_KINDS];       /* 16 bits: which period; 24: counted in the one before; 24: in this one */
	_Atomic int64_t shut_ms;        /* until then no recipient is taken from it; 0: it is not so */
	_Atomic uint32_t said[USE_TOLD];       /* 16 bits: the minute in which there was a line about it; 16: how many had none since */
};

struct use_table {
	struct siphash_key key;
	struct use_entry site;
	_Atomic uint64_t slowed[USE_TOLD], refused[USE_TOLD];       /* since the start, for those who look */
	_Atomic uint64_t owner[USE_BUCKETS][USE_WAYS];        /* hashes; 0: nobody's */
	struct use_entry entry[USE_BUCKETS][USE_WAYS];
};

/* Who a client is in the table. */
struct use_client {
	int networks;                   /* 1 or 3 */
	uint64_t hash[USE_NETWORKS];
};

/* t is zeroed memory. */
void client_use_init(struct use_table *t);

void client_use_name(const struct use_table *t, const struct use_conf *conf, const struct net_addr *client, struct use_client *out);

/* The text of the i-th network: "192.0.2.1", "2001:db8::/56". Returns out. And how many times as high its limits are. */
const char *client_use_network(const struct net_addr *client, int i, char out[NET_TEXT_MAX]);
int client_use_factor(int i);
int client_use_bits(int i);            /* of IPv6 */

/* What there is against a client. */
struct use_view {
	int load;                       /* of USE_FULL: how much of the limit is used, of the network that is nearest to its own */
	int network;                    /* which */
	int64_t count, limit;           /* its */
	bool over;                      /* it is more than the limit; of a look: there is no room for one more */
	bool shut;                      /* USE_UNKNOWN: until the period is over */
};

/*
 * n more of that kind, or none: only a look. now_ms: clock_ms(). A kind without limit is not counted. Who reaches the limit of USE_UNKNOWN is shut out for a
 * period from then on.
 */
void client_use_add(struct use_table *t, const struct use_conf *conf, const struct use_client *c, enum use_kind kind, int64_t n, int64_t now_ms,
		     struct use_view *out);
/* It shall not have counted. */
void client_use_take_back(struct use_table *t, const struct use_conf *conf, const struct use_client *c, enum use_kind kind, int64_t n, int64_t now_ms);

/* The same for the whole site. */
void site_use_add(struct use_table *t, const struct use_conf *conf, enum use_kind kind, int64_t n, int64_t now_ms, struct use_view *out);

/* How long a step waits under this load; 0: not at all. */
int use_delay_ms(const struct use_conf *conf, int load);

/*
 * Whether there shall be a line in the log about this kind: once a minute for a network (NULL: for the site). *unsaid: how many there would have been since
 * the last one.
 */
bool client_use_say(struct use_table *t, const struct use_conf *conf, const struct use_client *c, int network, enum use_kind kind, int64_t now_ms,
		     int *unsaid);

#endif
