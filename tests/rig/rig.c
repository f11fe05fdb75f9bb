#include "rig/rig.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "access/access_backend.h"
#include "access/access_session.h"
#include "base/places.h"
#include "base/tls.h"
#include "filters/filter.h"
#include "hop/backend.h"
#include "hop/destination_hop.h"
#include "hop/outbound.h"
#include "imap/imap_server.h"
#include "login/login_attempt.h"
#include "pop3/pop3_server.h"
#include "policy/conf.h"
#include "policy/recent.h"
#include "retrieval/retrieval.h"
#include "smtp/recipient.h"
#include "smtp/smtp_server.h"
#include "support/dns_table.h"

enum {
	JUMPS_HASTY = 300,              /* from then on scripts do not wait any more */
	JUMPS_MAX = 20000,              /* somebody waits for ever */
};

struct rig rig;

/* What a worker holds for one session, made anew for each. */
static struct {
	struct smtp_service smtp;
	struct access_service access[2];        /* POP3, IMAP */
	struct tcp_backends *backends;
	struct login_service login;
	struct destination_shared destinations;
	struct places places;
	_Atomic int64_t ledger_until_s;
	struct ssl_ctx_st *tls, *tls_any;
	bool settling, ending;
	bool went_out;                  /* to a server that is none of the site's */
	struct rig_server *asked;               /* whom the answers belong to */
} own;

/* Fresh memory for each allocation costs more than the session does. ASAN_OPTIONS says otherwise. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "quarantine_size_mb=8:malloc_context_size=8";
}

/* --- state and store --- */

static struct state_op *record_find(const struct state_op *op)
{
	for (size_t i = 0; i < rig.records; i++)
		if (strcmp(rig.record[i].space, op->space) == 0 && strcmp(rig.record[i].key, op->key) == 0)
			return &rig.record[i];
	return NULL;
}

static void record_forget(struct state_op *r)
{
	*r = rig.record[--rig.records];
}

static struct state_op *record_make(const struct state_op *op, int64_t now)
{
	struct state_op *r;

	if (rig.records == RIG_RECORDS)
		record_forget(&rig.record[0]);
	r = &rig.record[rig.records++];
	*r = *op;
	r->first_s = now;
	r->count = 0;
	r->text[0] = '\0';
	return r;
}

static void state_one(struct state_op *op)
{
	int64_t now = kernel_ms() / 1000;
	struct state_op *r = record_find(op);

	op->found = r != NULL;
	if (r) {
		op->first_s = r->first_s;
		op->last_s = r->last_s;
		op->count = r->count;
	}
	if (op->verb == STATE_DELETE && r) {
		record_forget(r);
		return;
	}
	if (op->verb == STATE_GET || op->verb == STATE_DELETE) {
		memcpy(op->text, r ? r->text : "", r ? sizeof(op->text) : 1);
		return;
	}
	if (!r)
		r = record_make(op, now);
	r->last_s = now;
	if (op->verb == STATE_COUNT)
		r->count += op->add;
	if (op->verb == STATE_PUT) {
		r->count = op->add;
		memcpy(r->text, op->text, sizeof(r->text));
	}
}

static int state_do(struct state *s, struct state_op *ops, size_t count)
{
	for (size_t i = 0; i < count; i++)
		state_one(&ops[i]);
	return 0;
}

static int store_file(struct store *s)
{
	return memfd_create("store", MFD_CLOEXEC);
}

static int store_take(struct store *s, int fd, const char *meta_json, char id[STORE_ID_MAX])
{
	snprintf(id, STORE_ID_MAX, "q%d", ++rig.kept);
	return 0;
}

/* --- once --- */

static void file_put(const char *dir, const char *name, const char *text)
{
	char path[300];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	assert(f);
	fputs(text, f);
	fclose(f);
}

static struct site *site_of(const char *text, const char *policy)
{
	AUTO(buf) struct buf errors = BUF_INIT(65536);
	const char *tmp = getenv("TMPDIR");
	char dir[200], path[300];
	static const char *const names[] = { "gatepost.conf", "policy.conf", "ca.pem" };
	struct site *site;

