#include "command/cmd_explain.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/dns_unbound.h"
#include "base/json_whole.h"
#include "base/log.h"
#include "base/task.h"
#include "command/cmd_history.h"
#include "command/terminal.h"
#include "daemon/daemon_pool.h"
#include "filters/boundary.h"
#include "filters/dnsbl_health.h"
#include "filters/envelope.h"
#include "filters/filter.h"
#include "policy/conf.h"
#include "policy/judge.h"
#include "policy/policy.h"
#include "policy/record.h"
#include "policy/regdomain.h"
#include "retrieval/retrieval.h"
#include "smtp/smtp_address.h"

enum { RCPT_MAX = 20, ERRORS_MAX = 64 * 1024, VALUE_BYTES = 1024 * 1024, VALUE_SHOWN = 1000 };

static const char usage[] =
	"usage: gatepost explain [-c FILE] [--json] CODE\n"
	"       gatepost explain -c FILE --client IP --helo NAME --from ADDRESS --to ADDRESS [--to ...]\n"
	"                        [--user NAME] [--listener NAME] [--json] MESSAGE\n"
	"       gatepost explain -c FILE --fetched --to ADDRESS [--client IP] [--listener NAME] [--json] MESSAGE\n"
	"\n"
	"Print what the filters find in a message, the truth of each rule, and the verdict. MESSAGE is a file\n"
	"(- for standard input); line ends are made CRLF. --from '<>' is the null sender.\n"
	"Greylisting is reported, not asked: nothing is remembered.\n"
	"With a CODE, the one in parentheses at the end of a reply: what was found and decided then.\n"
	"\n"
	"  -c, --config FILE   configuration (/etc/gatepost/gatepost.conf)\n"
	"      --client IP     address that the message came from\n"
	"      --helo NAME     what the client said in EHLO\n"
	"      --from ADDRESS  envelope sender\n"
	"      --to ADDRESS    envelope recipient\n"
	"      --user NAME     a user who has logged in (AUTH)\n"
	"      --listener NAME where the client has connected to\n"
	"      --fetched       ADDRESS fetches it from his mailbox (direction = retrieval)\n"
	"      --json          for programs\n"
	"  -h, --help          this text\n";

struct explain {
	const char *conf, *ip, *helo, *from, *path, *user, *listener;
	const char *to[RCPT_MAX];
	char code[32];                  /* instead of all that */
	size_t to_count;
	bool json, fetched;

	struct site *site;
	struct dns_unbound *unbound;
	struct daemon_pool *daemons;
	struct client client, origin;   /* origin: of a message that a trusted relay has brought */
	struct txn txn;
	struct judge judge[RCPT_MAX];
	int status;
};

static int fail(const char *what, const char *detail)
{
	fprintf(stderr, "gatepost explain: %s: %s\n", what, detail);
	return 1;
}

static int parse_options(struct explain *x, int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' }, { "client", required_argument, NULL, 'C' },
		{ "helo", required_argument, NULL, 'H' }, { "from", required_argument, NULL, 'F' },
		{ "to", required_argument, NULL, 'T' }, { "json", no_argument, NULL, 'j' },
		{ "user", required_argument, NULL, 'U' }, { "listener", required_argument, NULL, 'L' },
		{ "fetched", no_argument, NULL, 'R' },
		{ "help", no_argument, NULL, 'h' }, { 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		switch (c) {
		case 'c': x->conf = optarg; break;
		case 'C': x->ip = optarg; break;
		case 'H': x->helo = optarg; break;
		case 'F': x->from = optarg; break;
		case 'T':
			if (x->to_count == RCPT_MAX)
				return fail("--to", "at most 20 recipients");
			x->to[x->to_count++] = optarg;
			break;
		case 'U': x->user = optarg; break;
		case 'L': x->listener = optarg; break;
		case 'R': x->fetched = true; break;
		case 'j': x->json = true; break;
		case 'h': fputs(usage, stdout); exit(0);
		default: fputs(usage, stderr); return 1;
		}
	}
	if (optind + 1 == argc && !x->ip && !x->helo && !x->from && !x->to_count && history_code(argv[optind], x->code, sizeof(x->code)))
		return 0;
	if (x->fetched ? x->helo || x->from || x->user : !x->ip || !x->helo || !x->from)
		x->to_count = 0;
	if (optind + 1 != argc || !x->to_count) {
		fputs(usage, stderr);
		return 1;
	}
	x->path = argv[optind];
	return 0;
}

