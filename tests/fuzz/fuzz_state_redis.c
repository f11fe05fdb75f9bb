/*
 * fuzz_state_redis - what a Redis answers, by hiredis' reader, as the result of operations: in any pieces the same, and within its bounds
 */
#include <assert.h>
#include <hiredis/hiredis.h>
#include <stdint.h>
#include <string.h>

#include "policy/state_redis_script.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int answer(const uint8_t *data, size_t size, size_t piece, struct state_op *ops, size_t count)
{
	redisReader *reader = redisReaderCreate();
	void *reply = NULL;
	int rc = 0;

	assert(reader);
	for (size_t at = 0; rc == 0 && at < size && !reply; at += piece) {
		rc = redisReaderFeed(reader, (const char *)data + at, size - at < piece ? size - at : piece);
		if (rc == 0)
			rc = redisReaderGetReply(reader, &reply);
	}
	if (reply)
		rc = state_redis_answer(reply, ops, count);
	else
		rc = -1;
	if (reply)
		freeReplyObject(reply);
	redisReaderFree(reader);
	return rc;
}

/* hiredis makes room for as many elements as are announced: it is not what is tested. */
static bool modest(const uint8_t *p, size_t len)
{
	size_t digits = 0;

	for (size_t i = 0; i < len; i++) {
		digits = p[i] == '*' ? 1 : digits > 0 && ((p[i] >= '0' && p[i] <= '9') || p[i] == '+') ? digits + 1 : 0;
		if (digits > 4)
			return false;
	}
	return true;
}

/* The first octet: how many operations there were. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct state_op ops[STATE_OPS_MAX], twins[STATE_OPS_MAX];
	size_t count;
	int rc;

	if (size < 1 || !modest(data + 1, size - 1))
		return 0;
	count = data[0] % (STATE_OPS_MAX + 1);
	memset(ops, 0, sizeof(ops));
	memset(twins, 0, sizeof(twins));
	for (size_t i = 0; i < count; i++)
		ops[i].verb = twins[i].verb = (enum state_verb)(i % 5);
	rc = answer(data + 1, size - 1, SIZE_MAX / 2, ops, count);
	assert(answer(data + 1, size - 1, 1, twins, count) == rc);
	assert(memcmp(ops, twins, sizeof(ops)) == 0);
	for (size_t i = 0; i < count; i++)
		assert(memchr(ops[i].text, 0, sizeof(ops[i].text)));
	return 0;
}
