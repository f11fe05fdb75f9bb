/*
 * state_redis_script - operations on the state as one Lua script of Redis: its arguments and its answer
 *
 *     KEYS: PREFIXspace:key of each operation
 *     ARGV: now (empty: Redis' own time), then per operation: verb, ttl_s, add, text
 *     answer: per operation: found, first_s, last_s, count, text
 *
 * The results are those of state_sqlite, edges included. Pure: no I/O here.
 */
#ifndef STATE_REDIS_SCRIPT_H
#define STATE_REDIS_SCRIPT_H

#include <stdbool.h>

#include "policy/state.h"

struct redisReply;

extern const char state_redis_script[];

enum {
	STATE_REDIS_KEY_MAX = 512,
	STATE_REDIS_ARGS_MAX = 3 + 1 + 5 * STATE_OPS_MAX,
};

/* The words of a command: an EVALSHA or an EVAL. Some 10 KiB: on the heap. */
struct state_redis_args {
	int count;
	const char *word[STATE_REDIS_ARGS_MAX];
	size_t len[STATE_REDIS_ARGS_MAX];
	char keys[16], now[32];
	char key[STATE_OPS_MAX][STATE_REDIS_KEY_MAX];
	char number[STATE_OPS_MAX][3][24];
};

/* Whether Redis can do this: what state_sqlite demands, and a space that is a word. */
bool state_redis_ok(const struct state_op *op);

/* Points into ops, prefix and script. now_s < 0: Redis' own time. */
void state_redis_args(struct state_redis_args *a, const char *command, const char *script, const char *prefix,
		      int64_t now_s, const struct state_op *ops, size_t count);

/* 0, or -EBADMSG: not the script's answer. */
int state_redis_answer(const struct redisReply *r, struct state_op *ops, size_t count);

#endif
