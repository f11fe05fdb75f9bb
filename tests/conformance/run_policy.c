/*
 * run_policy - the shipped conf/policy.conf against mail: good mail of which none may be refused or
 * held, bad mail that must be caught
 *
 * Each case of policy_cases.txt goes through all filters, the policy and the greylist (its SQLite in
 * memory), as a session would ask them; DNS is a table. The file is lines of "key value":
 *
 *     zone                     records follow, each "  name TYPE data"; before the first case: for
 *                              all, inside a case: for it alone
 *     case NAME
 *     want accept              delivered at the first attempt
 *     want greylist accept     deferred by the greylist, delivered when it comes again
 *     want greylist            deferred by the greylist (and never seen again, as is usual)
 *     want defer accept        deferred for a fact that cannot be established, delivered some hours
 *                              later though it still cannot
 *     want reject, quarantine
 *     rule LABEL               that decides
 *     client, helo, from, to   of the session; from may be empty; several to
 *     made spf=pass ...        words that these facts must have, for messages judged at their end
 *     tls, early               encrypted; spoke before the banner
 *     message                  lines follow, each "| text", \xHH for other bytes than printable
 *                              ASCII
 */
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/net.h"
#include "filters/filter.h"
#include "policy/judge.h"
#include "policy/policy_files.h"
#include "policy/state_sqlite.h"
#include "support/dns_table.h"

#define CASES "tests/conformance/policy_cases.txt"
#define ALLOWED "tests/conformance/policy_allowed.txt"

enum { TO_MAX = 16, MESSAGE_MAX = 256 * 1024, GOOD_MIN = 40, BAD_MIN = 40, RETRY_S = 900, WAITED_S = 5 * 3600 };

struct mail {
	char *name, *want, *rule, *client, *helo, *from, *made;
	char *to[TO_MAX];
	size_t to_count;
	bool tls, early;
	struct buf zone, message;
};

/* The state's clock; by the judge's, the wall's, the first attempt was WAITED_S ago. */
static int64_t now;

static int64_t fake_now(void)
{
	return now;
}

/* --- the site --- */

static char *ours[] = { "site.example" };

static struct dnsbl_conf lists[] = {
	{ .zone = "bl.example", .weight = 5, .ipv4 = true, .ipv6 = true, .timeout_ms = 5000 },
	{ .zone = "few.example", .weight = 3, .ipv4 = true, .timeout_ms = 5000 },
	{ .zone = "some.example", .weight = 2, .ipv4 = true, .timeout_ms = 5000 },
	{ .zone = "one.example", .weight = 1, .ipv4 = true, .timeout_ms = 5000 },
	{ .zone = "wl.example", .weight = -4, .ipv4 = true, .timeout_ms = 5000 },
};

static struct site site = {
	.path = "run_policy",
	.hostname = "gate.site.example",
	.authserv_id = "gate.site.example",
	.domains = ours,
	.domain_count = 1,
	.dnsbl = lists,
	.dnsbl_count = sizeof(lists) / sizeof(*lists),
	.spf_engine = ENGINE_NATIVE,
	.dkim_engine = ENGINE_NATIVE,
	.dmarc_engine = ENGINE_NATIVE,
	.spf_timeout_ms = 20000,
	.dkim_max_signatures = 10,
	.greylist = { .delay_s = 300,
		      .window_s = 2 * 86400,
		      .life_s = 36 * 86400,
		      .auto_passes = 5,
		      .v4_bits = 24,
		      .v6_bits = 64 },
	.temperror_max_s = 4 * 3600,
	.limits.message = { .memory_bytes = 256 * 1024,
			    .header_bytes = 256 * 1024,
			    .header_fields = 2000 },
};

/* --- one session --- */

static char *copy(const char *s)
{
	char *c = strdup(s);

	assert(c);
	return c;
}

