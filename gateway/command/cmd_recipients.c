#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/task.h"
#include "command/command.h"
#include "policy/conf.h"
#include "process/control.h"

static const char usage[] = "usage: gatepost recipients [-c FILE] clear [ADDRESS]\n"
			    "       gatepost recipients [-c FILE] show [ADDRESS]\n"
			    "       gatepost recipients [-c FILE] refresh\n"
			    "\n"
			    "clear: forgets what is cached of who is a known recipient, and of which server has "
			    "his mailbox: of ADDRESS, or of all. The running gateway is asked, or the Redis that several share.\n"
			    "show: what is known of the directories (verify = directory), or whether ADDRESS is known, and who says so.\n"
			    "refresh: the directories are asked for all addresses now.\n";

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

/* --- directories --- */

enum { ANSWER_TRIES = 200, ANSWER_PAUSE_MS = 200 };     /* the longest timeouts of eight directories take less */

static const char *text_of(const json_t *o, const char *name)
{
	const char *p = json_string_value(json_object_get(o, name));

	return p ? p : "";
}

/* "12 s", "3 h"; json null: never. */
static void age_print(const json_t *seconds)
{
	static const struct { json_int_t s; const char *unit; } units[] = { { 2 * 86400, "d" }, { 2 * 3600, "h" }, { 120, "min" }, { 0, "s" } };
	static const json_int_t of[] = { 86400, 3600, 60, 1 };
	json_int_t s = json_integer_value(seconds);

	if (!json_is_integer(seconds)) {
		printf("never");
		return;
	}
	for (size_t i = 0; i < 4; i++)
		if (s >= units[i].s || i == 3) {
			printf("%lld %s ago", (long long)(s / of[i]), units[i].unit);
			return;
		}
}

static int show_all(const struct site *s)
{
	json_t *answer = ask(s, json_pack("{s:s}", "cmd", "status")), *list, *one;
	size_t i;

	if (!answer)
		return 1;
	list = json_object_get(answer, "directories");
	if (json_array_size(list) == 0)
		printf("no directory is asked (verify = directory)\n");
	json_array_foreach(list, i, one) {
		json_int_t doubted = json_integer_value(json_object_get(one, "doubted"));

		printf("%s: %s, %lld addresses, refreshed ", text_of(one, "name"), text_of(one, "state"),
		       (long long)json_integer_value(json_object_get(one, "addresses")));
		age_print(json_object_get(one, "refreshed_s"));
		if (doubted)
			printf(", the last refresh gave %lld and is doubted", (long long)doubted);
		printf("\n  asked for one: %lld, found %lld, without a turn %lld; memory: %lld KiB\n", (long long)json_integer_value(json_object_get(one, "asked")),
		       (long long)json_integer_value(json_object_get(one, "found")), (long long)json_integer_value(json_object_get(one, "spared")),
		       (long long)json_integer_value(json_object_get(one, "bytes")) / 1024);
		if (*text_of(one, "why"))
			printf("  why: %s\n", text_of(one, "why"));
	}
	json_decref(answer);
	return 0;
}

/* The process that asks directories looks for questions once a second. */
static int show_one(const struct site *s, const char *address)
{
	json_t *request = json_pack("{s:s, s:s}", "cmd", "recipients.ask", "address", address), *answer;
	json_int_t number;

	if (!request) {
		fprintf(stderr, "gatepost recipients: the address is not UTF-8\n");
		return 1;
	}
	answer = ask(s, request);
	if (!answer)
		return 1;
	number = json_integer_value(json_object_get(answer, "number"));
	json_decref(answer);
	for (int i = 0; i < ANSWER_TRIES; i++) {
		answer = ask(s, json_pack("{s:s, s:I}", "cmd", "recipients.answer", "number", number));
		if (!answer)
			return 1;
		if (*text_of(answer, "answer")) {
			printf("%s: %s (%s%s%s)\n", address, text_of(answer, "answer"), text_of(answer, "directory"), *text_of(answer, "directory") ? ": " : "",
			       text_of(answer, "by"));
			json_decref(answer);
			return 0;
		}
		json_decref(answer);
		(void)poll(NULL, 0, ANSWER_PAUSE_MS);
	}
	fprintf(stderr, "gatepost recipients: no answer\n");
	return 1;
}

static int refresh(const struct site *s)
{
	json_t *answer = ask(s, json_pack("{s:s}", "cmd", "recipients.refresh"));

	json_decref(answer);
	return answer ? 0 : 1;
}

static int run(const struct site *s, const char *what, const char *address)
{
	if (strcmp(what, "show") == 0)
		return address ? show_one(s, address) : show_all(s);
	if (strcmp(what, "refresh") == 0)
		return refresh(s);
	return s->redis.address.family ? clear_in_redis(s, address) : clear_in_keeper(s, address);
}

int cmd_recipients(int argc, char **argv)
{
	const char *path;
	int status, at = command_options(argc, argv, usage, &path, &status);
	const char *address;
	struct site *s;

	if (at < 0)
		return status;
	if (at >= argc || (strcmp(argv[at], "clear") != 0 && strcmp(argv[at], "show") != 0 && strcmp(argv[at], "refresh") != 0) ||
	    argc - at > (strcmp(argv[at], "refresh") == 0 ? 1 : 2)) {
		fprintf(stderr,
			"gatepost recipients: clear, show, and at most one address, or refresh, was expected\n%s",
			usage);
		return 1;
	}
	address = argc - at == 2 ? argv[at + 1] : NULL;
	s = command_site(path);
	if (!s)
		return 1;
	status = run(s, argv[at], address);
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
