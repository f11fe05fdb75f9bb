/* One report on its way: the history and the spool are played by the test, the DNS is a table. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/task.h"
#include "filters/message.h"
#include "policy/conf.h"
#include "policy/dmarc_report.h"
#include "policy/rua_day.h"
#include "policy/spool.h"
#include "rua/rua_send.h"
#include "smtp/smtp_server.h"
#include "support/dns_table.h"
#include "support/scarce.h"
#include "support/task_check.h"

enum { DAY = 20778 };

static struct {
	int report_rc, draft_rc, keep_rc, done_rc;      /* what the others say */
	int done_fails;                                 /* so often -EPIPE first */
	size_t rows;
} play;

static struct {
	int drafts, kept, done;
	enum rua_fate fate;
	char why[200], to[500], sender[100], params[100];
	bool credible, minor;
	char text[200000];
	size_t len;
} got;

int rua_day_report(struct channel *history, int64_t day, const char *domain, const struct rua_reporter *who, struct dmarc_report **out)
{
	struct dmarc_report *r;

	if (play.report_rc < 0)
		return play.report_rc;
	scarce_pause(true);
	r = dmarc_report_new();
	dmarc_report_text(r, &r->org_name, who->org_name, strlen(who->org_name));
	dmarc_report_text(r, &r->email, who->email, strlen(who->email));
	dmarc_report_text(r, &r->report_id, "20778.1@mx.example.com", 22);
	dmarc_report_text(r, &r->policy.domain, domain, strlen(domain));
	r->begin_s = day * RUA_DAY_S;
	r->end_s = r->begin_s + RUA_DAY_S - 1;
	for (size_t i = 0; i < play.rows; i++) {
		char ip[32], from[64];
		struct dmarc_report_record *rec;

		snprintf(ip, sizeof(ip), "10.%zu.%zu.%zu", i >> 16 & 255, i >> 8 & 255, i & 255);
		snprintf(from, sizeof(from), "%08zx.%s", i * 2654435761u & 0xffffffff, domain);
		rec = dmarc_report_record(r, ip, i + 1, NULL);
		dmarc_report_text(r, &rec->header_from, from, strlen(from));
	}
	*out = r;
	scarce_pause(false);
	return 0;
}

int rua_day_done(struct channel *history, int64_t day, const char *domain, enum rua_fate fate, const char *why)
{
	CHECK(day == DAY && strcmp(domain, "example.org") == 0);
	got.done++;
	if (play.done_fails-- > 0)
		return -EPIPE;
	got.fate = fate;
	snprintf(got.why, sizeof(got.why), "%s", why ? why : "");
	return play.done_rc;
}

void rua_domains_free(struct rua_domains *d)
{
}

void spool_init(struct spool *s, struct channel *channel)
{
}

int spool_open(struct spool *s)
{
	return memfd_create("spool", MFD_CLOEXEC);
}

int spool_draft(struct spool *s, const struct buf *header, struct message *m)
{
	got.drafts++;
	if (play.draft_rc < 0)
		return play.draft_rc;
	memcpy(got.text, header->data, header->len);
	got.len = header->len;
	for (size_t at = message_body_offset(m), n; at < message_size(m); at += n) {
		const char *p;

		CHECK(message_read(m, at, &p, &n) == 0);
		memcpy(got.text + got.len, p, n);
		got.len += n;
	}
	got.text[got.len] = '\0';
	return memfd_create("spool", MFD_CLOEXEC);
}

int spool_keep(struct spool *s, int fd, const struct spool_envelope *e, char id[STORE_ID_MAX])
{
	if (play.keep_rc < 0)
		return play.keep_rc;
	got.kept++;
	got.to[0] = '\0';
	for (size_t i = 0; i < e->rcpt_count; i++)
		snprintf(got.to + strlen(got.to), sizeof(got.to) - strlen(got.to), "%s[%s][%s] ", e->rcpt[i].address, e->rcpt[i].params, e->rcpt[i].route);
	snprintf(got.sender, sizeof(got.sender), "<%s>", e->sender);
	snprintf(got.params, sizeof(got.params), "%s", e->params);
	got.credible = e->credible;
	got.minor = e->minor;
	snprintf(id, STORE_ID_MAX, "id");
	return 0;
}

static const char zone[] =
	"_dmarc.example.org TXT v=DMARC1; p=reject\n"
	"example.org._report._dmarc.yes.example TXT v=DMARC1\n"
	"example.org._report._dmarc.else.example TXT v=DMARC1; rua=mailto:b@else.example\n"
	"example.org._report._dmarc.away.example TIMEOUT TXT\n";

