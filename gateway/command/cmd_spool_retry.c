/*
 * gatepost spool retry, gatepost spool delete
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/durable.h"
#include "command/admin.h"
#include "command/command.h"
#include "command/spool_view.h"
#include "policy/conf.h"

static const char retry_usage[] =
	"usage: gatepost spool retry [-c FILE] ID... | --route ROUTE | --all\n"
	"\n"
	"Try to deliver messages now, whatever was to be waited for. The running gateway does it.\n"
	"\n"
	"      --route ROUTE       all that waits for it: 'mx example.net', upstream, backend; mx: for all of them. A next hop that could\n"
	"                          not be reached is tried by one message first; the others follow when it is there\n"
	"      --all               everything\n"
	"  -c, --config FILE       configuration (" GATEPOST_CONFIG ")\n";

static const char delete_usage[] =
	"usage: gatepost spool delete [-c FILE] [--bounce] ID...\n"
	"\n"
	"Messages that are still to be delivered leave the spool for good. One that is being delivered at this moment stays.\n"
	"\n"
	"      --bounce            the sender gets a notification; the running gateway does it\n"
	"  -c, --config FILE       configuration (" GATEPOST_CONFIG ")\n";

static const char not_running[] = "gatepost does not run: everything that is due is tried when it starts";

struct retry {
	const char *conf, *route;
	bool all, bounce;
	int64_t parts;
};

static int ask_retry(struct spool_view *v, json_t *request, struct retry *r)
{
	AUTO(buf) struct buf err = BUF_INIT(4096);
	json_t *answer = NULL;
	int rc = spool_view_ask(v, request, &answer, &err);

	if (rc == -ENOTCONN)
		return spool_problem("retry", "%s", not_running);
	if (rc < 0)
		return spool_problem("retry", "%s", buf_str(&err));
	r->parts += json_integer_value(json_object_get(answer, "parts"));
	json_decref(answer);
	return SPOOL_DONE;
}

static int retry_one(struct spool_view *v, const char *id, void *arg)
{
	struct retry *r = arg;
	int64_t before = r->parts;
	int status;

	if (v->silent)
		return SPOOL_PROBLEM;   /* said of the first */
	status = ask_retry(v, json_pack("{s:s, s:s}", "cmd", "spool.retry", "id", id), r);
	if (status == SPOOL_DONE && r->parts == before)
		printf("%s is being delivered\n", id);
	else if (status == SPOOL_DONE)
		printf("%s is tried now\n", id);
	return status;
}

static int retry_run(struct retry *r, char **ids, int count)
{
	AUTO(spool_view) struct spool_view v = { .dir_fd = -1 };
	json_t *request;
	int status;

	if (spool_view_open(&v, "retry", r->conf) < 0)
		return SPOOL_PROBLEM;
	if (count > 0)
		return spool_view_each(&v, ids, count, retry_one, r);
	request = json_pack("{s:s}", "cmd", "spool.retry");
	if (r->route && json_object_set_new(request, "route", json_string(r->route)) < 0) {
		json_decref(request);
		return spool_problem("retry", "the route is not UTF-8");
	}
	status = ask_retry(&v, request, r);
	if (status == SPOOL_DONE)
		printf("%lld are tried now\n", (long long)r->parts);
	return status;
}

int spool_command_retry(int argc, char **argv)
{
	static const struct option options[] = {
		{ "route", required_argument, NULL, 'r' }, { "all", no_argument, NULL, 'a' }, { "config", required_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' }, { 0 },
	};
	struct retry r = { .conf = GATEPOST_CONFIG };
	int c;

	optind = 1;
	while ((c = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		if (c == 'c') {
			r.conf = optarg;
		} else if (c == 'r') {
			r.route = optarg;
		} else if (c == 'a') {
			r.all = true;
		} else {
			fputs(retry_usage, c == 'h' ? stdout : stderr);
			return c == 'h' ? SPOOL_DONE : SPOOL_PROBLEM;
		}
	}
	if ((optind < argc) + (r.route != NULL) + r.all != 1)
		return spool_problem("retry", "ids, --route or --all were expected, one of them\n%s", retry_usage);
	return retry_run(&r, argv + optind, argc - optind);
}

/* No keeper has the directory: it cannot begin to deliver meanwhile either. */
static int delete_beside_none(struct spool_view *v, const char *id)
{
	char name[DURABLE_NAME_MAX];
	int rc = 0;

	if (flock(v->dir_fd, LOCK_EX | LOCK_NB) < 0)
		return spool_problem("delete", "%s: gatepost runs, and its control socket does not answer: nothing is deleted", id);
	snprintf(name, sizeof(name), "%s.json", id);
	if (unlinkat(v->dir_fd, name, 0) < 0)
		rc = -errno;
	if (rc == 0)
		rc = durable_sync(v->dir_fd, ".");
	if (rc == 0) {
		snprintf(name, sizeof(name), "%s.eml", id);
		(void)unlinkat(v->dir_fd, name, 0);
	}
	flock(v->dir_fd, LOCK_UN);
	if (rc < 0)
		return spool_problem("delete", "%s: %s", id, strerror(-rc));
	printf("%s deleted\n", id);
	return SPOOL_DONE;
}

static int delete_one(struct spool_view *v, const char *id, void *arg)
{
	AUTO(buf) struct buf err = BUF_INIT(4096);
	const struct retry *r = arg;
	json_t *answer = NULL;
	int rc = v->silent ? -ENOTCONN
			   : spool_view_ask(v, json_pack("{s:s, s:s, s:b, s:s}", "cmd", "spool.delete", "id", id, "bounce", r->bounce, "who", admin_who()),
					    &answer, &err);

	json_decref(answer);
	if (rc == -ENOTCONN && r->bounce)
		return spool_problem("delete", "%s: gatepost does not run, so nobody can be told: nothing is deleted", id);
	if (rc == -ENOTCONN)
		return delete_beside_none(v, id);
	if (rc < 0 && strcmp(buf_str(&err), strerror(EBUSY)) == 0)
		return spool_problem("delete", "%s: it is being delivered at this moment: not deleted", id);
	if (rc < 0 && strcmp(buf_str(&err), strerror(ENOENT)) == 0) {
		spool_problem("delete", "%s: it has just been delivered", id);
		return SPOOL_MISSING;
	}
	if (rc < 0)
		return spool_problem("delete", "%s: %s", id, buf_str(&err));
	printf(r->bounce ? "%s is given up, and its sender told\n" : "%s deleted\n", id);
	return SPOOL_DONE;
}

int spool_command_delete(int argc, char **argv)
{
	static const struct option options[] = {
		{ "bounce", no_argument, NULL, 'b' }, { "config", required_argument, NULL, 'c' }, { "help", no_argument, NULL, 'h' }, { 0 },
	};
	AUTO(spool_view) struct spool_view v = { .dir_fd = -1 };
	struct retry r = { .conf = GATEPOST_CONFIG };
	int c;

	optind = 1;
	while ((c = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		if (c == 'c') {
			r.conf = optarg;
		} else if (c == 'b') {
			r.bounce = true;
		} else {
			fputs(delete_usage, c == 'h' ? stdout : stderr);
			return c == 'h' ? SPOOL_DONE : SPOOL_PROBLEM;
		}
	}
	if (optind == argc)
		return spool_problem("delete", "an id was expected\n%s", delete_usage);
	if (spool_view_open(&v, "delete", r.conf) < 0)
		return SPOOL_PROBLEM;
	return spool_view_each(&v, argv + optind, argc - optind, delete_one, &r);
}
