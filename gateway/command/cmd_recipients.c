#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/task.h"
#include "command/command.h"
#include "policy/conf.h"
#include "process/control.h"

static const char usage[] = "usage: gatepost recipients [-c FILE] clear [ADDRESS]\n"
			    "\n"
			    "Forgets what is cached of who is a known recipient, and of which server has "
			    "his mailbox: of ADDRESS,\nor of all. The running gateway is asked, or the Redis that several share.\n";

static const char status_usage[] =
	"usage: gatepost status [-c FILE]\n"
	"\n"
	"How the running gateway is, as JSON.\n";

/* Ask the gateway of this configuration; request is taken over. NULL: said on stderr. */
static json_t *ask(const struct site *s, json_t *request)
{
	AUTO(buf) struct buf err = BUF_INIT(2000);
	json_t *answer = NULL;

	if (control_ask(s->control_path, request, &answer, &err) < 0) {
		fprintf(stderr, "gatepost: %s\n", buf_str(&err));
		answer = NULL;
	} else if (!json_is_true(json_object_get(answer, "ok"))) {
		const char *why = json_string_value(json_object_get(answer, "error"));

		fprintf(stderr, "gatepost: %s\n", why ? why : "refused");
		json_decref(answer);
		answer = NULL;
	}
	json_decref(request);
	return answer;
}

/* No keeper knows what is in Redis, and the workers take no commands: it is asked from here. */
struct clearing {
	struct state_redis *redis;
	const char *address;
	int64_t count;
	int rc;
};

static void clear_task(void *arg)
{
	static const char *const spaces[] = { "rcpt", "owner" };
	struct clearing *c = arg;

	for (size_t i = 0; c->rc == 0 && i < sizeof(spaces) / sizeof(*spaces); i++) {
		struct state_op op = { .verb = STATE_DELETE };

		c->rc = c->address ? state_key_recipient(&op, c->address) : 0;
		snprintf(op.space, sizeof(op.space), "%s", spaces[i]);
		if (c->rc == 0)
			c->rc = state_run(state_redis_state(c->redis), &op, 1);
		c->count += op.count;
	}
	loop_stop();
}

static int clear_in_redis(const struct site *s, const char *address)
{
	struct clearing c = { .address = address };
	struct state_op op;
	int rc = address ? state_key_recipient(&op, address) : 0;

	if (rc == 0)
		rc = loop_init();
	if (rc < 0) {
		fprintf(stderr, "gatepost recipients: %s\n", strerror(-rc));
		return 1;
	}
	log_open("gatepost", LOG_LEVEL_WARNING);
	c.redis = state_redis_new(&s->redis, NULL);
	rc = c.redis ? state_redis_start(c.redis) : -ENOMEM;
	if (rc == 0)
		rc = task_spawn("clear", clear_task, &c, NULL);
	if (rc == 0) {
		loop_run();
		rc = c.rc;
	}
	loop_unwind();
	state_redis_free(c.redis);
	loop_release();
	if (rc < 0)
		fprintf(stderr, "gatepost recipients: Redis: %s\n", strerror(-rc));
	else
		printf("%lld forgotten\n", (long long)c.count);
	return rc < 0;
}

static int clear_in_keeper(const struct site *s, const char *address)
{
	json_t *request = json_pack("{s:s}", "cmd", "recipients.clear"), *answer;

	if (address && json_object_set_new(request, "address", json_string(address)) < 0) {
		fprintf(stderr, "gatepost recipients: the address is not UTF-8\n");
		json_decref(request);
		return 1;
	}
	answer = ask(s, request);
	if (!answer)
		return 1;
	printf("%lld forgotten\n",
	       (long long)json_integer_value(json_object_get(answer, "cleared")));
	json_decref(answer);
	return 0;
}

int cmd_recipients(int argc, char **argv)
{
	const char *path;
	int status, at = command_options(argc, argv, usage, &path, &status);
	const char *address;
	struct site *s;

	if (at < 0)
		return status;
	if (at >= argc || strcmp(argv[at], "clear") != 0 || argc - at > 2) {
		fprintf(stderr,
			"gatepost recipients: clear, and at most one address, was expected\n%s",
			usage);
		return 1;
	}
	address = argc - at == 2 ? argv[at + 1] : NULL;
	s = command_site(path);
	if (!s)
		return 1;
	status = s->redis.address.family ? clear_in_redis(s, address) : clear_in_keeper(s, address);
	site_free(s);
	return status;
}

int cmd_status(int argc, char **argv)
{
	const char *path;
	int status, at = command_options(argc, argv, status_usage, &path, &status);
	struct site *s;
	json_t *answer;

	if (at < 0)
		return status;
	if (at < argc) {
		fprintf(stderr, "gatepost status: %s was not expected\n%s", argv[at], status_usage);
		return 1;
	}
	s = command_site(path);
	answer = s ? ask(s, json_pack("{s:s}", "cmd", "status")) : NULL;
	site_free(s);
	if (!answer)
		return 1;
	json_object_del(answer, "ok");
	json_dumpf(answer, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(answer);
	return 0;
}