/* Who the client is to us. */
static int fill_login(struct explain *x)
{
	for (size_t i = 0; x->listener && i < x->site->listener_count; i++)
		if (strcmp(x->site->listener[i].name, x->listener) == 0)
			x->client.listener = x->site->listener[i].name;
	if (x->listener && !x->client.listener)
		return fail(x->listener, "there is no listener of that name");
	if (x->fetched)
		x->client.fetches = x->client.relay = true;
	if (!x->user)
		return 0;
	x->client.relay = true;
	x->client.auth_user = strdup(x->user);
	x->client.auth_mechanism = strdup("PLAIN");
	return x->client.auth_user && x->client.auth_mechanism ? 0 : fail("user", "out of memory");
}

/* The envelope, through the same parser that sessions use. */
static int fill_envelope(struct explain *x)
{
	struct envelope *env = &x->txn.env;
	struct smtp_mailbox m;
	const char *from = x->fetched || strcmp(x->from, "<>") == 0 ? "" : x->from;

	memset(&m, 0, sizeof(m));
	if (*from && smtp_mailbox_parse(from, strlen(from), MAILBOX_UTF8 | MAILBOX_LONG_LOCAL, &m) != ADDRESS_OK)
		return fail(x->from, "not an address, expected local@domain or <>");
	env->from = strdup(m.text);
	env->from_domain = strdup(m.domain);
	env->params = strdup("");
	env->rcpt = calloc(x->to_count, sizeof(*env->rcpt));
	if (!env->rcpt)
		return fail("envelope", "out of memory");
	for (size_t i = 0; i < x->to_count; i++) {
		struct recipient *r = &env->rcpt[i];

		if (smtp_mailbox_parse(x->to[i], strlen(x->to[i]), MAILBOX_UTF8, &m) != ADDRESS_OK)
			return fail(x->to[i], "not an address, expected local@domain");
		r->address = strdup(m.text);
		r->params = strdup("");
		r->domain = strdup(m.domain);
		r->local = site_accepts(x->site, m.domain);
		r->direction = x->fetched ? "retrieval" : recipient_direction(&x->client, r->local);
		env->rcpt_count++;
	}
	return env->from && env->from_domain && env->params ? 0 : fail("envelope", "out of memory");
}