	snprintf(dir, sizeof(dir), "%s/gatepost-rig-XXXXXX", tmp ? tmp : "/tmp");
	assert(mkdtemp(dir));
	file_put(dir, "gatepost.conf", text);
	file_put(dir, "policy.conf", policy);
	file_put(dir, "ca.pem", end_certificate());
	snprintf(path, sizeof(path), "%s/gatepost.conf", dir);
	site = site_load(path, &errors, NULL);
	if (!site)
		fprintf(stderr, "%s\n", buf_str(&errors));
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		unlink(path);
	}
	rmdir(dir);
	assert(site);
	return site;
}

static enum kernel_next idle(void *arg);
static bool connected(void *arg, struct wire *w, const struct net_addr *to);
static void smtp_open(void);
static void outbound_drop(void);

void rig_open(const char *text, const char *policy)
{
	AUTO(buf) struct buf err = BUF_INIT(4096);
	const struct kernel_ops ops = { idle, connected, NULL };

	memset(&rig, 0, sizeof(rig));
	rig.state.run = state_do;
	rig.store = (struct store){ store_file, store_take };
	fact_register_all();
	rig.site = site_of(text, policy);
	rig.dns = dns_table_new();
	kernel_begin(&ops, 1);
	assert(loop_init() == 0);
	if (filters_setup(rig.site, &err) != 0)
		rig_wrong(buf_str(&err), NULL);
	assert(tls_server_ctx(end_certificate(), end_key(), &own.tls, &err) == 0);
	assert(tls_client_ctx(false, NULL, &own.tls_any, &err) == 0);
	smtp_open();
}

void rig_close(void)
{
	outbound_drop();
	smtp_service_release(&own.smtp);
	loop_release();
	kernel_end();
	dns_table_free(rig.dns);
	site_free(rig.site);
	tls_ctx_free(own.tls);
	tls_ctx_free(own.tls_any);
}

/* --- what happens next --- */

static void answer_arrived(void *arg, const char *p, size_t len)
{
	mailhost_said(arg, p, len);
}

static bool connected(void *arg, struct wire *w, const struct net_addr *to)
{
	struct rig_server *s = &rig.server[rig.servers];

	if (rig.refuse || rig.servers == RIG_CONNECTIONS || (rig.scripted && rig.answers.at >= rig.answers.len))
		return false;
	rig.servers++;
	own.went_out |= to->ip[0] != 10;
	*s = (struct rig_server){ .scripted = rig.scripted, .smtp = to->port != 143 && to->port != 110 };
	end_begin(&s->end, w);
	s->end.pace = rig.server_pace;
	if (s->smtp)
		mailhost_begin(&s->mailhost, &rig.host, &s->end, s->scripted);
	else if (!s->scripted)
		mailbox_host_begin(&s->mailbox, &s->end, to->port == 143, rig.host.starttls);
	if (s->scripted) {
		s->end.arrived = s->smtp ? answer_arrived : NULL;
		s->end.arg = &s->mailhost;
		own.asked = s;
		script_resume(&rig.answers);
	}
	return true;
}

/* Under TLS pieces are not told apart: what is said has arrived. */
static void answers_said(struct end *e, const char *p, size_t len)
{
	if (own.asked && own.asked->smtp && e->ssl)
		mailhost_said(&own.asked->mailhost, p, len);
}

static int sessions(void)
{
	return own.smtp.sessions + own.access[0].sessions + own.access[1].sessions;
}

static bool ends_move(void)
{
	bool any = end_take(&rig.client.end);

	for (size_t i = 0; i < rig.servers; i++) {
		any |= end_take(&rig.server[i].end);
		if (rig.server[i].smtp)
			any |= mailhost_step(&rig.server[i].mailhost);
		else if (!rig.server[i].scripted)
			any |= mailbox_host_step(&rig.server[i].mailbox);
	}
	any |= end_deliver(&rig.client.end);
	for (size_t i = 0; i < rig.servers; i++)
		any |= end_deliver(&rig.server[i].end);
	return any;
}

/* The client's script, or who stands for it; over: it closes. */
static bool client_moves(void)
{
	struct end *e = &rig.client.end;
	enum script_state s = rig.client.step ? rig.client.step(e) : script_step(&rig.client.script, e);

	if (s == SCRIPT_DONE && e->w && e->then == END_STAYS && !e->w->in_end) {
		e->then = END_FIN;
		return true;
	}
	return s == SCRIPT_DID;
}

