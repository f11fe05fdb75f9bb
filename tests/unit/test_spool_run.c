/* What a worker does with a leased part: the keeper is played by the test, the next hop by a script. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/syscalls.h"
#include "base/task.h"
#include "hop/backend.h"
#include "policy/conf.h"
#include "policy/spool.h"
#include "policy/store.h"
#include "smtp/smtp_server.h"
#include "spool/spool_run.h"
#include "support/script_server.h"
#include "support/task_check.h"

#define S(...) (const char *const[]){ __VA_ARGS__, NULL }
#define EHLO "S:220 mx\r\n", "C:EHLO gw.example\r\n", "S:250-mx\r\n250 DSN\r\n"
#define NO_DSN "S:220 mx\r\n", "C:EHLO gw.example\r\n", "S:250 mx\r\n"
#define MAIL "C:MAIL", "S:250 ok\r\n"
#define DATA "C:DATA", "S:354 go\r\n", "D"

static const char text[] = "Received: from x\r\nSubject: hi\r\n\r\nthe body\r\n.dot\r\n";

/* --- the keeper, and the store --- */

static struct {
	bool reported, route_down, met, dsn;
	enum spool_outcome_kind kind[8];
	bool told[8];
	char reply[8][200];
	char dsn_text[16384], dsn_to[200], dsn_route[100];
	bool dsn_credible, dsn_sender;
	int kept;                       /* in the quarantine */
	char kept_meta[4096];
} got;

static bool open_fails, keep_fails;

void spool_init(struct spool *s, struct channel *channel)
{
}

int spool_open(struct spool *s)
{
	return open_fails ? -ENOSPC : memfd_create("spool", MFD_CLOEXEC);
}

int spool_draft(struct spool *s, const struct buf *header, struct message *m)
{
	return -EIO;
}

int spool_keep(struct spool *s, int fd, const struct spool_envelope *e, char id[STORE_ID_MAX])
{
	return -EIO;
}

int spool_lease(struct spool *s, int wait_ms, struct spool_lease **out)
{
	return -EAGAIN;
}

int spool_wake(struct spool *s, const char *route)
{
	return 0;
}

static void note_dsn(const struct spool_report *r)
{
	ssize_t n = pread(r->dsn_fd, got.dsn_text, sizeof(got.dsn_text) - 1, 0);

	got.dsn = n > 0 && r->dsn->rcpt_count == 1;
	snprintf(got.dsn_to, sizeof(got.dsn_to), "%s %s", r->dsn->rcpt[0].address, r->dsn->rcpt[0].params);
	snprintf(got.dsn_route, sizeof(got.dsn_route), "%s", r->dsn->rcpt[0].route);
	got.dsn_credible = r->dsn->credible;
	got.dsn_sender = r->dsn->sender[0] != '\0';
}

int spool_report(struct spool *s, struct spool_lease *l, const struct spool_report *r)
{
	got.reported = true;
	got.route_down = r->route_down;
	got.met = r->met;
	for (size_t i = 0; i < r->count; i++) {
		const struct spool_outcome *o = &r->outcome[i];

		got.kind[o->rcpt] = o->kind;
		got.told[o->rcpt] = o->delay_told;
		snprintf(got.reply[o->rcpt], sizeof(got.reply[0]), "%s", o->reply ? o->reply : "");
	}
	if (r->dsn_fd >= 0)
		note_dsn(r);
	spool_envelope_free(l->envelope);
	free(l->route);
	close(l->fd);
	free(l);
	return 0;
}

static int store_test_open(struct store *s)
{
	return memfd_create("store", MFD_CLOEXEC);
}

static int store_test_keep(struct store *s, int fd, const char *meta_json, char id[STORE_ID_MAX])
{
	if (keep_fails)
		return -ENOSPC;
	got.kept++;
	snprintf(got.kept_meta, sizeof(got.kept_meta), "%s", meta_json);
	snprintf(id, STORE_ID_MAX, "q1");
	return 0;
}