static int memory_file(void *arg)
{
	int fd = memfd_create("message", MFD_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* Line ends become CRLF, as any client makes them. */
static int add_line(struct message *m, const char *line, size_t len)
{
	size_t n = len;
	int rc;

	while (n && (line[n - 1] == '\n' || line[n - 1] == '\r'))
		n--;
	rc = message_add(m, line, n);
	return rc < 0 ? rc : message_add(m, "\r\n", 2);
}

static int read_message(struct explain *x)
{
	FILE *f = strcmp(x->path, "-") == 0 ? stdin : fopen(x->path, "re");
	char *line = NULL;
	size_t size = 0;
	ssize_t n;
	int rc = 0;

	if (!f)
		return fail(x->path, strerror(errno));
	x->txn.message = message_new(&x->site->limits.message, memory_file, NULL);
	while (x->txn.message && rc == 0 && (n = getline(&line, &size, f)) > 0)
		rc = add_line(x->txn.message, line, (size_t)n);
	free(line);
	if (f != stdin)
		fclose(f);
	if (!x->txn.message)
		return fail(x->path, "out of memory");
	if (rc == 0)
		rc = message_end(x->txn.message);
	return rc < 0 ? fail(x->path, strerror(-rc)) : 0;
}

/* Every filter is asked, whether or not a rule needs it. may wait */
static void establish_all(struct explain *x)
{
	size_t off = message_body_offset(x->txn.message), n;
	const char *p;

	boundary_settle(&x->txn);
	for (int stage = STAGE_CONNECT; stage <= STAGE_HEADER; stage++) {
		x->txn.stage = (enum stage)stage;
		filters_start(&x->txn, (enum stage)stage, UINT32_MAX);
	}
	while (message_read(x->txn.message, off, &p, &n) == 0 && n) {
		filters_body(&x->txn, UINT32_MAX, p, n);
		off += n;
	}
	x->txn.stage = STAGE_DATA;
	for (int id = 0; id < fact_count(); id++)
		filters_fact(&x->txn, id);
}

/* What comes from the message or the DNS must do nothing to a terminal, and stays on its line. */
static void safe(const char *text, size_t len, size_t shown)
{
	AUTO(buf) struct buf out = BUF_INIT(VALUE_BYTES);

	terminal_text(text, len, shown, &out);
	fwrite(buf_str(&out), 1, out.len, stdout);
}

static void print_facts(const struct facts *f)
{
	for (size_t i = 0; i < f->count; i++) {
		AUTO(buf) struct buf text = BUF_INIT(VALUE_BYTES);

		record_fact_text(&f->v[i], &text);
		printf("  %-24s ", fact_def(f->v[i].id)->name);
		safe(text.len ? text.data : "-", text.len ? text.len : 1, VALUE_SHOWN);
		if (f->v[i].why) {
			fputs("   (", stdout);
			safe(f->v[i].why, strlen(f->v[i].why), VALUE_SHOWN);
			putchar(')');
		}
		putchar('\n');
	}
}

static const struct fact *get_fact(void *arg, int id, bool *final)
{
	*final = true;
	return judge_fact(arg, id);
}

static const char *truth_name(enum truth t)
{
	static const char *const names[] = { "false", "true", "unknown", "temporary" };

	return names[t];
}

/* may wait */
static void print_rules(struct explain *x, struct judge *j)
{
	struct policy_facts facts = { .get = get_fact, .arg = j };

	for (size_t i = 0; i < policy_rule_count(x->site->policy); i++) {
		const struct rule *r = policy_rule(x->site->policy, i);
		AUTO(buf) struct buf why = BUF_INIT(1024);
		enum truth t = policy_truth(x->site->policy, r, &facts, &why);

		printf("%s %4d  %-9s  %s", r == j->verdict.rule ? ">" : " ", r->line, truth_name(t), r->text);
		if (why.len) {
			fputs("   (", stdout);
			safe(why.data, why.len, VALUE_SHOWN);
			putchar(')');
		}
		putchar('\n');
	}
}

/* Where a recipient's domain has servers of its own. */
static void print_servers(const struct explain *x, const struct recipient *r)
{
	const struct domain_conf *d = r->local ? site_domain(x->site, r->domain) : NULL;

	if (!d)
		return;
	printf("  %-24s ", "servers");
	for (size_t i = 0; i < d->owner_count; i++)
		printf("%s%s", i ? ", or " : "", d->owner[i].name);
	printf("%s (section domain %s)\n", d->owner_count > 1 ? ": asked in this order who has the mailbox" : "", d->domain);
}

static json_t *servers_json(const struct explain *x, const struct recipient *r)
{
	const struct domain_conf *d = r->local ? site_domain(x->site, r->domain) : NULL;
	json_t *list = d ? json_array() : NULL;

	for (size_t i = 0; d && i < d->owner_count; i++)
		json_array_append_new(list, json_string(d->owner[i].name));
	return list ? list : json_null();
}

static void print_judge(struct explain *x, struct judge *j)
{
	const struct verdict *v = &j->verdict;

	printf("\nrecipient %s\n", j->rcpt->address);
	if (!j->rcpt->local && !x->client.relay)
		printf("  outside the accepted domains: 550 5.7.1 relaying denied, whatever the rules say\n");
	print_servers(x, j->rcpt);
	print_facts(&j->facts);
	print_rules(x, j);
	printf("verdict: %s%s%s%s%s\n", action_name(v->action), v->rule ? ", by " : ", at the end of the policy",
	       v->rule ? v->rule->name : "", v->reply[0] ? ": " : "", v->reply);
}

static void print_json(struct explain *x)
{
	json_t *all = json_array();
	char *text;

	for (size_t i = 0; i < x->to_count; i++) {
		struct policy_facts facts = { .get = get_fact, .arg = &x->judge[i] };
		const struct recipient *rcpt = x->judge[i].rcpt;
		json_t *record = record_make(&x->txn, &rcpt, 1, &x->judge[i]), *rules = json_array();

		for (size_t k = 0; k < policy_rule_count(x->site->policy); k++) {
			const struct rule *r = policy_rule(x->site->policy, k);
			json_t *rule = json_pack("{s:i, s:o, s:s}", "line", r->line, "text", record_string(r->text, strlen(r->text)), "truth",
						 truth_name(policy_truth(x->site->policy, r, &facts, NULL)));

			json_array_append_new(rules, rule);
		}
		json_object_set_new(record, "rules", rules);
		json_object_set_new(record, "servers", servers_json(x, rcpt));
		json_array_append_new(all, record);
	}
	text = json_whole(all, JSON_INDENT(2));
	puts(text ? text : "null");
	free(text);
	json_decref(all);
}

static void explain_task(void *arg)
{
	struct explain *x = arg;

	dnsbl_health_test(x->site, x->txn.dns, NULL);   /* a zone that the workers have benched would be here, too */
	establish_all(x);
	for (size_t i = 0; i < x->to_count; i++) {
		if (judge_init(&x->judge[i], &x->txn, &x->txn.env.rcpt[i]) < 0)
			x->status = fail("policy", "out of memory");
		judge_step(&x->judge[i], JUDGE_FINAL);
	}
	if (x->json) {
		print_json(x);
	} else {
		printf("facts\n");
		print_facts(&x->txn.client->evidence.facts);
		print_facts(&x->txn.evidence.facts);
		for (size_t i = 0; i < x->to_count; i++)
			print_judge(x, &x->judge[i]);
	}
	for (size_t i = 0; i < x->to_count; i++)
		judge_release(&x->judge[i]);
	txn_release(&x->txn);
	client_release(&x->origin);
	client_release(&x->client);
	loop_stop();
}

static int prepare(struct explain *x)
{
	AUTO(buf) struct buf errors = BUF_INIT(ERRORS_MAX), warnings = BUF_INIT(ERRORS_MAX);

	x->site = site_load(x->conf, &errors, &warnings);
	if (!x->site) {
		fputs(buf_str(&errors), stderr);
		return 1;
	}
	if (!x->ip)
		x->ip = "127.0.0.1";
	if (net_parse(x->ip, &x->client.addr) < 0)
		return fail(x->ip, "not an address, expected IPv4 or IPv6");
	net_text(&x->client.addr, x->client.ip);
	x->client.relay = site_in_networks(x->site->relay_networks, x->site->relay_network_count, &x->client.addr);
	if (fill_login(x) != 0)
		return 1;
	x->client.helo = x->helo ? strdup(x->helo) : NULL;
	x->client.esmtp = true;
	if (loop_init() < 0)
		return fail("event loop", "cannot start");
	x->unbound = dns_unbound_new(&x->site->dns, &errors);
	if (!x->unbound || filters_setup(x->site, &errors) < 0)
		return fail("set-up", buf_str(&errors));
	x->daemons = daemon_pool_new(x->site, dns_unbound_dns(x->unbound), NULL);
	if (!x->client.relay && site_in_networks(x->site->trusted_relays, x->site->trusted_relay_count, &x->client.addr))
		boundary_begin(&x->origin, &x->client);
	txn_init(&x->txn, x->site, dns_unbound_dns(x->unbound), x->origin.via ? &x->origin : &x->client);
	x->txn.daemons = daemon_pool_daemons(x->daemons);
	snprintf(x->txn.id, sizeof(x->txn.id), "explain");
	if (fill_envelope(x) || read_message(x) || (x->fetched && retrieval_sender(&x->txn) < 0))
		return 1;
	return task_spawn("explain", explain_task, x, NULL) < 0 ? fail("task", "out of memory") : 0;
}

int cmd_explain(int argc, char **argv)
{
	struct explain *x = calloc(1, sizeof(*x));
	int status;

	if (!x)
		return fail("start", "out of memory");
	x->conf = GATEPOST_CONFIG;
	status = parse_options(x, argc, argv);
	if (status == 0 && x->code[0]) {
		status = history_explain(x->conf, x->code, x->json);
	} else if (status == 0) {
		log_open("gatepost explain", LOG_LEVEL_WARNING);
		(void)regdomain_init(NULL);
		fact_register_all();
		status = prepare(x);
		if (status == 0) {
			loop_run();
			loop_unwind();          /* connections to daemons that are kept */
			status = x->status;
		}
		daemon_pool_free(x->daemons);
		dns_unbound_free(x->unbound);
		site_free(x->site);
	}
	free(x);
	return status;
}
