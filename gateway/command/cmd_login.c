/*
 * gatepost login: what the login guard has counted, and an end to it
 */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "command/admin.h"
#include "command/command.h"
#include "command/state_reach.h"
#include "command/terminal.h"
#include "command/when.h"
#include "policy/conf.h"
#include "policy/login_view.h"

#define OPTIONS "      --json         for programs\n" \
		"  -c, --config FILE  configuration (" GATEPOST_CONFIG ")\n" \
		"\n" \
		"NETWORK is a /64, /56 or /48 of IPv6. A USER may be written in any form that he logs in with.\n"

static const char show_usage[] = "usage: gatepost login show [-c FILE] [--json] USER | ADDRESS | NETWORK\n"
				 "       gatepost login show [-c FILE] [--json] USER ADDRESS\n"
				 "\n"
				 "How many failed logins count against it now, and until when it is locked; with both,\n"
				 "whether that user is known at that address, and what an attempt would meet.\n"
				 "\n" OPTIONS;

static const char unlock_usage[] = "usage: gatepost login unlock [-c FILE] [--json] USER | ADDRESS | NETWORK\n"
				   "       gatepost login unlock [-c FILE] [--json] USER ADDRESS\n"
				   "\n"
				   "Failed logins count no more: of that account, from wherever; from that network, and those\n"
				   "around it, at whatever account; with both, what that user has failed from that address.\n"
				   "\n" OPTIONS;

struct login_command {
	const char *name, *usage, *path;
	bool json, unlock;
	struct login_guard guard;
	struct login_view before, now;
	struct login_guard_query attempt;       /* what it would meet now */
	enum login_answer answer;
	bool asked;
};

