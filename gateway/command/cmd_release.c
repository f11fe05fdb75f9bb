#include "command/cmd_release.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/dns_unbound.h"
#include "base/log.h"
#include "base/task.h"
#include "command/admin.h"
#include "command/command.h"
#include "command/quarantine.h"
#include "command/state_reach.h"
#include "command/terminal.h"
#include "filters/fact.h"
#include "hop/backend.h"
#include "hop/backend_domains.h"
#include "hop/outbound.h"
#include "policy/conf.h"
#include "policy/record.h"
#include "policy/released.h"
#include "policy/state.h"
#include "policy/store_index.h"
#include "smtp/release.h"

enum {
	ADDRESS_MAX = 1000,             /* of --rcpt, of --redirect-to */
	ERRORS_MAX = 64 * 1024,
	LINE_MAX_BYTES = 8192,
	GOODBYE_MS = 2500,              /* QUIT is said, and waited for so long */
};

static const char usage[] =
	"usage: gatepost quarantine release [-c FILE] [OPTIONS] ID ...\n"
	"       gatepost quarantine release [-c FILE] [OPTIONS] FILTERS\n"
	"\n"
	"Sends held messages to the mail server: byte for byte, with their own envelope; and where the backend has\n"
	"xclient = yes, with the client's address and HELO. Once: who has a message, or perhaps has it, is left out.\n"
	"The message stays in the quarantine, marked released (unless --delete). Of one that was held when a user fetched it\n"
	"a copy is delivered to him, and the original in his mailbox is shown again.\n"
	"\n"
	"      --rcpt ADDRESS         only to this one of its recipients (may be repeated)\n"
	"      --redirect-to ADDRESS  to this address instead of its recipients (may be repeated)\n"
	"      --again                to those, too, who have it, or perhaps have it\n"
	"      --delete               delete a message when all of its recipients have been released to\n"
	"      --dry-run              only say which messages are meant\n"
	"      --json                 for programs\n"
	"  -c, --config FILE          configuration (" GATEPOST_CONFIG ")\n"
	"  -h, --help                 this text\n"
	"\n"
	"FILTERS mean all messages for which they hold, without those released before:\n"
	QUARANTINE_FILTER_USAGE
	"\n"
	"Exit status: 0 released; 1 something is wrong; 2 a message is not there; 3 it was released before; 4 the server\n"
	"said \"later\", or none answers; 5 the server refused it; 6 perhaps delivered. Of several: the highest.\n";

struct command_release {
	const char *conf;
	const char **rcpt, **to;        /* ADDRESS_MAX */
	size_t rcpt_count, to_count;
	bool again, delete, dry_run, json;
	struct store_filter filter;
	char **typed;
	int typed_count;

	struct quarantine q;
	char (*id)[STORE_ID_MAX];
	size_t id_count, id_cap;
	struct dns_unbound *unbound;
	struct backend_group *group;
	struct backend_domains *domains;
	struct outbound *outbound;
	json_t *report;
	struct release *current;
	bool looping;
	int status;
};

static int fail(const char *what, const char *detail)
{
	return quarantine_fail("release", "%s: %s", what, detail);
}

static bool address_add(const char **list, size_t *count, const char *address)
{
	if (*count == ADDRESS_MAX)
		return false;
	list[(*count)++] = address;
	return true;
}

/* What is wrong with the arguments, or NULL. */
static const char *arguments_wrong(const struct command_release *x, bool room)
{
	if (!room)
		return "too many addresses";
	if (x->typed_count && store_filter_any(&x->filter))
		return "IDs, or conditions: not both";
	if (!x->typed_count && !store_filter_any(&x->filter))
		return "the ID of a message, or a condition, was expected";
	if (x->rcpt_count && x->to_count)
		return "--rcpt chooses among its recipients, --redirect-to replaces them: not both";
	return NULL;
}

/* 0, or -1 and *status: it is over. */
static int parse_options(struct command_release *x, int argc, char **argv, int *status)
{
	static const struct option options[] = {
		QUARANTINE_FILTER_OPTIONS, { "config", required_argument, NULL, 'c' }, { "rcpt", required_argument, NULL, 'R' },
		{ "redirect-to", required_argument, NULL, 'T' }, { "again", no_argument, NULL, 'A' }, { "delete", no_argument, NULL, 'D' },
		{ "dry-run", no_argument, NULL, 'N' }, { "json", no_argument, NULL, 'J' }, { "help", no_argument, NULL, 'h' }, { 0 },
	};
	const char *wrong;
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
		case 'D': x->delete = true; break;
		case 'N': x->dry_run = true; break;
		case 'J': x->json = true; break;
		case 'h':
			fputs(usage, stdout);
			*status = RELEASE_EXIT_OK;
			return -1;
		case '?': fputs(usage, stderr); return -1;
		default:
			if (quarantine_filter_option("release", &x->filter, c, optarg) < 0)
				return -1;
		}
	}
	x->typed = argv + optind;
	x->typed_count = argc - optind;
	wrong = arguments_wrong(x, room);
	if (wrong)
		quarantine_fail("release", "%s\n%s", wrong, usage);
	return wrong ? -1 : 0;
}

