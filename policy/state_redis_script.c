#include "policy/state_redis_script.h"

#include <errno.h>
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATE_FUTURE_TEXT "300"
_Static_assert(STATE_FUTURE_S == 300, "as the text says");

/*
 * Lua's numbers are doubles: counts stay text and are added by HINCRBY, which knows all 64 bits and refuses to overflow; times are far below 2^53.
 * "e" is compared, too, as Redis removes a record some milliseconds after its second has begun, and a test has a clock of
 * its own.
 */
const char state_redis_script[] =
	"local now = tonumber(ARGV[1]) or tonumber(redis.call('TIME')[1])\n"
	"local now_s = string.format('%.0f', now)\n"
	"local out = {}\n"
	"for i, key in ipairs(KEYS) do\n"
	"  local a = 4 * i - 2\n"
	"  local verb, ttl, add, text = ARGV[a], tonumber(ARGV[a + 1]), ARGV[a + 2], ARGV[a + 3]\n"
	"  if verb == '4' then\n"
	"    local n = redis.call('DEL', key)\n"
	"    out[i] = { n, '0', '0', tostring(n), '' }\n"
	"  else\n"
	"    local r = redis.call('HMGET', key, 'f', 'l', 'c', 'e', 't')\n"
	"    local found = r[4] and tonumber(r[4]) > now and tonumber(r[2] or '0') <= now + " STATE_FUTURE_TEXT "\n"
	"    if found then\n"
	"      out[i] = { 1, r[1] or '0', r[2] or '0', r[3] or '0', r[5] or '' }\n"
	"    else\n"
	"      out[i] = { 0, '0', '0', '0', '' }\n"
	"    end\n"
	"    if verb ~= '0' then\n"
	"      if verb == '3' then\n"
	"        redis.call('HSET', key, 'f', now_s, 'c', add, 't', text)\n"
	"      elseif not found then\n"
	"        redis.call('HSET', key, 'f', now_s, 'c', '0', 't', '')\n"
	"      end\n"
	"      if verb == '2' and type(redis.pcall('HINCRBY', key, 'c', add)) == 'table' then\n"
	"        local least = string.sub(add, 1, 1) == '-'\n"
	"        redis.call('HSET', key, 'c', least and '-9223372036854775808' or '9223372036854775807')\n"
	"      end\n"
	"      ttl = math.max(-1e12, math.min(1e12, ttl))\n"
	"      redis.call('HSET', key, 'l', now_s, 'e', string.format('%.0f', now + ttl))\n"
	"      redis.call('EXPIRE', key, string.format('%.0f', ttl))\n"
	"    end\n"
	"  end\n"
	"end\n"
	"return out\n";

bool state_redis_ok(const struct state_op *op)
{
	size_t space = strnlen(op->space, sizeof(op->space));

	/* A word: a colon would make two keys one, and a star a pattern. */
	return op->verb <= STATE_DELETE && space > 0 && space < sizeof(op->space) &&
	       strspn(op->space, "abcdefghijklmnopqrstuvwxyz0123456789_-") == space &&
	       strnlen(op->key, STATE_KEY_MAX) < STATE_KEY_MAX && strnlen(op->text, STATE_TEXT_MAX) < STATE_TEXT_MAX;
}

static void word_add(struct state_redis_args *a, const char *word)
{
	a->word[a->count] = word;
	a->len[a->count++] = strlen(word);
}

static void number_add(struct state_redis_args *a, char *out, int64_t n)
{
	snprintf(out, 24, "%" PRId64, n);
	word_add(a, out);
}

void state_redis_args(struct state_redis_args *a, const char *command, const char *script, const char *prefix,
		      int64_t now_s, const struct state_op *ops, size_t count)
{
	a->count = 0;
	word_add(a, command);
	word_add(a, script);
	snprintf(a->keys, sizeof(a->keys), "%zu", count);
	word_add(a, a->keys);
	for (size_t i = 0; i < count; i++) {
		snprintf(a->key[i], sizeof(a->key[i]), "%.64s%s:%s", prefix, ops[i].space, ops[i].key);
		word_add(a, a->key[i]);
	}
	snprintf(a->now, sizeof(a->now), "%" PRId64, now_s);
	word_add(a, now_s < 0 ? "" : a->now);
	for (size_t i = 0; i < count; i++) {
		number_add(a, a->number[i][0], ops[i].verb);
		number_add(a, a->number[i][1], ops[i].ttl_s);
		number_add(a, a->number[i][2], ops[i].add);
		word_add(a, ops[i].text);
	}
}

/* A number that Lua wrote as text. */
static int64_t number_of(const struct redisReply *r)
{
	return r->type == REDIS_REPLY_INTEGER ? r->integer : strtoll(r->str, NULL, 10);
}

static bool record_ok(const struct redisReply *r)
{
	if (r->type != REDIS_REPLY_ARRAY || r->elements != 5 || r->element[0]->type != REDIS_REPLY_INTEGER)
		return false;
	for (int i = 1; i < 5; i++)
		if (r->element[i]->type != REDIS_REPLY_STRING)
			return false;
	return r->element[4]->len < STATE_TEXT_MAX && !memchr(r->element[4]->str, 0, r->element[4]->len);
}

int state_redis_answer(const struct redisReply *r, struct state_op *ops, size_t count)
{
	if (r->type != REDIS_REPLY_ARRAY || r->elements != count)
		return -EBADMSG;
	for (size_t i = 0; i < count; i++)
		if (!record_ok(r->element[i]))
			return -EBADMSG;
	for (size_t i = 0; i < count; i++) {
		struct redisReply *const *e = r->element[i]->element;
		struct state_op *op = &ops[i];

		op->found = number_of(e[0]) != 0;
		op->count = number_of(e[3]);
		if (op->verb == STATE_DELETE)
			continue;
		op->first_s = number_of(e[1]);
		op->last_s = number_of(e[2]);
		snprintf(op->text, sizeof(op->text), "%s", e[4]->str);
	}
	return 0;
}
