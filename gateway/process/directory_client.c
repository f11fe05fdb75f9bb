#include "process/directory_client.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "directory/directory_address.h"
#include "policy/conf.h"

/* The directories are asked one after the other. may wait */
static enum directory_answer ask(void *arg, const char *local, const char *domain, int64_t deadline_ms)
{
	AUTO(channel_msg) struct channel_msg reply = CHANNEL_MSG_INIT;
	struct directory_client *c = arg;
	int64_t until_ms = clock_ms() + c->wait_ms;
	char address[DIRECTORY_ADDRESS_MAX];
	int rc = -EPIPE;

	if (directory_address(local, domain, address) < 0)
		return DIRECTORY_ELSEWHERE;
	if (deadline_ms && deadline_ms < until_ms)
		until_ms = deadline_ms;
	while (rc == -EPIPE) {
		int64_t left_ms = until_ms - clock_ms();

		if (left_ms <= 0)
			return DIRECTORY_LATER;
		rc = channel_await_peer(&c->channel, (int)left_ms);
		left_ms = until_ms - clock_ms();
		if (rc == 0 && left_ms > 0)
			rc = channel_call(&c->channel, CHANNEL_DIRECTORY_ASK, address, strlen(address), -1, (int)left_ms, &reply);
	}
	return rc < 0 || reply.status < 0 || reply.status >= DIRECTORY_ANSWERS ? DIRECTORY_LATER : (enum directory_answer)reply.status;
}

void directory_client_init(struct directory_client *c, const struct site *site)
{
	*c = (struct directory_client){ .needed = site->verify == VERIFY_DIRECTORY, .wait_ms = DIRECTORY_CLIENT_MORE_MS, .asker = { ask, c } };
	for (size_t i = 0; i < site->directory_count; i++)
		c->wait_ms += site->directory[i].timeout_ms;
	channel_init(&c->channel, NULL, NULL);
}

void directory_client_release(struct directory_client *c)
{
	channel_release(&c->channel);
}