/* The part after the last @, in lower case. */
static char *domain_of(const char *address)
{
	const char *at = strrchr(address, '@');
	char *d = copy(at ? at + 1 : "");

	for (char *p = d; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	return d;
}

static void envelope(const struct mail *m, struct txn *t)
{
	t->env.from = copy(m->from);
	t->env.from_domain = domain_of(m->from);
	t->env.params = copy("");
	t->env.rcpt = calloc(m->to_count, sizeof(*t->env.rcpt));
	assert(t->env.rcpt && m->to_count);
	for (size_t i = 0; i < m->to_count; i++)
		t->env.rcpt[i] = (struct recipient){ .address = copy(m->to[i]),
						     .params = copy(""),
						     .domain = domain_of(m->to[i]),
						     .local = true, .direction = "inbound" };
	t->env.rcpt_count = m->to_count;
}

static void reach(struct txn *t, enum stage stage)
{
	t->stage = stage;
	filters_start(t, stage, judge_filters(&site));
}

static void receive(const struct mail *m, struct txn *t)
{
	size_t body = 0, off;
	int rc;

	t->message = message_new(&site.limits.message, NULL, NULL);
	assert(t->message);
	rc = message_add(t->message, m->message.data, m->message.len);
	if (rc == 0)
		rc = message_end(t->message);
	assert(rc == 0);
	reach(t, STAGE_HEADER);
	for (off = message_body_offset(t->message); off < m->message.len; off += body) {
		const char *p;

		rc = message_read(t->message, off, &p, &body);
		assert(rc == 0 && body);
		filters_body(t, judge_filters(&site), p, body);
	}
}

/* Whether the message is what its case says; " but spf=none" is added to text otherwise. */
static void check_made(const struct mail *m, struct judge *j, struct buf *text)
{
	char *words = copy(m->made), *save = NULL;

	for (char *word = strtok_r(words, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		char *eq = strchr(word, '=');
		const struct fact *f;

		assert(eq);
		*eq = '\0';
		f = judge_fact(j, fact_find(word, strlen(word)));
		if (!f || !f->count || strcmp(f->text[0], eq + 1) != 0)
			buf_addf(text, " but %s=%s", word, f && f->count ? f->text[0] : "unknown");
	}
	free(words);
}

/* One attempt. *stage: when it was decided. text: "reject by dmarc". */
static void attempt(const struct mail *m, struct dns *dns, struct state *state, struct buf *text,
		    enum stage *stage, struct buf *reply)
{
	struct client c = { .early_talker = m->early,
			    .esmtp = true,
			    .tls_version = m->tls ? "TLSv1.3" : NULL };
	struct judge j;
	struct txn t;
	int rc = net_parse(m->client, &c.addr);

	assert(rc == 0);
	net_text(&c.addr, c.ip);
	c.helo = copy(m->helo);
	txn_init(&t, &site, dns, &c);
	t.state = state;
	reach(&t, STAGE_CONNECT);
	reach(&t, STAGE_HELO);
	envelope(m, &t);
	reach(&t, STAGE_MAIL);
	reach(&t, STAGE_RCPT);
	rc = judge_init(&j, &t, &t.env.rcpt[0]);
	assert(rc == 0);
	judge_step(&j, JUDGE_BEFORE_GREYLIST);
	judge_step(&j, JUDGE_ALL);
	*stage = STAGE_RCPT;
	if (!j.verdict.certain || j.verdict.action == ACTION_ACCEPT ||
	    j.verdict.action == ACTION_QUARANTINE) {
		bool early = j.verdict.certain;

		receive(m, &t);
		judge_step(&j, JUDGE_ALL);
		*stage = early ? STAGE_RCPT : STAGE_HEADER;
		if (!j.verdict.certain)
			*stage = STAGE_DATA;
		t.stage = STAGE_DATA;
		judge_step(&j, JUDGE_FINAL);
	}
	assert(j.verdict.certain);
	buf_adds(text, j.verdict.greylisted ? "greylist" : action_name(j.verdict.action));
	if (j.verdict.temporary_fact != FACT_NONE)
		buf_addf(text, " for %s", fact_def(j.verdict.temporary_fact)->name);
	buf_addf(text, " by %s", j.verdict.rule ? j.verdict.rule->name : "nothing");
	if (m->made && t.message)
		check_made(m, &j, text);
	buf_adds(reply, j.verdict.reply);
	judge_release(&j);
	txn_release(&t);
	client_release(&c);
}

/* --- a case --- */

static int good, bad, wrong;

static bool begins(const char *text, const char *word)
{
	size_t n = strlen(word);

	return strncmp(text, word, n) == 0 && (text[n] == '\0' || text[n] == ' ');
}

static void run(const struct mail *m, const char *world)
{
	struct dns_table *dns = dns_table_new();
	AUTO(buf) struct buf first = BUF_INIT(1000), second = BUF_INIT(1000);
	AUTO(buf) struct buf reply = BUF_INIT(1000), want = BUF_INIT(1000);
	struct state_sqlite *db = NULL;
	struct state_local state;
	enum stage stage, again;
	bool ok;
	int rc = state_sqlite_open(":memory:", &db);

	assert(rc == 0);
	now = clock_wall_s() - WAITED_S;
	state_local_init(&state, db, fake_now);
	dns_table_zone(dns, world);
	if (m->zone.len)
		dns_table_zone(dns, m->zone.data);
	attempt(m, dns_table_dns(dns), &state.state, &first, &stage, &reply);
	if (begins(buf_str(&first), "greylist") || begins(buf_str(&first), "defer")) {
		now += begins(buf_str(&first), "greylist") ? RETRY_S : WAITED_S;
		attempt(m, dns_table_dns(dns), &state.state, &second, &again, &reply);
	}
	if (strcmp(m->want, "greylist accept") == 0)
		ok = begins(buf_str(&first), "greylist") && begins(buf_str(&second), "accept");
	else if (strcmp(m->want, "defer accept") == 0)
		ok = begins(buf_str(&first), "defer for") && begins(buf_str(&second), "accept");
	else
		ok = begins(buf_str(&first), m->want) && !strstr(buf_str(&first), " but ");
	if (m->rule) {
		buf_addf(&want, " by %s", m->rule);
		ok = ok && strstr(buf_str(&first), buf_str(&want)) &&
		     strlen(strstr(buf_str(&first), buf_str(&want))) == want.len;
	}
	if (strstr(m->want, "accept"))
		good++;
	else
		bad++;
	wrong += !ok;
	printf("%s  %-6s %-60s %s%s%s\n", ok ? "ok  " : "FAIL", stage_name(stage), m->name,
	       buf_str(&first), second.len ? ", then " : "", buf_str(&second));
	if (!ok)
		printf("      wanted %s%s, replied %s\n", m->want, buf_str(&want), buf_str(&reply));
	state_sqlite_close(db);
	dns_table_free(dns);
}

/* --- the file --- */

static void unescape(const char *text, struct buf *out)
{
	for (; *text; text++) {
		unsigned byte;

		if (sscanf(text, "\\x%2x", &byte) == 1) {
			buf_addc(out, (char)byte);
			text += 3;
		} else {
			buf_addc(out, *text);
		}
	}
	buf_adds(out, "\r\n");
}

static void set(char **out, const char *value)
{
	free(*out);
	*out = copy(value);
}

static void mail_clear(struct mail *m)
{
	char **all[] = { &m->name, &m->want, &m->rule, &m->client, &m->helo, &m->from, &m->made };

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		free(*all[i]);
	for (size_t i = 0; i < m->to_count; i++)
		free(m->to[i]);
	buf_release(&m->zone);
	buf_release(&m->message);
	*m = (struct mail){ .zone = BUF_INIT(MESSAGE_MAX), .message = BUF_INIT(MESSAGE_MAX) };
}

static void take_line(struct mail *m, struct buf *world, char *line)
{
	char *value = strchr(line, ' ');

	if (line[0] == '#' || line[0] == '\0' || strcmp(line, "zone") == 0 ||
	    strcmp(line, "message") == 0)
		return;
	if (strncmp(line, "  ", 2) == 0) {
		buf_addf(m->name ? &m->zone : world, "%s\n", line + 2);
		return;
	}
	if (value)
		*value++ = '\0';
	else
		value = line + strlen(line);
	if (strcmp(line, "|") == 0) {
		unescape(value, &m->message);
	} else if (strcmp(line, "case") == 0) {
		if (m->name)
			run(m, buf_str(world));
		mail_clear(m);
		set(&m->name, value);
	} else if (strcmp(line, "to") == 0) {
		assert(m->to_count < TO_MAX);
		m->to[m->to_count++] = copy(value);
	} else if (strcmp(line, "tls") == 0) {
		m->tls = true;
	} else if (strcmp(line, "early") == 0) {
		m->early = true;
	} else {
		static const char *const keys[] = {
			"want", "rule", "client", "helo", "from", "made"
		};
		char **fields[] = { &m->want, &m->rule, &m->client, &m->helo, &m->from, &m->made };
		size_t i = 0;

		while (i < 6 && strcmp(line, keys[i]) != 0)
			i++;
		if (i == 6) {
			fprintf(stderr, "run_policy: %s: unknown line \"%s\"\n", CASES, line);
			exit(1);
		}
		set(fields[i], value);
	}
}

/* conf/policy.conf, which believes no sealer, with two that the cases know. */
static struct policy *shipped(struct buf *errors, struct buf *warnings)
{
	static const char list[] = "\nlist sealers = { }\n";
	AUTO(buf) struct buf text = BUF_INIT(1 << 20), whole = BUF_INIT(1 << 20);
	char part[4096], *at;
	FILE *f = fopen("conf/policy.conf", "re");
	size_t n;

	if (!f)
		return NULL;
	while ((n = fread(part, 1, sizeof(part), f)) > 0)
		buf_add(&text, part, n);
	fclose(f);
	at = strstr(buf_str(&text), list);
	if (!at) {
		buf_adds(errors, "conf/policy.conf has no empty list sealers\n");
		return NULL;
	}
	n = (size_t)(at - text.data);
	buf_add(&whole, text.data, n);
	buf_adds(&whole, "\nlist sealers = { lists.example, forward.example }\n");
	buf_add(&whole, at + strlen(list), text.len - n - strlen(list));
	return policy_parse("conf/policy.conf", buf_str(&whole), whole.len, "conf", errors, warnings);
}

int main(void)
{
	AUTO(buf) struct buf errors = BUF_INIT(64 * 1024), warnings = BUF_INIT(64 * 1024);
	AUTO(buf) struct buf world = BUF_INIT(MESSAGE_MAX);
	struct mail m = { 0 };
	char *line = NULL;
	size_t size = 0;
	ssize_t n;
	FILE *f;
	int rc;

	fact_register_all();
	site.policy = shipped(&errors, &warnings);
	fprintf(stderr, "%s%s", buf_str(&errors), buf_str(&warnings));
	if (!site.policy || warnings.len || policy_set_local(site.policy, ours, 1) < 0)
		return 1;
	if (policy_set_allowed(site.policy, ALLOWED, &errors) < 0) {
		fprintf(stderr, "run_policy: %s", buf_str(&errors));
		return 1;
	}
	rc = filters_setup(&site, &errors);
	if (rc < 0) {
		fprintf(stderr, "run_policy: %s\n", buf_str(&errors));
		return 1;
	}
	f = fopen(CASES, "re");
	if (!f) {
		fprintf(stderr, "run_policy: %s: %s (run it at the top of the source tree)\n",
			CASES, strerror(errno));
		return 1;
	}
	while ((n = getline(&line, &size, f)) >= 0) {
		if (n && line[n - 1] == '\n')
			line[n - 1] = '\0';
		take_line(&m, &world, line);
	}
	if (m.name)
		run(&m, buf_str(&world));
	mail_clear(&m);
	free(line);
	fclose(f);
	policy_free(site.policy);
	printf("\nconf/policy.conf: %d good and %d bad messages, %d judged otherwise than wanted\n",
	       good, bad, wrong);
	printf("policy: %d passed, %d failed, 0 skipped\n", good + bad - wrong, wrong);
	return wrong || good < GOOD_MIN || bad < BAD_MIN;
}
