#include "command/cmd_release.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/dns_unbound.h"
#include "base/log.h"
#include "base/task.h"
#include "command/admin.h"
#include "command/command.h"
#include "command/terminal.h"
#include "filters/fact.h"
#include "policy/conf.h"
#include "policy/record.h"
#include "policy/store_index.h"
#include "smtp/backend.h"
#include "smtp/release.h"

enum {
	ADDRESS_MAX = 1000,             /* of --rcpt, of --to */
	ERRORS_MAX = 64 * 1024,
	LINE_MAX_BYTES = 8192,
	GOODBYE_MS = 2500,              /* QUIT is said, and waited for so long */
};

static const char usage[] =
	"usage: gatepost quarantine release [-c FILE] [--rcpt ADDRESS] [--to ADDRESS] [--again] [--json] ID...\n"
	"\n"
	"Sends held messages to the mail server: byte for byte, with their own envelope; and where the backend has\n"
	"xclient = yes, with the client's address and HELO. Once: who has a message, or perhaps has it, is left out.\n"
	"The message stays in the quarantine, marked released.\n"
	"\n"
	"      --rcpt ADDRESS  only to this one of its recipients (may be repeated)\n"
	"      --to ADDRESS    to this address instead of its recipients (may be repeated)\n"
	"      --again         to those, too, who have it, or perhaps have it\n"
	"      --json          for programs\n"
	"  -c, --config FILE   configuration (/etc/gatepost/gatepost.conf)\n"
	"  -h, --help          this text\n"
	"\n"
	"Exit status: 0 released; 1 something is wrong; 2 it was released before; 3 the server said \"later\", or none\n"
	"answers; 4 the server refused it; 5 perhaps delivered. Of several messages: the highest.\n";

struct command_release {
	const char *conf;
	const char **rcpt, **to;        /* ADDRESS_MAX */
	size_t rcpt_count, to_count;
	bool again, json;
	char **id;
	int id_count;

	struct site *site;
	struct dns_unbound *unbound;
	struct backend_group *group;
	int dir_fd;
	char *index_path;
	json_t *report;
	bool looping;
	int status;
};

static int fail(const char *what, const char *detail)
{
	fprintf(stderr, "gatepost quarantine release: %s: %s\n", what, detail);
	return RELEASE_EXIT_WRONG;
}

static bool address_add(const char **list, size_t *count, const char *address)
{
	if (*count == ADDRESS_MAX)
		return false;
	list[(*count)++] = address;
	return true;
}

/* 0, or -1 and *status: it is over. */
static int parse_options(struct command_release *x, int argc, char **argv, int *status)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' }, { "rcpt", required_argument, NULL, 'R' }, { "to", required_argument, NULL, 'T' },
		{ "again", no_argument, NULL, 'A' }, { "json", no_argument, NULL, 'J' }, { "help", no_argument, NULL, 'h' }, { 0 },
	};
	bool room = true;
	int c;

	*status = RELEASE_EXIT_WRONG;
	optind = 1;
	while ((c = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		switch (c) {
		case 'c': x->conf = optarg; break;
		case 'R': room &= address_add(x->rcpt, &x->rcpt_count, optarg); break;
		case 'T': room &= address_add(x->to, &x->to_count, optarg); break;
		case 'A': x->again = true; break;
		case 'J': x->json = true; break;
		case 'h':
			fputs(usage, stdout);
			*status = 0;
			return -1;
		default:
			fputs(usage, stderr);
			return -1;
		}
	}
	x->id = argv + optind;
	x->id_count = argc - optind;
	if (room && x->id_count > 0 && !(x->rcpt_count && x->to_count))
		return 0;
	fprintf(stderr, "gatepost quarantine release: %s\n%s", !room ? "too many addresses" : x->id_count == 0 ? "the ID of a message was expected" :
		"--rcpt chooses among its recipients, --to replaces them: not both", usage);
	return -1;
}

/* --- what came of it, in words --- */