static bool server_moves(void)
{
	struct end *e = own.asked ? &own.asked->end : NULL;
	enum script_state s = e ? script_step(&rig.answers, e) : SCRIPT_WAITS;

	if (s == SCRIPT_DONE && e->w && e->then == END_STAYS && rig.answers.at >= rig.answers.len) {
		e->then = END_CLOSE;
		return true;
	}
	return s == SCRIPT_DID;
}

static enum kernel_next jump(void)
{
	rig.client.script.hasty = rig.answers.hasty = ++rig.jumps > JUMPS_HASTY;
	if (rig.jumps > JUMPS_MAX)
		rig_wrong("somebody waits for ever", &rig.client.end);
	return KERNEL_JUMP;
}

static enum kernel_next stop(void)
{
	loop_stop();
	return KERNEL_STOP;
}

static enum kernel_next idle(void *arg)
{
	if (ends_move())
		return KERNEL_AGAIN;
	if (own.settling)
		return stop();
	if (own.ending)
		return task_count() == 0 && kernel_open() == 0 ? stop() : jump();
	if (client_moves() || server_moves())
		return KERNEL_AGAIN;
	return (!rig.client.end.w || rig.client.end.over) && sessions() == 0 ? stop() : jump();
}

/* --- one session --- */

static void smtp_make(void)
{
	AUTO(buf) struct buf err = BUF_INIT(4096);
	struct smtp_service *svc = &own.smtp;

	svc->draining = false;
	svc->ledger.away_until_ms = 0;
	memset(svc->recent->slot, 0, sizeof(svc->recent->slot));
	assert(backend_group_new(rig.site, NULL, svc->dns, &svc->group, &err) == 0);
	svc->listener_group = calloc(rig.site->listener_count + 1, sizeof(struct backend_group *));
	for (size_t i = 0; i < rig.site->listener_count; i++)
		svc->listener_group[i] = svc->group;
	/* Contexts of TLS are dear: one that nobody has used is as good as new. */
	if (!svc->outbound)
		assert(outbound_new(rig.site, svc->dns, &rig.state, &svc->outbound, &err) == 0);
	assert(recipient_check_new(rig.site, &rig.state, rig.unasked ? NULL : svc->group, &svc->recipients, &err) == 0);
	assert(backend_group_start(svc->group) == 0);
}

static void outbound_drop(void)
{
	outbound_free(own.smtp.outbound);
	own.smtp.outbound = NULL;
}

static void smtp_drop(void)
{
	struct smtp_service *svc = &own.smtp;

	recipient_check_free(svc->recipients);
	free(svc->listener_group);
	backend_group_free(svc->group);
	svc->group = NULL;
	if (own.went_out)
		outbound_drop();
	own.went_out = false;
}

/* What costs more to make than a session, and has nothing in it when no session is left. */
static void smtp_open(void)
{
	own.smtp = (struct smtp_service){
		.site = rig.site, .dns = dns_table_dns(rig.dns), .state = &rig.state, .store = &rig.store, .login = &own.login,
		.destinations = &own.destinations, .tls = own.tls, .tls_any = own.tls_any, .ledger = { .until_s = &own.ledger_until_s },
	};
	assert(smtp_service_init(&own.smtp) == 0);
}

/* A site has either SMTP sessions to be run, or others. */
static bool has_listener(enum listener_protocol protocol)
{
	for (size_t i = 0; i < rig.site->listener_count; i++)
		if (rig.site->listener[i].protocol == protocol)
			return true;
	return false;
}

static void access_make(struct access_service *svc, const struct access_protocol *protocol)
{
	AUTO(buf) struct buf err = BUF_INIT(4096);
	const struct retrieval_conf conf = { .site = rig.site, .dns = dns_table_dns(rig.dns), .state = &rig.state, .store = &rig.store };

	*svc = (struct access_service){
		.protocol = protocol, .site = rig.site, .dns = conf.dns, .login = &own.login, .destinations = &own.destinations,
		.backends = own.backends, .tls = own.tls,
	};
	assert(access_servers_new(svc, &svc->servers, &err) == 0);
	svc->retrieval = retrieval_new(&conf);
	assert(svc->retrieval && access_service_init(svc) == 0);
	for (size_t i = 0; i < rig.site->listener_count; i++)
		svc->listener[i].places = &own.places;
}