static const char *const one[] = { "mailto:d@example.org" };
static const char *const all[] = {
	"https://example.org/", "mailto:d@example.org", "mailto:d@no.example", "mailto:d@yes.example", "mailto:a@else.example", "mailto:b@else.example",
	"nonsense", "mailto:d@example.com",
};
static const char *const four[] = { "mailto:1@example.org", "mailto:2@example.org", "mailto:3@example.org", "mailto:4@example.org" };
static const char *const none[] = { "https://example.org/", "mailto:d@no.example" };
static const char *const away[] = { "mailto:d@example.org", "mailto:d@away.example" };
static const char *const small[] = { "mailto:s@example.org!1k", "mailto:d@example.org", "mailto:t@example.org!100" };
static const char *const too_small[] = { "mailto:s@example.org!1k" };

#define TO(list) .rua = list, .count = sizeof(list) / sizeof(*(list))

static const struct row {
	const char *name;
	const char *const *rua;
	size_t count, rows;
	bool last;
	int report_rc, draft_rc, keep_rc, done_rc, done_fails;
	size_t max_bytes;
	/* then */
	enum rua_sent sent;
	bool noted;
	const char *to, *why;
} rows[] = {
	{ "sent", TO(one), 1, .sent = RUA_SENT, .noted = true, .to = "d@example.org[NOTIFY=NEVER][mx example.org] " },
	{ "only who may have it", TO(all), 1, .sent = RUA_SENT, .noted = true,
	  .to = "d@example.org[NOTIFY=NEVER][mx example.org] d@yes.example[NOTIFY=NEVER][mx yes.example] b@else.example[NOTIFY=NEVER][mx else.example] " },
	{ "the first three", TO(four), 1, .sent = RUA_SENT, .noted = true,
	  .to = "1@example.org[NOTIFY=NEVER][mx example.org] 2@example.org[NOTIFY=NEVER][mx example.org] 3@example.org[NOTIFY=NEVER][mx example.org] " },
	{ "nobody", TO(none), 1, .sent = RUA_SENT_NOT, .noted = true, .why = "there is no address" },
	{ "the DNS is away", TO(away), 1, .sent = RUA_SENT_LATER },
	{ "for good", TO(away), 1, .last = true, .sent = RUA_SENT, .noted = true, .to = "d@example.org[NOTIFY=NEVER][mx example.org] " },
	{ "limits", TO(small), 1, .sent = RUA_SENT, .noted = true, .to = "d@example.org[NOTIFY=NEVER][mx example.org] " },
	{ "everybody's limit", TO(too_small), 1, .sent = RUA_SENT_NOT, .noted = true, .why = "everybody's limit" },
	{ "gone meanwhile", TO(one), 1, .report_rc = -ENOENT, .sent = RUA_SENT_ELSEWHERE },
	{ "the history is away", TO(one), 1, .report_rc = -EPIPE, .sent = RUA_SENT_LATER },
	{ "the history reads", TO(one), 1, .report_rc = -EAGAIN, .sent = RUA_SENT_LATER },
	{ "no row", TO(one), 0, .sent = RUA_SENT_NOT, .noted = true, .why = "nothing in it" },
	{ "the spool is full", TO(one), 1, .keep_rc = -ENOSPC, .sent = RUA_SENT_LATER },
	{ "the spool is away", TO(one), 1, .draft_rc = -EPIPE, .sent = RUA_SENT_LATER },
	{ "many rows", TO(one), 3000, .sent = RUA_SENT, .noted = true, .to = "d@example.org[NOTIFY=NEVER][mx example.org] " },
	{ "too many for the site", TO(one), 3000, .max_bytes = 20000, .sent = RUA_SENT_NOT, .noted = true, .why = "larger than rua_max_size" },
	{ "noted at the second try", TO(one), 1, .done_fails = 1, .sent = RUA_SENT, .noted = true, .to = "d@example.org[NOTIFY=NEVER][mx example.org] " },
	{ "noted, but by somebody else", TO(one), 1, .done_rc = -ENOENT, .sent = RUA_SENT, .noted = true, .to = "d@example.org[NOTIFY=NEVER][mx example.org] " },
	{ "never noted", TO(one), 1, .done_fails = 100, .sent = RUA_SENT, .noted = false, .to = "d@example.org[NOTIFY=NEVER][mx example.org] " },
};

static const struct row *now;

/* A table's answers need memory that is not the program's. */
static struct dns *table;