/* --- which messages --- */

static int id_add(void *arg, const char *id)
{
	struct command_release *x = arg;

	if (x->id_count == x->id_cap) {
		size_t cap = x->id_cap ? 2 * x->id_cap : 64;
		void *more = reallocarray(x->id, cap, sizeof(*x->id));

		if (!more)
			return fail("memory", "there is none");
		x->id = more;
		x->id_cap = cap;
	}
	memcpy(x->id[x->id_count++], id, strlen(id) + 1);
	return QUARANTINE_DONE;
}

/* By a filter: those that were released are meant only by who asks for them. */
static int on_entry(void *arg, const struct store_entry *e)
{
	struct command_release *x = arg;

	if (!x->again && !x->filter.state && strcmp(e->state, store_state_name(STORE_STATE_RELEASED)) == 0)
		return 0;
	return id_add(x, e->id);
}

/* The exit status; what is not there is said, and the others are done all the same. */
static int collect(struct command_release *x)
{
	const struct store_list what = { .filter = &x->filter, .oldest_first = true };
	int64_t rc;

	if (x->typed_count)
		return quarantine_each(&x->q, x->typed, x->typed_count, id_add, x);
	if (!quarantine_has_index(&x->q))
		return RELEASE_EXIT_WRONG;
	quarantine_warn_incomplete(&x->q);
	rc = store_view_list(x->q.view, &what, on_entry, x);
	return rc < 0 ? fail("index", strerror((int)-rc)) : RELEASE_EXIT_OK;
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
	[RELEASE_OTHER_WAY] = { "not-done", "not done", RELEASE_EXIT_WRONG },
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
	int rc = store_index_join(store_view_index_path(x->q.view), &index);

	if (rc == 0)
		rc = store_index_set_state(index, r->id, store_state_name(state));
	if (rc < 0 && rc != -ENOENT)
		log_warning("release", "what", "the index could not be told", "id", r->id, "error", strerror(-rc), NULL);
	store_index_close(index);
}

/* What came of it, and how it stands now. */
static enum store_state report(struct command_release *x, const struct release *r)
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
	return state;
}

static void report_error(struct command_release *x, const char *id, const char *why, int rc)
{
	raise_status(x, rc == -EWOULDBLOCK ? RELEASE_EXIT_LATER : rc == -ENOENT ? RELEASE_EXIT_MISSING : RELEASE_EXIT_WRONG);
	fail(id, why);
	json_array_append_new(x->report, json_pack("{s:s, s:o}", "id", id, "error", record_string(why, strlen(why))));
}

/* --- the work --- */

static bool wants_client(const struct site *s)
{
	bool any = false;

	for (size_t i = 0; i < s->backend_count; i++)
		any |= s->backend[i].xclient;
	return any;
}

/* Only what must wait is done in a task: SQLite and JSON have the great stack. */
static void release_task(void *arg)
{
	struct command_release *x = arg;

	if (wants_client(x->q.site))
		release_confirm(x->current, dns_unbound_dns(x->unbound));
	release_run(x->current, x->group, x->domains, x->outbound);
	loop_stop();
}

static void goodbye_task(void *arg)
{
	struct command_release *x = arg;

	for (int left = GOODBYE_MS; left > 0 && backend_group_sessions(x->group) + backend_domains_sessions(x->domains) > 0; left -= 10)
		task_sleep(10);
	loop_stop();
}

static int in_task(struct command_release *x, const char *name, task_fn *fn)
{
	int rc = task_spawn(name, fn, x, NULL);

	if (rc == 0)
		loop_run();
	return rc;
}

static int mark(struct state *state, void *arg)
{
	const char *const *content = arg;
	struct state_op op;

	released_mark_op(&op, *content);
	return state_run(state, &op, 1);
}

/*
 * A message that somebody fetched: first the state, so that neither the original nor the copy is held again. false: it could not be told, and nothing
 * more is done.
 */
static bool mark_fetched(struct command_release *x, const struct release *r)
{
	AUTO(buf) struct buf why = BUF_INIT(2000), text = BUF_INIT(2100);
	const char *content = release_fetched(r);

	if (!content || state_reach(x->q.site, mark, &content, &why) == 0)
		return true;
	buf_addf(&text, "that it is released cannot be remembered: %s", buf_str(&why));
	report_error(x, r->id, buf_str(&text), -EWOULDBLOCK);
	return false;
}