static const struct { const char *json, *text; enum release_exit exit; } results[] = {
	[RELEASE_NOT_ASKED] = { "not-asked", NULL, RELEASE_EXIT_OK },
	[RELEASE_HAD_IT] = { "released-before", "has it already; --again sends it once more", RELEASE_EXIT_HAD_IT },
	[RELEASE_PERHAPS_BEFORE] = { "perhaps-delivered-before",
				     "perhaps has it already: the release before ended between the end of the message and the server's reply. Look "
				     "into the mailbox or the server's log; --again sends it once more",
				     RELEASE_EXIT_PERHAPS },
	[RELEASE_PENDING] = { "not-done", "not done", RELEASE_EXIT_WRONG },
	[RELEASE_HELD] = { "not-done", "not done", RELEASE_EXIT_WRONG },
	[RELEASE_DONE] = { "released", "released", RELEASE_EXIT_OK },
	[RELEASE_REFUSED] = { "refused", "refused, the message stays", RELEASE_EXIT_REFUSED },
	[RELEASE_LATER] = { "later", "not now, the message stays", RELEASE_EXIT_LATER },
	[RELEASE_PERHAPS] = { "perhaps-delivered", "perhaps delivered, the server's reply was lost", RELEASE_EXIT_PERHAPS },
};

static void raise_status(struct command_release *x, int status)
{
	if (status > x->status)
		x->status = status;
}

static void print_recipient(const struct release *r, const struct release_rcpt *one)
{
	AUTO(buf) struct buf line = BUF_INIT(LINE_MAX_BYTES);

	buf_addf(&line, "%s: ", r->id);
	terminal_text(one->name, strlen(one->name), 300, &line);
	buf_addf(&line, ": %s", results[one->result].text);
	if (one->reply[0] && one->result > RELEASE_PENDING) {
		buf_addf(&line, ": %s%s", r->backend, r->backend[0] ? ": " : "");
		terminal_text(one->reply, strlen(one->reply), 500, &line);
	}
	puts(buf_str(&line));
}

static json_t *recipient_json(const struct release_rcpt *one)
{
	json_t *o = json_pack("{s:s, s:s}", "address", one->name, "result", results[one->result].json);

	if (one->reply[0])
		json_object_set_new(o, "reply", record_string(one->reply, strlen(one->reply)));
	return o;
}

static enum store_state state_now(const struct release *r)
{
	json_t *events = NULL;
	enum store_state state = STORE_STATE_PERHAPS;   /* what cannot be read is not said to be well */

	if (store_events_read(r->dir_fd, r->id, &events) == 0)
		state = store_events_state(events, NULL);
	json_decref(events);
	return state;
}

/* The index repeats what the events say: where that fails the events still say it, and reindex mends it. */
static void index_state(struct command_release *x, const struct release *r, enum store_state state)
{
	struct store_index *index = NULL;
	int rc = store_index_join(x->index_path, &index);

	if (rc == 0)
		rc = store_index_set_state(index, r->id, store_state_name(state));
	if (rc < 0 && rc != -ENOENT)
		log_warning("release", "what", "the index could not be told", "id", r->id, "error", strerror(-rc), NULL);
	store_index_close(index);
}

static void report(struct command_release *x, const struct release *r)
{
	enum store_state state = state_now(r);
	json_t *list = json_array(), *o;

	index_state(x, r, state);
	for (size_t i = 0; i < r->rcpt_count; i++) {
		const struct release_rcpt *one = &r->rcpt[i];

		if (one->result == RELEASE_NOT_ASKED)
			continue;
		raise_status(x, results[one->result].exit);
		if (x->json)
			json_array_append_new(list, recipient_json(one));
		else
			print_recipient(r, one);
	}
	if (r->error[0])
		raise_status(x, fail(r->id, r->error));
	if (release_count(r, RELEASE_DONE) && r->client.addr.family && !r->told_client && !x->json)
		fprintf(stderr, "%s: the server was not told the client's address (xclient)\n", r->id);
	o = json_pack("{s:s, s:s, s:s, s:b, s:o}", "id", r->id, "state", store_state_name(state), "backend", r->backend, "told_client",
		      r->told_client, "recipients", list);
	if (r->error[0])
		json_object_set_new(o, "error", json_string(r->error));
	json_array_append_new(x->report, o);
}