static int ask(struct dns *d, const char *qname, enum dns_type type, int timeout_ms, struct dns_lookup **out)
{
	int rc;

	scarce_pause(true);
	rc = table->ops->start(table, qname, type, timeout_ms, out);
	scarce_pause(false);
	return rc;
}

static const struct dns_ops asked = { .start = ask };

/* The nth allocation fails; 0: none. *failed: it was made. */
static enum rua_sent send_row(int nth, bool *noted, bool *failed)
{
	static char hostname[] = "mx.example.com", from[] = "dmarc@example.com", org[] = "Example & Co", ours[] = "example.com";
	static char *domains[] = { ours };
	struct dns_table *t = dns_table_new();
	struct site site = {
		.hostname = hostname, .domains = domains, .domain_count = 1,
		.rua = { .send = true, .from = from, .org = org, .destinations = 3, .max_bytes = now->max_bytes ? now->max_bytes : 1 << 20 },
	};
	struct spool spool = { 0 };
	struct dns dns = { .ops = &asked, .timeout_ms = 1000 };
	struct smtp_service svc = { .site = &site, .dns = &dns, .spool = &spool };
	struct gate gate = { .limit = 1 };
	const struct rua_sender sender = { .svc = &svc, .gate = &gate };
	const struct rua_domain d = { .name = "example.org", .rua = now->rua, .rua_count = now->count };
	enum rua_sent sent;

	table = dns_table_dns(t);
	dns_table_zone(t, zone);
	memset(&got, 0, sizeof(got));
	play.report_rc = now->report_rc;
	play.draft_rc = now->draft_rc;
	play.keep_rc = now->keep_rc;
	play.done_rc = now->done_rc;
	play.done_fails = now->done_fails;
	play.rows = now->rows;
	if (nth)
		scarce_begin(nth);
	sent = rua_send(&sender, DAY, &d, now->last, noted);
	*failed = nth && scarce_end();
	CHECK(gate.inside == 0);
	CHECK(got.kept == (sent == RUA_SENT));
	dns_table_free(t);
	return sent;
}

static void row_task(void *arg)
{
	bool noted = true, failed;
	enum rua_sent sent = send_row(0, &noted, &failed);

	CHECK(sent == now->sent);
	CHECK(noted == now->noted);
	if (now->noted)
		CHECK(got.fate == (sent == RUA_SENT ? RUA_REPORTED : RUA_GIVEN_UP));
	if (now->why)
		CHECK(strstr(got.why, now->why));
	if (sent == RUA_SENT_LATER || sent == RUA_SENT_ELSEWHERE)
		CHECK(got.done == 0);
	if (sent == RUA_SENT) {
		CHECK(strcmp(got.to, now->to) == 0);
		CHECK(strcmp(got.sender, "<>") == 0 && !got.params[0] && !got.credible && got.minor);
		CHECK(strstr(got.text, "\r\nSubject: Report Domain: example.org\r\n Submitter: example.com\r\n Report-ID: <20778.1@mx.example.com>\r\n"));
		CHECK(strstr(got.text, "filename=\"mx.example.com!example.org!1795219200!1795305599.xml.gz\"\r\n"));
		CHECK(strcmp(got.text + got.len - 4, "--\r\n") == 0);
		for (size_t i = 0; i < now->count; i++)
			CHECK(!strchr(now->rua[i], '!') || !strstr(got.text, "<s@example.org>"));
	}
}

/* Without memory it is for later, or it is whole; it is never given up, and nobody is left out. */
static void memory_task(void *arg)
{
	bool noted, failed = true;

	now = &rows[1];
	for (int n = 1; failed && n < 2000 && !wrong_line; n++) {
		enum rua_sent sent = send_row(n, &noted, &failed);

		CHECK(sent == RUA_SENT_LATER || (sent == RUA_SENT && strcmp(got.to, now->to) == 0));
		if (sent == RUA_SENT)
			CHECK(strstr(got.text, "filename=") && strstr(got.text, "aggregate report of DMARC") && strcmp(got.text + got.len - 4, "--\r\n") == 0);
		if (wrong_line)
			snprintf(wrong_text, sizeof(wrong_text), "allocation %d: %d %.200s", n, sent, got.to);
	}
	CHECK(!failed);
}

/* Cut off while it waits, for the DNS or for its turn: nothing is sent, and nothing given up. */
static struct {
	struct rua_sender sender;
	enum rua_sent sent;
	bool noted, ended;
	struct task *task;
} cut;