static void access_drop(struct access_service *svc)
{
	access_service_release(svc);
	retrieval_free(svc->retrieval);
	access_servers_free(svc->servers);
	memset(svc, 0, sizeof(*svc));
}

void rig_begin(void)
{
	kernel_again(1);
	dns_table_forget(rig.dns);
	rig.records = 0;
	rig.kept = rig.jumps = 0;
	rig.servers = 0;
	rig.scripted = rig.refuse = false;
	rig.host = (struct mailhost_site){ .kept = BUF_INIT(KERNEL_BYTES_MAX), .starttls = rig.host.starttls, .plain = rig.host.plain };
	memset(&rig.client, 0, sizeof(rig.client));
	memset(&rig.answers, 0, sizeof(rig.answers));
	memset(&own.places, 0, sizeof(own.places));
	atomic_store(&own.ledger_until_s, 0);
	own.ending = false;
	own.asked = NULL;
	login_service_init(&own.login, rig.site, &rig.state, NULL);
	if (!has_listener(LISTENER_IMAP)) {
		smtp_make();
	} else {
		own.backends = tcp_backends_new(rig.site, dns_table_dns(rig.dns));
		access_make(&own.access[0], &pop3_protocol);
		access_make(&own.access[1], &imap_protocol);
	}
	own.settling = true;
	loop_run();
	own.settling = false;
}

struct end *rig_connect(const char *listener, const char *client)
{
	const struct listener_conf *l = NULL;
	struct net_addr from, local;
	struct wire *w;
	int fd;

	for (size_t i = 0; i < rig.site->listener_count; i++)
		if (strcmp(rig.site->listener[i].name, listener) == 0)
			l = &rig.site->listener[i];
	assert(l && net_parse_port(client, 50000, &from) == 0 && net_parse_port("192.0.2.25:25", 25, &local) == 0);
	fd = kernel_accept(&from, &local, &w);
	end_begin(&rig.client.end, w);
	if (l->protocol == LISTENER_SMTP)
		smtp_server_accept(&own.smtp, l, fd, &from);
	else
		access_server_accept(&own.access[l->protocol == LISTENER_IMAP], l, fd, &from);
	return &rig.client.end;
}

void rig_run(void)
{
	rig.answers.said = answers_said;
	loop_run();
}

void rig_finish(void)
{
	for (size_t i = 0; i < rig.servers; i++) {
		mailhost_release(&rig.server[i].mailhost);
		mailbox_host_release(&rig.server[i].mailbox);
		end_release(&rig.server[i].end);
	}
	rig.servers = 0;
	rig.refuse = true;
	end_release(&rig.client.end);
	if (own.smtp.group)
		smtp_drop();
	own.ending = true;
	loop_run();
	if (own.backends) {
		access_drop(&own.access[0]);
		access_drop(&own.access[1]);
		tcp_backends_free(own.backends);
		own.backends = NULL;
	}
	assert(kernel_open() == 0 && task_count() == 0);
	buf_release(&rig.host.kept);
	kernel_rest();
}

/* --- what was said --- */

static void transcript_of(struct buf *out, const char *who, const struct end *e)
{
	buf_addf(out, "=== %s heard\n", who);
	if (e->heard.len)
		buf_add(out, e->heard.data, e->heard.len);
	buf_addf(out, "\n=== %s%s\n", e->over ? "ended" : "open", e->notified ? ", with close_notify" : "");
}

void rig_transcript(struct buf *out)
{
	char who[32];

	transcript_of(out, "client", &rig.client.end);
	for (size_t i = 0; i < rig.servers; i++) {
		snprintf(who, sizeof(who), "server %zu", i);
		transcript_of(out, who, &rig.server[i].end);
	}
}

void rig_wrong(const char *what, const struct end *end)
{
	AUTO(buf) struct buf out = BUF_INIT(KERNEL_BYTES_MAX);

	kernel_log_show(true);
	rig_transcript(&out);
	fprintf(stderr, "%.*s\n--- log\n%s\n--- wrong: %s\n", (int)out.len, buf_str(&out), buf_str(kernel_log()), what);
	abort();
}
