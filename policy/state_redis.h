/*
 * state_redis - the state in a Redis that several gateways share; spoken by the workers themselves
 *
 * One connection per worker, on its loop. A record is a hash PREFIXspace:key with the fields f, l, c, e, t (first, last,
 * count, expires, text); Redis' own expiry removes it. All operations of one request are one Lua script, so that nobody
 * comes between them; the time is Redis' own, so that the clocks of the gateways need not agree.
 *
 * Deleting a whole space is a SCAN in steps, not one atomic unit, and therefore must be alone in its request.
 *
 * Every request has a deadline, the time-out of the configuration; one that passes it ends the connection, since what
 * comes after it would wait, too. A connection that is lost is made anew at once, and a request that was under way is asked
 * once more (whoever counts may then count one twice, which the uses of the state bear). Where that fails Redis is away:
 * said in the log, requests fail at once, and it is tried again with growing pauses. Back: said as well.
 *
 * The address is a literal one: a worker in its empty directory has no resolver for hiredis. There is no TLS: hiredis of
 * Debian 12 has none. Redis Cluster is not followed (a script's keys lie in several slots); one Redis, or its replacement at the same
 * address, is.
 */
#ifndef STATE_REDIS_H
#define STATE_REDIS_H

#include "base/net.h"
#include "policy/state.h"

enum {
	STATE_REDIS_PORT = 6379,
	STATE_REDIS_PREFIX_MAX = 64,
	STATE_REDIS_SWEEP_MS = 60000,   /* a whole space is deleted within this, or not wholly */
};

struct state_redis_conf {
	struct net_addr address;        /* family 0: no Redis here */
	char *prefix;                   /* letters, digits, ":._-" */
	char *password;                 /* NULL: none is asked for */
	int timeout_ms;                 /* of one request, and of becoming connected */
};

struct state_redis;

/* conf is kept, not copied. now_s: of a test; NULL: Redis' own time. NULL: no memory. */
struct state_redis *state_redis_new(const struct state_redis_conf *conf, int64_t (*now_s)(void));
/* -ENOTCONN: away; -ETIMEDOUT; -EIO: Redis says an error; -EINVAL: no such operations. */
struct state *state_redis_state(struct state_redis *s);
/* On the loop, in the confined process: connect, for the first time. 0 or -ENOMEM */
int state_redis_start(struct state_redis *s);
/* Before the loop goes; no task may be inside any more. */
void state_redis_free(struct state_redis *s);

#endif