/* -1: go on; else the exit status. */
static int read_options(int argc, char **argv, struct login_command *x)
{
	static const struct option table[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ "json", no_argument, NULL, 'J' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	x->path = GATEPOST_CONFIG;
	optind = 1;
	while ((c = getopt_long(argc, argv, "c:h", table, NULL)) != -1) {
		if (c == 'c') {
			x->path = optarg;
		} else if (c == 'J') {
			x->json = true;
		} else {
			fputs(x->usage, c == 'h' ? stdout : stderr);
			return c == 'h' ? 0 : 1;
		}
	}
	if (argc - optind >= 1 && argc - optind <= 2 && *argv[optind])
		return -1;
	fprintf(stderr, "gatepost login %s: a user, an address, or both were expected\n%s", x->name, x->usage);
	return 1;
}

/* 0 or -EINVAL, said. */
static int read_names(struct login_command *x, const struct site *s, const char *first, const char *address)
{
	struct login_view *v = &x->before;
	int rc = login_view_client(v, address ? address : first);

	if (rc == -ERANGE || (address && rc == 0 && v->nearest > 0)) {
		fprintf(stderr, address ? "gatepost login: %s: an address was expected\n"
					: "gatepost login: %s: counted are single addresses of IPv4, and /64, /56 and /48 of IPv6\n", address ? address : first);
		return -EINVAL;
	}
	if (rc < 0 && address) {
		fprintf(stderr, "gatepost login: %s is no IP address\n", address);
		return -EINVAL;
	}
	if (rc < 0)
		v->client.family = 0;
	if (address || rc < 0)
		login_account(first, login_account_domain(s), v->account);
	return 0;
}

static int work(struct state *state, void *arg)
{
	struct login_command *x = arg;
	int rc;

	x->guard.state = state;
	rc = login_view_read(&x->guard, &x->before);
	if (rc == 0 && x->unlock)
		rc = login_view_clear(&x->guard, &x->before);
	x->now = x->before;
	if (rc == 0 && x->unlock)
		rc = login_view_read(&x->guard, &x->now);
	/* What /64 in a wider network an attempt would come from, nobody has said. */
	x->asked = x->now.client.family != 0 && x->now.nearest == 0;
	x->attempt = (struct login_guard_query){ .client = &x->now.client, .account = x->now.account };
	if (rc == 0 && x->asked)
		x->answer = login_guard_ask(&x->guard, &x->attempt);
	return rc;
}

/* --- for people --- */

/* As he would write it: a single address has no length behind it. */
static const char *network_name(const struct login_view *v, int i, char out[NET_TEXT_MAX])
{
	char *slash = strrchr(login_key_network(&v->client, i, out), '/');

	if (v->networks == 1 && slash)
		*slash = '\0';
	return out;
}

static const char *failures(int64_t n, char out[40])
{
	snprintf(out, 40, n == 0 ? "no failures" : n == 1 ? "1 failure" : "%lld failures", (long long)n);
	return out;
}

static void count_text(const struct login_view_count *c, struct buf *out)
{
	char number[40], first[WHEN_TEXT_MAX], last[WHEN_TEXT_MAX], until[WHEN_TEXT_MAX];

	buf_adds(out, failures(c->failures, number));
	if (c->failures > 1)
		buf_addf(out, " since %s, the last", when_text(c->first_s, first));
	if (c->failures > 0)
		buf_addf(out, " at %s; %s %s", when_text(c->last_s, last),
			 c->state == LOGIN_VIEW_LOCKED ? "LOCKED until" : c->state == LOGIN_VIEW_SLOWED ? "slowed until" : "forgotten at",
			 when_text(c->until_s, until));
	buf_addc(out, '\n');
}

static void name_text(const char *what, const char *name, struct buf *out)
{
	buf_adds(out, what);
	terminal_text(name, strlen(name), 0, out);
}

static void pair_name(const struct login_view *v, struct buf *out)
{
	char network[NET_TEXT_MAX];

	name_text("", v->account, out);
	buf_addf(out, " from %s: ", network_name(v, 0, network));
}

static void show_pair(const struct login_view *v, struct buf *out)
{
	char first[WHEN_TEXT_MAX], last[WHEN_TEXT_MAX], number[40];

	pair_name(v, out);
	if (!v->known) {
		buf_addf(out, "not known there; %s%s\n", failures(v->pair.failures, number), v->pair.failures > 0 ? " of those above" : "");
		return;
	}
	buf_addf(out, "known there, and never locked: first login %s, last %s\n", when_text(v->known_first_s, first), when_text(v->known_last_s, last));
	pair_name(v, out);
	count_text(&v->pair, out);
}

static void show_attempt(const struct login_command *x, struct buf *out)
{
	buf_adds(out, x->now.account[0] ? "an attempt now: " : "an attempt now of who is not known there: ");
	if (x->answer == LOGIN_REFUSED)
		buf_addf(out, "refused, the %s is locked\n", x->attempt.lock == LOGIN_LOCK_NETWORK ? "network" : "account");
	else if (x->answer == LOGIN_SLOW)
		buf_addf(out, "waits %.1f s\n", x->attempt.delay_ms / 1000.0);
	else
		buf_adds(out, "free\n");
}

static void show_view(const struct login_command *x, struct buf *out)
{
	const struct login_view *v = &x->now;
	char network[NET_TEXT_MAX];

	for (int i = v->nearest; i < v->networks; i++) {
		buf_addf(out, "network %s: ", network_name(v, i, network));
		count_text(&v->network[i], out);
	}
	if (v->exempt)
		buf_adds(out, "the network is exempt: nothing counts there\n");
	if (v->account[0]) {
		name_text("account ", v->account, out);
		buf_adds(out, ": ");
		count_text(&v->of_account, out);
	}
	if (v->exempt_user)
		buf_adds(out, "the account is exempt: it is not counted, the networks are\n");
	if (v->account[0] && x->asked)
		show_pair(v, out);
	if (x->asked)
		show_attempt(x, out);
}

static void show_unlocked(const struct login_command *x, struct buf *out)
{
	const struct login_view *v = &x->before;
	char network[NET_TEXT_MAX], number[40];

	if (v->account[0] && x->asked) {
		pair_name(v, out);
		buf_addf(out, "%s forgotten\n", failures(v->pair.failures, number));
		if (x->answer != LOGIN_FREE)
			show_view(x, out);      /* by others' failures, which have not been named */
		return;
	}
	for (int i = v->nearest; i < v->networks; i++)
		buf_addf(out, "network %s: %s forgotten\n", network_name(v, i, network), failures(v->network[i].failures, number));
	if (!v->account[0])
		return;
	name_text("account ", v->account, out);
	buf_addf(out, ": %s forgotten\n", failures(v->of_account.failures, number));
}

/* --- for programs --- */

static json_t *count_json(const struct login_view_count *c)
{
	static const char *const states[] = { "free", "slowed", "locked" };

	if (c->failures == 0)
		return json_pack("{s:i, s:s}", "failures", 0, "state", states[LOGIN_VIEW_FREE]);
	return json_pack("{s:I, s:s, s:I, s:I, s:I}", "failures", (json_int_t)c->failures, "state", states[c->state], "first", (json_int_t)c->first_s, "last",
			 (json_int_t)c->last_s, "until", (json_int_t)c->until_s);
}

static json_t *view_json(const struct login_view *v)
{
	json_t *all = json_object(), *list = json_array();
	char network[NET_TEXT_MAX];

	for (int i = v->nearest; i < v->networks; i++) {
		json_t *one = count_json(&v->network[i]);

		json_object_set_new(one, "network", json_string(network_name(v, i, network)));
		json_array_append_new(list, one);
	}
	json_object_set_new(all, "networks", list);
	json_object_set_new(all, "exempt", json_boolean(v->exempt));
	if (v->account[0]) {
		json_t *one = count_json(&v->of_account);

		json_object_set_new(one, "name", json_string(v->account));
		json_object_set_new(one, "exempt", json_boolean(v->exempt_user));
		json_object_set_new(all, "account", one);
	}
	if (v->account[0] && v->networks > 0) {
		json_t *one = count_json(&v->pair);

		json_object_set_new(one, "known", json_boolean(v->known));
		if (v->known) {
			json_object_set_new(one, "first_login", json_integer(v->known_first_s));
			json_object_set_new(one, "last_login", json_integer(v->known_last_s));
		}
		json_object_set_new(all, "pair", one);
	}
	return all;
}

static void print_json(const struct login_command *x)
{
	static const char *const answers[] = { "free", "slowed", "refused" }, *const locks[] = { NULL, "network", "account" };
	json_t *all = view_json(&x->now);

	if (x->unlock)
		json_object_set_new(all, "before", view_json(&x->before));
	if (x->asked)
		json_object_set_new(all, "attempt", json_pack("{s:s, s:i, s:s?}", "answer", answers[x->answer], "delay_ms", x->attempt.delay_ms, "locked",
							      locks[x->attempt.lock]));
	json_dumpf(all, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII);
	putchar('\n');
	json_decref(all);
}

static int command(struct login_command *x, int argc, char **argv)
{
	AUTO(buf) struct buf text = BUF_INIT(64 * 1024), why = BUF_INIT(64 * 1024);
	struct site *s = NULL;
	int rc, status = read_options(argc, argv, x);

	if (status >= 0)
		return status;
	rc = admin_open(x->path, &s, &why);
	fputs(buf_str(&why), stderr);
	if (rc < 0)
		return 1;
	x->guard.conf = &s->auth.guard;
	x->guard.domain = login_account_domain(s);
	rc = read_names(x, s, argv[optind], argc - optind == 2 ? argv[optind + 1] : NULL);
	if (rc == 0) {
		buf_clear(&why);
		rc = state_reach(s, work, x, &why);
		if (rc < 0)
			fprintf(stderr, "gatepost login %s: %s\n", x->name, buf_str(&why));
	}
	if (rc == 0 && x->json)
		print_json(x);
	else if (rc == 0)
		(x->unlock ? show_unlocked : show_view)(x, &text);
	fputs(buf_str(&text), stdout);
	site_free(s);
	return rc < 0 || fflush(stdout) != 0;
}

static int show(int argc, char **argv)
{
	struct login_command x = { .name = "show", .usage = show_usage };

	return command(&x, argc, argv);
}

static int unlock(int argc, char **argv)
{
	struct login_command x = { .name = "unlock", .usage = unlock_usage, .unlock = true };

	return command(&x, argc, argv);
}

static const struct subcommand subcommands[] = {
	{ "show", show, "how many failed logins count of a user or an address, and until when it is locked" },
	{ "unlock", unlock, "failed logins of a user or an address count no more" },
	{ NULL, NULL, NULL },
};

int cmd_login(int argc, char **argv)
{
	return command_run("login", subcommands, "", argc, argv);
}