static struct store store = { store_test_open, store_test_keep };

/* --- one part --- */

struct part {
	const char *name, *const *script, *const *second;
	const char *sender, *params;
	const char *rcpt[4];            /* "address|params" */
	enum spool_direction direction;
	bool credible;
	enum spool_duty duty;
	bool tell, last;
	bool no_room, no_quarantine, down;
	/* wanted */
	enum spool_outcome_kind kind[4];
	bool route_down, met, told;
	const char *dsn[3];             /* what stands in it; none: there is none */
	int kept;
};

static const struct part *now;

static char hostname[] = "gw.example", host[] = "127.0.0.1", name[] = "mx", domain[] = "example.com";
static char *domains[] = { domain };
static struct outbound_via via = { .host = host, .port = 1 };

static struct spool_lease *lease_make(const struct part *p)
{
	struct spool_lease *l = calloc(1, sizeof(*l));
	struct spool_envelope *e = spool_envelope_new();

	e->sender = strdup(p->sender);
	e->params = strdup(p->params ? p->params : "");
	e->direction = p->direction;
	e->credible = p->credible;
	e->client = strdup("192.0.2.1");
	e->helo = strdup("client.example");
	e->created_s = clock_wall_s() - 3600;
	snprintf(e->id, sizeof(e->id), "20261122-x");
	for (size_t i = 0; i < 4 && p->rcpt[i]; i++) {
		char address[200];
		const char *bar = strchr(p->rcpt[i], '|');

		snprintf(address, sizeof(address), "%.*s", (int)(bar ? bar - p->rcpt[i] : 100), p->rcpt[i]);
		spool_envelope_add(e, address, bar ? bar + 1 : "", "backend")->due = true;
	}
	/* One that is done already is left alone. */
	spool_envelope_add(e, "done@example.net", "", "backend")->state = SPOOL_DELIVERED;
	l->envelope = e;
	l->route = strdup("backend");
	l->duty = p->duty;
	l->tell = p->tell;
	l->last = p->last;
	l->until_ms = clock_ms() + 600000;
	l->fd = memfd_create("eml", MFD_CLOEXEC);
	CHECK(write(l->fd, text, sizeof(text) - 1) == sizeof(text) - 1);
	return l;
}

static void check(const struct part *p, const struct script_server *server)
{
	CHECK(got.reported && got.route_down == p->route_down);
	CHECK((got.route_down && got.met) == p->met);
	for (size_t i = 0; i < 4 && p->rcpt[i]; i++) {
		CHECK(got.kind[i] == p->kind[i]);
		CHECK(got.told[i] == (p->told && p->kind[i] == SPOOL_LATER));
	}
	CHECK(got.dsn == (p->dsn[0] != NULL));
	for (size_t i = 0; i < 3 && p->dsn[i]; i++)
		if (!strstr(got.dsn_text, p->dsn[i]) && !wrong_line) {
			wrong_line = __LINE__;
			snprintf(wrong_text, sizeof(wrong_text), "not in the notification: %s", p->dsn[i]);
		}
	if (got.dsn) {
		CHECK(!got.dsn_sender && !got.dsn_credible);
		CHECK(strstr(got.dsn_to, "NOTIFY=NEVER"));
		CHECK(strcmp(got.dsn_route, strstr(p->sender, "@example.com") ? "backend" : "upstream") == 0);
	}
	CHECK(got.kept == p->kept);
	if (server->failed[0] && !wrong_line) {
		wrong_line = __LINE__;
		snprintf(wrong_text, sizeof(wrong_text), "%.290s", server->failed);
	}
}