static void report_error(struct command_release *x, const char *id, const char *why, int rc)
{
	raise_status(x, rc == -EWOULDBLOCK ? RELEASE_EXIT_LATER : RELEASE_EXIT_WRONG);
	fail(id, why);
	json_array_append_new(x->report, json_pack("{s:o, s:o}", "id", record_string(id, strlen(id)), "error", record_string(why, strlen(why))));
}

/* --- the work --- */

static bool wants_client(const struct site *s)
{
	bool any = false;

	for (size_t i = 0; i < s->backend_count; i++)
		any |= s->backend[i].xclient;
	return any;
}

/* may wait */
static void release_one(struct command_release *x, const char *id)
{
	AUTO(buf) struct buf why = BUF_INIT(2000);
	AUTO(release) struct release *r = NULL;
	int rc = release_load(x->dir_fd, id, x->site, &r, &why);

	if (rc == 0)
		rc = x->to_count ? release_instead(r, x->to, x->to_count, x->again, &why) :
				   release_choose(r, x->rcpt, x->rcpt_count, x->again, &why);
	if (rc < 0) {
		report_error(x, id, buf_str(&why), rc);
		return;
	}
	r->who = admin_who();
	if (release_count(r, RELEASE_PENDING) && wants_client(x->site))
		release_confirm(r, dns_unbound_dns(x->unbound));
	release_run(r, x->group);
	report(x, r);
}

static void release_task(void *arg)
{
	struct command_release *x = arg;

	for (int i = 0; i < x->id_count; i++)
		release_one(x, x->id[i]);
	for (int left = GOODBYE_MS; left > 0 && backend_group_sessions(x->group) > 0; left -= 10)
		task_sleep(10);
	loop_stop();
}

static int prepare(struct command_release *x)
{
	AUTO(buf) struct buf errors = BUF_INIT(ERRORS_MAX);
	char path[2048];
	int rc;

	fact_register_all();
	rc = admin_open(x->conf, &x->site, &errors);

	fputs(buf_str(&errors), stderr);
	if (rc < 0)
		return RELEASE_EXIT_WRONG;
	if (admin_path(x->site, "quarantine", path, sizeof(path)) < 0)
		return fail(x->site->state_dir, "too long a path");
	x->dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (x->dir_fd < 0)
		return fail(path, strerror(errno));
	if (asprintf(&x->index_path, "%s/quarantine.db", path) < 0) {
		x->index_path = NULL;
		return fail("start", "out of memory");
	}
	if (loop_init() < 0)
		return fail("event loop", "cannot start");
	x->looping = true;
	buf_clear(&errors);
	x->unbound = dns_unbound_new(&x->site->dns, &errors);
	if (!x->unbound || backend_group_new(x->site, dns_unbound_dns(x->unbound), &x->group, &errors) < 0)
		return fail("set-up", buf_str(&errors));
	return task_spawn("release", release_task, x, NULL) < 0 ? fail("task", "out of memory") : 0;
}

static int run(struct command_release *x)
{
	int status = prepare(x);

	if (status == 0) {
		loop_run();
		if (x->json) {
			json_dumpf(x->report, stdout, JSON_INDENT(2));
			putchar('\n');
		}
		status = x->status;
	}
	backend_group_free(x->group);
	if (x->looping)
		loop_unwind();
	dns_unbound_free(x->unbound);
	site_free(x->site);
	if (x->looping)
		loop_release();
	if (x->dir_fd >= 0)
		close(x->dir_fd);
	free(x->index_path);
	return status;
}

int quarantine_release(int argc, char **argv)
{
	struct command_release x = { .conf = GATEPOST_CONFIG, .dir_fd = -1, .report = json_array() };
	int status;

	x.rcpt = calloc(ADDRESS_MAX, sizeof(*x.rcpt));
	x.to = calloc(ADDRESS_MAX, sizeof(*x.to));
	if (!x.rcpt || !x.to || !x.report)
		status = fail("start", "out of memory");
	else if (parse_options(&x, argc, argv, &status) == 0)
		status = run(&x);
	json_decref(x.report);
	free(x.rcpt);
	free(x.to);
	return status;
}