static int recall(struct state *state, void *arg)
{
	return release_recall(arg, state);
}

/* Who has the mailboxes the gateway has learnt. Where it cannot be asked, or says nothing, the servers are asked in their order. */
static void recall_owners(struct command_release *x, struct release *r)
{
	AUTO(buf) struct buf why = BUF_INIT(2000);

	if (release_wants_owners(r) && state_reach(x->q.site, recall, r, &why) < 0)
		log_warning("release", "what", "which server has a mailbox is not known, they are asked in their order", "id", r->id, "why", buf_str(&why), NULL);
}

/* true: it is released, to everybody. */
static bool release_one(struct command_release *x, const char *id)
{
	AUTO(buf) struct buf why = BUF_INIT(2000);
	AUTO(release) struct release *r = NULL;
	int rc = release_load(store_view_dir(x->q.view), id, x->q.site, &r, &why);

	if (rc == 0)
		rc = x->to_count ? release_instead(r, x->to, x->to_count, x->again, &why) :
				   release_choose(r, x->rcpt, x->rcpt_count, x->again, &why);
	if (rc == 0 && x->dry_run) {
		puts(id);
		return false;
	}
	if (rc == 0 && !mark_fetched(x, r))
		return false;
	if (rc == 0) {
		recall_owners(x, r);
		r->who = admin_who();
		x->current = r;
		rc = release_count(r, RELEASE_PENDING) ? in_task(x, "release", release_task) : 0;
		buf_adds(&why, rc < 0 ? strerror(-rc) : "");
	}
	if (rc < 0) {
		report_error(x, id, buf_str(&why), rc);
		return false;
	}
	return report(x, r) == STORE_STATE_RELEASED;
}

/* Its lock has been given back: deleting takes it by itself. */
static void delete_one(struct command_release *x, const char *id)
{
	json_t *last = json_array_get(x->report, json_array_size(x->report) - 1);
	int status = quarantine_remove(&x->q, id, "released");

	raise_status(x, status);
	json_object_set_new(last, "deleted", json_boolean(status == QUARANTINE_DONE));
}

static int prepare(struct command_release *x)
{
	AUTO(buf) struct buf errors = BUF_INIT(ERRORS_MAX);

	if (loop_init() < 0)
		return fail("event loop", "cannot start");
	x->looping = true;
	x->unbound = dns_unbound_new(&x->q.site->dns, &errors);
	if (!x->unbound || backend_group_new(x->q.site, NULL, dns_unbound_dns(x->unbound), &x->group, &errors) < 0 ||
	    backend_domains_new(x->q.site, dns_unbound_dns(x->unbound), &x->group, 1, &x->domains, &errors) < 0 ||
	    outbound_new(x->q.site, dns_unbound_dns(x->unbound), NULL, &x->outbound, &errors) < 0)
		return fail("set-up", buf_str(&errors));
	return 0;
}

static void run(struct command_release *x)
{
	if (quarantine_open(&x->q, "release", x->conf) < 0) {
		x->status = RELEASE_EXIT_WRONG;
		return;
	}
	x->status = collect(x);
	if (prepare(x) != 0) {
		x->status = RELEASE_EXIT_WRONG;
		return;
	}
	for (size_t i = 0; i < x->id_count; i++)
		if (release_one(x, x->id[i]) && x->delete)
			delete_one(x, x->id[i]);
	if (x->id_count)
		(void)in_task(x, "goodbye", goodbye_task);
	if (x->json) {
		json_dumpf(x->report, stdout, JSON_INDENT(2));
		putchar('\n');
	}
	if (fflush(stdout) != 0)
		raise_status(x, RELEASE_EXIT_WRONG);
}

static void clean_up(struct command_release *x)
{
	backend_domains_free(x->domains);
	backend_group_free(x->group);
	outbound_free(x->outbound);
	if (x->looping)
		loop_unwind();
	dns_unbound_free(x->unbound);
	if (x->looping)
		loop_release();
	quarantine_close(&x->q);
	store_filter_release(&x->filter);
	json_decref(x->report);
	free(x->id);
	free(x->rcpt);
	free(x->to);
}

int quarantine_release(int argc, char **argv)
{
	struct command_release x = { .conf = GATEPOST_CONFIG, .report = json_array() };
	int status;

	fact_register_all();
	store_filter_init(&x.filter);
	x.rcpt = calloc(ADDRESS_MAX, sizeof(*x.rcpt));
	x.to = calloc(ADDRESS_MAX, sizeof(*x.to));
	if (!x.rcpt || !x.to || !x.report) {
		status = fail("start", "out of memory");
	} else if (parse_options(&x, argc, argv, &status) == 0) {
		run(&x);
		status = x.status;
	}
	clean_up(&x);
	return status;
}