static void part_task(void *arg)
{
	/* The sessions' last words, QUIT and its answer, come after this task: script_run() waits for them. */
	static struct backend_conf conf;
	static struct site site;
	static struct script_server server;
	struct smtp_service svc = { .site = &site, .store = &store };
	struct spool spool = { 0 };
	AUTO(buf) struct buf err = BUF_INIT(1000);

	conf = (struct backend_conf){ .name = name, .host = host, .priority = 10, .connect_timeout_ms = 300, .probe_interval_ms = 60000,
				      .max_sessions_wait_ms = 300, .reuse_idle_ms = 30000, .reuse_max = 100 };
	site = (struct site){ .hostname = hostname, .backend = &conf, .backend_count = 1, .domains = domains, .domain_count = 1,
			      .outbound = { .via = &via, .via_count = 1 },
			      .timeouts = { .greeting_ms = 2000, .helo_ms = 2000, .mail_ms = 2000, .rcpt_ms = 2000, .data_ms = 2000, .block_ms = 2000,
					    .dot_ms = 500, .quit_ms = 200, .budget_ms = 3000, .dot_budget_ms = 3000 } };
	memset(&got, 0, sizeof(got));
	open_fails = now->no_room;
	keep_fails = now->no_quarantine;
	script_server_start(&server, 0);
	if (now->script)
		script_server_add(&server, now->script);
	if (now->second)
		script_server_add(&server, now->second);
	if (now->down)
		script_server_stop(&server);
	conf.port = server.addr.port;
	if (backend_group_new(&site, NULL, NULL, &svc.group, &err) != 0)
		abort();
	svc.spool = &spool;
	spool_run_lease(&svc, lease_make(now));
	check(now, &server);
	if (now->kind[0] == SPOOL_TAKEN && !now->second)
		CHECK(server.received.len == sizeof(text) - 1 + 1 + 3);         /* a dot stuffed, and the end */
	backend_group_free(svc.group);
	script_server_release(&server);
}

#define ONE .sender = "ann@example.com", .rcpt = { "bob@x.example" }, .credible = true, .direction = SPOOL_OUTBOUND