static void cut_main(void *arg)
{
	const struct rua_domain d = { .name = "example.org", .rua = away, .rua_count = 2 };

	cut.sent = rua_send(&cut.sender, DAY, &d, true, &cut.noted);
	cut.ended = true;
}

static void cut_task(void *arg)
{
	static char hostname[] = "mx.example.com", from[] = "dmarc@example.com", org[] = "Example";
	static struct site site = { .hostname = hostname, .rua = { .send = true, .from = from, .org = org, .destinations = 3, .max_bytes = 1 << 20 } };
	struct spool spool = { 0 };
	struct smtp_service svc = { .site = &site, .spool = &spool };
	struct gate gate = { .limit = 1 };

	for (int k = 0; k < 2; k++) {
		struct dns_table *t = dns_table_new();

		dns_table_zone(t, zone);
		dns_table_hold(t, k == 0);
		svc.dns = dns_table_dns(t);
		gate.inside = k;
		memset(&got, 0, sizeof(got));
		memset(&play, 0, sizeof(play));
		play.rows = 1;
		cut.sender = (struct rua_sender){ .svc = &svc, .gate = &gate };
		cut.ended = false;
		CHECK(task_spawn("cut", cut_main, NULL, &cut.task) == 0);
		task_sleep(10);
		CHECK(!cut.ended);
		task_cancel(cut.task);
		task_sleep(10);
		CHECK(cut.ended && cut.sent == RUA_SENT_LATER && !cut.noted);
		CHECK(!got.kept && !got.done && !got.drafts);
		dns_table_free(t);
	}
}

/* Sixteen addresses with a DNS that is slow: none waits for another. */
static void slow_main(void *arg)
{
	static const char *const many[] = {
		"mailto:d@a.test", "mailto:d@b.test", "mailto:d@c.test", "mailto:d@d.test", "mailto:d@e.test", "mailto:d@f.test", "mailto:d@g.test", "mailto:d@h.test",
		"mailto:d@i.test", "mailto:d@j.test", "mailto:d@k.test", "mailto:d@l.test", "mailto:d@m.test", "mailto:d@n.test", "mailto:d@o.test", "mailto:d@p.test",
	};
	const struct rua_domain d = { .name = "example.org", .rua = many, .rua_count = sizeof(many) / sizeof(*many) };

	cut.sent = rua_send(&cut.sender, DAY, &d, true, &cut.noted);
	cut.ended = true;
}

static void slow_task(void *arg)
{
	static char hostname[] = "mx.example.com", from[] = "dmarc@example.com", org[] = "Example";
	static struct site site = { .hostname = hostname, .rua = { .send = true, .from = from, .org = org, .destinations = 3, .max_bytes = 1 << 20 } };
	struct spool spool = { 0 };
	struct dns_table *t = dns_table_new();
	struct smtp_service svc = { .site = &site, .spool = &spool, .dns = dns_table_dns(t) };
	struct gate gate = { .limit = 1 };

	dns_table_zone(t, zone);
	dns_table_hold(t, true);
	memset(&got, 0, sizeof(got));
	memset(&play, 0, sizeof(play));
	cut.sender = (struct rua_sender){ .svc = &svc, .gate = &gate };
	cut.ended = false;
	CHECK(task_spawn("slow", slow_main, NULL, &cut.task) == 0);
	for (int i = 0; i < 1000 && dns_table_waiting(t) < 3 + 2 * 16; i++)
		task_sleep(10);
	/* _dmarc of example.org, org, test; and for each its own, and the question for leave. */
	CHECK(dns_table_waiting(t) == 3 + 2 * 16);
	dns_table_hold(t, false);
	dns_table_answer(t, NULL, 0);
	for (int i = 0; i < 1000 && !cut.ended; i++)
		task_sleep(10);
	CHECK(cut.ended && cut.sent == RUA_SENT_NOT && cut.noted && dns_table_asked(t) == 3 + 2 * 16);
	dns_table_free(t);
}

static void test_slow(void **state)
{
	task_check_run(slow_task);
}

static void test_cut(void **state)
{
	task_check_run(cut_task);
}

static void test_memory(void **state)
{
	task_check_run(memory_task);
}

static void test_rows(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		now = &rows[i];
		wrong_line = 0;
		script_run(row_task, NULL);
		if (wrong_line)
			fail_msg("%s: line %d: %s", now->name, wrong_line, wrong_text);
	}
}

static int setup(void **state)
{
	return loop_init();
}

static int teardown(void **state)
{
	loop_release();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_slow),
		cmocka_unit_test(test_cut),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