static void test_parts(void **state)
{
	static const char *const good[] = { EHLO, MAIL, "C:RCPT TO:<bob@x.example>", "S:250 ok\r\n", DATA, "S:250 2.0.0 taken\r\n", "C:", "X", NULL };
	static const char *const no_user[] = { EHLO, MAIL, "C:RCPT", "S:550 5.1.1 no such user\r\n", "C:", "X", NULL };
	static const char *const deferred[] = { EHLO, MAIL, "C:RCPT", "S:450 4.2.1 greylisted\r\n", "C:", "X", NULL };
	static const char *const two[] = { EHLO, MAIL, "C:RCPT TO:<bob@x.example>", "S:250 ok\r\n", "C:RCPT TO:<eve@x.example>",
					   "S:550 5.1.1 no such user\r\n", DATA, "S:250 ok\r\n", "C:", "X", NULL };
	static const char *const refused[] = { EHLO, MAIL, "C:RCPT", "S:250 ok\r\n", DATA, "S:554 5.7.1 spam\r\n", "C:", "X", NULL };
	static const char *const silent[] = { EHLO, MAIL, "C:RCPT", "S:250 ok\r\n", DATA, "H", NULL };
	static const char *const closes[] = { EHLO, MAIL, "C:RCPT", "S:250 ok\r\n", DATA, "X", NULL };
	static const char *const breaks[] = { EHLO, MAIL, "C:RCPT", "X", NULL };
	static const char *const busy[] = { EHLO, "C:MAIL", "S:421 4.3.2 busy\r\n", "X", NULL };
	static const char *const gone[] = { EHLO, MAIL, "C:RCPT", "S:421 4.3.2 going\r\n", "X", NULL };
	static const char *const few[] = { EHLO, MAIL, "C:RCPT TO:<bob@x.example>", "S:250 ok\r\n", "C:RCPT TO:<eve@x.example>",
					   "S:452 4.5.3 too many\r\n", DATA, "S:250 ok\r\n", "C:", "X", NULL };
	static const char *const rest[] = { EHLO, MAIL, "C:RCPT TO:<eve@x.example>", "S:250 ok\r\n", DATA, "S:250 ok\r\n", "C:", "X", NULL };
	static const char *const plain[] = { NO_DSN, "C:MAIL FROM:<ann@example.com>\r\n", "S:250 ok\r\n", "C:RCPT TO:<bob@x.example>\r\n", "S:250 ok\r\n", DATA,
					     "S:250 ok\r\n", "C:", "X", NULL };
	static const char *const params[] = { EHLO, "C:MAIL FROM:<ann@example.com> RET=HDRS ENVID=q1\r\n", "S:250 ok\r\n",
					      "C:RCPT TO:<bob@x.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;b@x\r\n", "S:250 ok\r\n", DATA,
					      "S:250 ok\r\n", "C:", "X", NULL };
	static const char *const mail_refused[] = { EHLO, "C:MAIL", "S:552 5.3.4 too large\r\n", "C:", "X", NULL };
	/* What is no reply is no verdict: nothing is taken for delivered, and nothing bounced, for it. */
	static const char *const half[] = { EHLO, MAIL, "C:RCPT", "S:250 ok\r\n", DATA, "S:250 2.0", "X", NULL };
	static const char *const twice[] = { EHLO, MAIL, "C:RCPT", "S:250 ok\r\n", DATA, "S:250 ok\r\n554 no\r\n", "H", NULL };
	static const char *const go_on[] = { EHLO, MAIL, "C:RCPT", "S:250 ok\r\n", DATA, "S:354 go on\r\n", "H", NULL };
	static const char *const odd[] = { EHLO, MAIL, "C:RCPT", "S:250 ok\r\n", DATA, "S:5x4 no\r\n", "H", NULL };
	static const char *const early[] = { EHLO, MAIL, "C:RCPT", "S:250 ok\r\n", "C:DATA", "S:354 go\r\n550 no\r\n", "H", NULL };
	static const char *const strange[] = { EHLO, MAIL, "C:RCPT", "S:999 5.1.1 no such user\r\n", "H", NULL };
	static const char *const unasked[] = { EHLO, MAIL, "C:RCPT", "S:550 5.1.1 no such user\r\n550 5.1.1 nor this\r\n", "H", NULL };
	static char words[4000] = "S:550 5.1.1 no\tsuch\001 \344user ";
	static const char *const wordy[] = { EHLO, MAIL, "C:RCPT", words, "C:", "X", NULL };
	static const struct part parts[] = {
		{ "half an answer to the end", half, ONE, .kind = { SPOOL_LATER } },
		{ "two answers to the end", twice, ONE, .kind = { SPOOL_LATER } },
		{ "354 to the end", go_on, ONE, .kind = { SPOOL_LATER } },
		{ "no answer at all to the end", odd, ONE, .kind = { SPOOL_LATER } },
		{ "354 and an answer at once", early, ONE, .kind = { SPOOL_LATER } },
		{ "999 to RCPT", strange, ONE, .kind = { SPOOL_LATER } },
		{ "two answers to RCPT", unasked, ONE, .kind = { SPOOL_LATER } },
		{ "a long word and foreign octets", wordy, ONE, .kind = { SPOOL_FOR_GOOD }, .dsn = { "Action: failed", "Status: 5.1.1" } },
		{ "delivered", good, ONE, .kind = { SPOOL_TAKEN } },
		{ "no such user", no_user, ONE, .kind = { SPOOL_FOR_GOOD },
		  .dsn = { "Action: failed", "Diagnostic-Code: smtp; 550 5.1.1 no such user", "To: <ann@example.com>" } },
		{ "a user of another domain is told by the way out", no_user, .sender = "ann@other.example", .rcpt = { "bob@x.example" },
		  .credible = true, .direction = SPOOL_OUTBOUND, .kind = { SPOOL_FOR_GOOD }, .dsn = { "Action: failed" } },
		{ "NOTIFY=NEVER", no_user, .sender = "ann@example.com", .rcpt = { "bob@x.example|NOTIFY=NEVER" }, .credible = true,
		  .direction = SPOOL_OUTBOUND, .kind = { SPOOL_FOR_GOOD } },
		{ "later", deferred, ONE, .kind = { SPOOL_LATER } },
		{ "later, and the time to say so", deferred, ONE, .tell = true, .kind = { SPOOL_LATER }, .told = true,
		  .dsn = { "Action: delayed", "Status: 4.2.1" } },
		{ "later, told, but nobody may be", deferred, .sender = "ann@x.example", .rcpt = { "bob@x.example" }, .tell = true,
		  .kind = { SPOOL_LATER }, .told = true },
		{ "the last time", deferred, ONE, .last = true, .kind = { SPOOL_FOR_GOOD },
		  .dsn = { "Status: 4.4.7", "smtp; 450 4.2.1 greylisted", "for as long as it is tried" } },
		{ "the last time, and taken", good, ONE, .last = true, .tell = true, .kind = { SPOOL_TAKEN } },
		{ "some", two, .sender = "ann@example.com", .rcpt = { "bob@x.example", "eve@x.example" }, .credible = true,
		  .direction = SPOOL_OUTBOUND, .kind = { SPOOL_TAKEN, SPOOL_FOR_GOOD }, .second = two, .dsn = { "rfc822; eve@x.example" } },
		{ "refused at the end of data", refused, ONE, .kind = { SPOOL_FOR_GOOD }, .dsn = { "Status: 5.7.1" } },
		{ "refused at MAIL", mail_refused, ONE, .kind = { SPOOL_FOR_GOOD }, .dsn = { "Status: 5.3.4", "too large" } },
		{ "no answer to the end", silent, ONE, .kind = { SPOOL_LATER } },
		{ "gone after the end", closes, ONE, .kind = { SPOOL_LATER } },
		{ "gone at RCPT", breaks, ONE, .kind = { SPOOL_LATER } },
		{ "nobody answers", NULL, ONE, .down = true, .kind = { SPOOL_LATER }, .route_down = true },
		{ "421 to MAIL", busy, ONE, .kind = { SPOOL_LATER }, .route_down = true, .met = true },
		{ "421 to RCPT", gone, ONE, .kind = { SPOOL_LATER }, .route_down = true, .met = true },
		{ "too many at once", few, rest, .sender = "ann@example.com", .rcpt = { "bob@x.example", "eve@x.example" }, .credible = true,
		  .direction = SPOOL_OUTBOUND, .kind = { SPOOL_TAKEN, SPOOL_TAKEN } },
		{ "success, of a server that does not tell", plain, .sender = "ann@example.com", .rcpt = { "bob@x.example|NOTIFY=SUCCESS" },
		  .credible = true, .direction = SPOOL_OUTBOUND, .kind = { SPOOL_TAKEN }, .dsn = { "Action: relayed", "Status: 2.0.0" } },
		{ "success, of a server that does", params, .sender = "ann@example.com", .params = "RET=HDRS ENVID=q1",
		  .rcpt = { "bob@x.example|NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;b@x" }, .credible = true, .direction = SPOOL_OUTBOUND,
		  .kind = { SPOOL_TAKEN } },
		{ "to be told of a delay", NULL, ONE, .duty = SPOOL_TELL, .kind = { SPOOL_LATER }, .told = true, .dsn = { "Action: delayed" } },
		{ "its time is over", NULL, ONE, .duty = SPOOL_EXPIRE, .kind = { SPOOL_FOR_GOOD }, .dsn = { "Action: failed", "Status: 4.4.7" } },
		{ "from the world, credible", no_user, .sender = "x@far.example", .rcpt = { "bob@example.com" }, .credible = true,
		  .kind = { SPOOL_FOR_GOOD }, .dsn = { "Action: failed" } },
		{ "from the world, not credible: quarantined", no_user, .sender = "x@far.example", .rcpt = { "bob@example.com" },
		  .kind = { SPOOL_FOR_GOOD }, .kept = 1 },
		{ "from the world, not credible, NOTIFY=NEVER", no_user, .sender = "x@far.example", .rcpt = { "bob@example.com|NOTIFY=NEVER" },
		  .kind = { SPOOL_FOR_GOOD }, .kept = 1 },
		{ "from the world, a bounce", no_user, .sender = "", .rcpt = { "bob@example.com" }, .credible = true, .kind = { SPOOL_FOR_GOOD },
		  .kept = 1 },
		{ "from the world, time over, not credible", NULL, .sender = "x@far.example", .rcpt = { "bob@example.com" }, .duty = SPOOL_EXPIRE,
		  .kind = { SPOOL_FOR_GOOD }, .kept = 1 },
		{ "a return path that no notification can be written to: quarantined", no_user, .sender = "\"a<b\"@example.com", .rcpt = { "bob@x.example" },
		  .credible = true, .direction = SPOOL_OUTBOUND, .kind = { SPOOL_FOR_GOOD }, .kept = 1 },
		{ "a return path whose domain is no name: quarantined", NULL, .sender = "ann@\xe2\x98\x83.example", .rcpt = { "bob@x.example" },
		  .credible = true, .direction = SPOOL_OUTBOUND, .duty = SPOOL_EXPIRE, .kind = { SPOOL_FOR_GOOD }, .kept = 1 },
		{ "of a delay nobody can be told: once", deferred, .sender = "\"a<b\"@example.com", .rcpt = { "bob@x.example" }, .credible = true,
		  .direction = SPOOL_OUTBOUND, .tell = true, .kind = { SPOOL_LATER }, .told = true },
		{ "not credible, whatever way it came", no_user, .sender = "x@far.example", .rcpt = { "bob@example.com" },
		  .direction = SPOOL_SUBMISSION, .kind = { SPOOL_FOR_GOOD }, .kept = 1 },
		{ "the quarantine has no room: not given up", no_user, .sender = "x@far.example", .rcpt = { "bob@example.com" },
		  .no_quarantine = true, .kind = { SPOOL_LATER } },
		{ "a bounce of ours: no bounce of it", no_user, .sender = "", .rcpt = { "ann@example.com|NOTIFY=NEVER" },
		  .direction = SPOOL_OUTBOUND, .kind = { SPOOL_FOR_GOOD } },
		{ "a bounce of ours, perhaps credible by a mistake", no_user, .sender = "", .rcpt = { "ann@example.com" }, .credible = true,
		  .direction = SPOOL_OUTBOUND, .kind = { SPOOL_FOR_GOOD } },
		{ "no room for the notification: not given up", no_user, ONE, .no_room = true, .kind = { SPOOL_LATER } },
		{ "no room to tell of a delay: another time", deferred, ONE, .no_room = true, .tell = true, .kind = { SPOOL_LATER } },
	};

	memset(words + strlen(words), 'x', 3900 - strlen(words));
	strcat(words, "\r\n");
	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
		now = &parts[i];
		wrong_line = 0;
		script_run(part_task, NULL);
		if (wrong_line)
			fail_msg("%s: line %d: %s; %d %s\n%s", now->name, wrong_line, wrong_text, got.kind[0], got.reply[0], got.dsn_text);
		if (got.kept)
			assert_non_null(strstr(got.kept_meta, "\"name\":\"spool\""));
		for (const char *p = now->script == wordy ? got.dsn_text : ""; *p; p++)
			assert_true((*p >= ' ' && *p <= '~') || *p == '\n' || (*p == '\r' && p[1] == '\n') || (*p == '\t' && p[-1] == '\n'));
	}
}

static int setup(void **state)
{
	fact_register_all();
	signal(SIGPIPE, SIG_IGN);
	log_open("test", getenv("VERBOSE") ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR);
	return loop_init();
}

static int teardown(void **state)
{
	loop_release();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_parts) };

	if (getenv("UNDER_VALGRIND"))           /* it does not know seccomp(2): the boxes' processes go without */
		syscalls_none();
	return cmocka_run_group_tests_name("spool-run", tests, setup, teardown);
}
