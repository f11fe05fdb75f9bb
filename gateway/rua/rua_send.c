#include "rua/rua_send.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/task.h"
#include "filters/dmarc_walk.h"
#include "filters/message.h"
#include "policy/conf.h"
#include "policy/dmarc_report.h"
#include "policy/dmarc_report_xml.h"
#include "policy/rua_day.h"
#include "policy/spool.h"
#include "rua/rua_authorize.h"
#include "rua/rua_gzip.h"
#include "rua/rua_mail.h"
#include "smtp/signing.h"
#include "smtp/smtp_server.h"
#include "spool/spool_route.h"

enum {
	PIECE = 128 * 1024,             /* of text, between two looks at what else is to be done */
	RECORD_MAX = 1024 * 1024,       /* one record as XML: 100 signatures, escaped */
	HEADER_MAX = 256 * 1024,
	NOTE_TRIES = 3, NOTE_PAUSE_MS = 1000,
	TO_TEXT_MAX = 8192,
};

/* An address that the domain names. */
struct aim {
	struct rua_uri uri;
	const char *wrong;              /* it is none; or NULL */
	struct dns_lookup *question;    /* may be NULL */
};

struct sending {
	struct smtp_service *svc;
	struct channel *history;
	int64_t day;
	const struct rua_domain *domain;
	bool last;
	struct rua_uri *to;             /* whom it goes to */
	size_t to_count;
	struct dmarc_report *report;
	struct buf gz;
	struct message *message;        /* as it will be sent, but for: */
	struct buf header;
	const char *why;                /* it was not sent */
};

/* --- whom it goes to --- */

static bool is_known(const struct sending *s, const char *address)
{
	for (size_t i = 0; i < s->to_count; i++)
		if (strcmp(s->to[i].address, address) == 0)
			return true;
	return false;
}

static void say_not(const struct sending *s, const char *uri, const char *why)
{
	log_info("rua-address", "domain", s->domain->name, "address", uri, "why", why, NULL);
}

/* false: not now. may wait */
static bool consider(struct sending *s, struct dmarc_walks *walks, const char *text, const struct aim *a)
{
	char route[SPOOL_ROUTE_MAX];
	struct rua_uri u = a->uri;
	const char *why = a->wrong;
	enum rua_leave leave = RUA_DENIED;

	if (!why && s->to_count == (size_t)s->svc->site->rua.destinations)
		why = "there are others before it, and rua_destinations is reached";
	if (!why)
		leave = rua_authorize(s->svc->dns, walks, s->domain->name, &u, a->question, &why);
	if (leave == RUA_UNKNOWN && !s->last) {
		s->why = why;
		return false;
	}
	if (leave == RUA_GRANTED && !spool_route_address(s->svc, u.address, route)) {
		leave = RUA_DENIED;
		why = "there is no way to it";
	}
	if (leave != RUA_GRANTED)
		say_not(s, text, why);
	else if (!is_known(s, u.address))
		s->to[s->to_count++] = u;
	return true;
}

/* All that has to be known of all of them is asked at once: with a DNS that is slow they cost what one costs. */
static void ask_all(const struct sending *s, struct dmarc_walks *walks, struct aim *aim)
{
	for (size_t i = 0; i < s->domain->rua_count; i++) {
		const char *text = s->domain->rua[i];

		aim[i].wrong = rua_uri_parse(text, strlen(text), &aim[i].uri);
		if (!aim[i].wrong)
			rua_authorize_start(s->svc->dns, walks, s->domain->name, &aim[i].uri, &aim[i].question);
	}
}

/* may wait */
static enum rua_sent choose_of(struct sending *s, struct dmarc_walks *walks, const struct aim *aim)
{
	for (size_t i = 0; i < s->domain->rua_count; i++)
		if (!consider(s, walks, s->domain->rua[i], &aim[i]))
			return RUA_SENT_LATER;
	s->why = "there is no address that it may be sent to";
	return s->to_count ? RUA_SENT : RUA_SENT_NOT;
}

/* may wait */
static enum rua_sent choose(struct sending *s)
{
	AUTO(dmarc_walks) struct dmarc_walks *walks = dmarc_walks_new(s->svc->dns);
	struct aim *aim = calloc(s->domain->rua_count, sizeof(*aim));
	enum rua_sent sent = RUA_SENT_LATER;

	s->to = calloc((size_t)s->svc->site->rua.destinations, sizeof(*s->to));
	s->why = "out of memory";
	if (walks && aim && s->to) {
		ask_all(s, walks, aim);
		sent = choose_of(s, walks, aim);
	}
	for (size_t i = 0; aim && i < s->domain->rua_count; i++)
		dns_drop(aim[i].question);
	free(aim);
	return sent;
}

/* --- the report, compressed --- */

/* What there is of it so far is compressed, and the others have their turn. */
static int compress(struct rua_gzip *g, struct buf *xml)
{
	int rc = xml->failed ? -ENOMEM : rua_gzip_add(g, xml->data, xml->len);

	buf_clear(xml);
	task_yield();
	return rc == 0 && task_cancelled() ? -ECANCELED : rc;
}

static int write_xml(const struct dmarc_report *r, struct rua_gzip *g)
{
	AUTO(buf) struct buf xml = BUF_INIT(PIECE + RECORD_MAX);
	int rc = 0;

	dmarc_report_xml_begin(r, &xml);
	for (size_t i = 0; rc == 0 && i < r->record_count; i++) {
		dmarc_report_xml_record(&r->records[i], &xml);
		if (xml.len >= PIECE || xml.failed)
			rc = compress(g, &xml);
	}
	dmarc_report_xml_end(&xml);
	if (rc == 0)
		rc = compress(g, &xml);
	return rc < 0 ? rc : rua_gzip_end(g);
}

/* may wait */
static enum rua_sent fetch(struct sending *s)
{
	const struct rua_conf *conf = &s->svc->site->rua;
	const struct rua_reporter who = { .org_name = conf->org, .email = conf->from, .contact = conf->contact, .host = s->svc->site->hostname };
	AUTO(rua_gzip) struct rua_gzip *g = NULL;
	int rc = rua_day_report(s->history, s->day, s->domain->name, &who, &s->report);

	if (rc == -ENOENT)
		return RUA_SENT_ELSEWHERE;
	s->why = rc < 0 ? "the history does not give it" : "there is nothing in it";
	if (rc < 0)
		return RUA_SENT_LATER;
	if (!s->report->record_count)
		return RUA_SENT_NOT;
	g = rua_gzip_new(&s->gz);
	rc = g ? write_xml(s->report, g) : -ENOMEM;
	s->why = rc == -ENOSPC ? "it is larger than rua_max_size" : rc == -ECANCELED ? "this worker ends" : "out of memory";
	return rc == 0 ? RUA_SENT : rc == -ENOSPC ? RUA_SENT_NOT : RUA_SENT_LATER;
}

/* --- the message --- */

static uint64_t messages(const struct dmarc_report *r)
{
	uint64_t n = 0;

	for (size_t i = 0; i < r->record_count; i++)
		n += r->records[i].count;
	return n;
}

static int draft_fd(void *arg)
{
	return spool_open(((struct smtp_service *)arg)->spool);
}

static int add_all(struct message *m, struct buf *text)
{
	int rc = text->failed ? -ENOSPC : message_add(m, text->data, text->len);

	buf_clear(text);
	task_yield();
	return rc == 0 && task_cancelled() ? -ECANCELED : rc;
}

/* The whole, as a message. may wait */
static int write_message(struct sending *s, const struct rua_mail *mail)
{
	static const struct message_limits limits = { .memory_bytes = 256 * 1024, .header_bytes = HEADER_MAX, .header_fields = 1000 };
	AUTO(buf) struct buf text = BUF_INIT(HEADER_MAX + 2 * PIECE);
	const size_t step = PIECE / RUA_MAIL_STEP * RUA_MAIL_STEP;
	int rc = 0;

	message_free(s->message);
	s->message = message_new(&limits, draft_fd, s->svc);
	if (!s->message)
		return -ENOMEM;
	rua_mail_head(mail, &text);
	for (size_t at = 0; rc == 0 && at < s->gz.len; at += step) {
		rua_mail_lines(s->gz.data + at, s->gz.len - at < step ? s->gz.len - at : step, &text);
		rc = add_all(s->message, &text);
	}
	rua_mail_tail(mail, &text);
	if (rc == 0)
		rc = add_all(s->message, &text);
	return rc < 0 ? rc : message_end(s->message);
}

/* Its header, signed where it is to be. may wait */
static int write_header(struct sending *s)
{
	const char *p;
	size_t begin = message_body_offset(s->message), n;
	int rc = 0;

	buf_clear(&s->header);
	for (size_t at = 0; rc == 0 && at < begin; at += n) {
		rc = message_read(s->message, at, &p, &n);
		if (rc == 0 && n == 0)
			rc = -EIO;
		n = n < begin - at ? n : begin - at;
		if (rc == 0)
			rc = buf_add(&s->header, p, n);
	}
	return rc < 0 ? rc : signing_apply_own(s->svc->site, s->message, s->report->report_id, &s->header);
}

static size_t length(const struct sending *s)
{
	return s->header.len + message_size(s->message) - message_body_offset(s->message);
}

/* For all of s->to. may wait */
static int compose(struct sending *s)
{
	const struct rua_conf *conf = &s->svc->site->rua;
	const char **to = calloc(s->to_count, sizeof(*to));
	int rc = -ENOMEM;

	if (to) {
		struct rua_mail mail = {
			.from = conf->from, .host = s->svc->site->hostname, .org = conf->org, .contact = conf->contact, .domain = s->domain->name, .report_id = s->report->report_id,
			.begin_s = s->report->begin_s, .end_s = s->report->end_s, .messages = messages(s->report), .rows = s->report->record_count,
			.now_s = clock_wall_s(), .to = to, .to_count = s->to_count,
		};

		for (size_t i = 0; i < s->to_count; i++)
			to[i] = s->to[i].address;
		rc = write_message(s, &mail);
	}
	free(to);
	return rc < 0 ? rc : write_header(s);
}

/* Those that do not take so much are left out. true: there were such. */
static bool leave_out(struct sending *s)
{
	size_t len = length(s), n = 0, was = s->to_count;

	for (size_t i = 0; i < was; i++) {
		if (s->to[i].max_bytes < len)
			say_not(s, s->to[i].address, "the report is larger than its limit");
		else
			s->to[n++] = s->to[i];
	}
	s->to_count = n;
	return n < was;
}

/* may wait */
static enum rua_sent write_mail(struct sending *s)
{
	int rc = compose(s);

	if (rc == 0 && length(s) > s->svc->site->rua.max_bytes) {
		s->why = "it is larger than rua_max_size";
		return RUA_SENT_NOT;
	}
	/* Without some of the addresses it is not longer. */
	if (rc == 0 && leave_out(s)) {
		s->why = "it is larger than everybody's limit";
		if (!s->to_count)
			return RUA_SENT_NOT;
		rc = compose(s);
	}
	s->why = rc == -ECANCELED ? "this worker ends" : "it could not be written, or not be signed";
	return rc == 0 ? RUA_SENT : s->last ? RUA_SENT_NOT : RUA_SENT_LATER;
}

/* --- on its way --- */

static struct spool_envelope *envelope(const struct sending *s)
{
	struct spool_envelope *e = spool_envelope_new();
	char route[SPOOL_ROUTE_MAX];

	if (!e)
		return NULL;
	e->sender = strdup("");
	e->params = strdup("");
	e->direction = SPOOL_OUTBOUND;
	e->minor = true;
	for (size_t i = 0; e->sender && e->params && i < s->to_count; i++)
		if (!spool_route_address(s->svc, s->to[i].address, route) || !spool_envelope_add(e, s->to[i].address, "NOTIFY=NEVER", route))
			break;
	if (e->rcpt_count == s->to_count)
		return e;
	spool_envelope_free(e);
	return NULL;
}

/* may wait */
static enum rua_sent keep(struct sending *s, char id[STORE_ID_MAX])
{
	AUTO(spool_envelope) struct spool_envelope *e = envelope(s);
	int fd = e ? spool_draft(s->svc->spool, &s->header, s->message) : -ENOMEM, rc = fd;

	if (fd >= 0) {
		rc = spool_keep(s->svc->spool, fd, e, id);
		close(fd);
	}
	s->why = rc == -ENOSPC ? "the spool is full" : "the spool does not take it";
	return rc < 0 ? RUA_SENT_LATER : RUA_SENT;
}

/* A keeper that is being started again is waited for. false: whoever asks has to say it later. may wait */
static bool note(const struct sending *s, enum rua_fate fate, const char *why)
{
	int rc = -EPIPE;

	for (int i = 0; i < NOTE_TRIES && rc < 0 && rc != -ENOENT && !task_cancelled(); i++) {
		if (i > 0)
			task_sleep(NOTE_PAUSE_MS);
		rc = rua_day_done(s->history, s->day, s->domain->name, fate, why);
	}
	return rc == 0 || rc == -ENOENT;
}

static void log_outcome(const struct sending *s, enum rua_sent sent, const char *id)
{
	static const char *const event[] = { [RUA_SENT] = "rua-sent", [RUA_SENT_NOT] = "rua-given-up", [RUA_SENT_LATER] = "rua-later" };
	AUTO(buf) struct buf to = BUF_INIT(TO_TEXT_MAX);
	char day[40] = "?";
	time_t begin = (time_t)(s->day * RUA_DAY_S);
	struct tm tm;
	struct log_line l;

	if (gmtime_r(&begin, &tm))
		strftime(day, sizeof(day), "%Y-%m-%d", &tm);
	for (size_t i = 0; i < s->to_count; i++)
		buf_addf(&to, "%s<%s>", i ? "," : "", s->to[i].address);
	log_start(&l, sent == RUA_SENT_LATER ? LOG_LEVEL_INFO : LOG_LEVEL_NOTICE, event[sent]);
	log_str(&l, "domain", s->domain->name);
	log_str(&l, "day", day);
	log_str(&l, "why", sent == RUA_SENT ? NULL : s->why);
	if (sent == RUA_SENT) {
		log_str(&l, "to", buf_str(&to));
		log_str(&l, "spool", id);
		log_str(&l, "report", s->report->report_id);
		log_num(&l, "messages", (int64_t)messages(s->report));
		log_num(&l, "rows", (int64_t)s->report->record_count);
		log_num(&l, "bytes", (int64_t)length(s));
	}
	log_emit(&l);
}

/* From the report to the spool, by so many at once as the gate lets in. may wait */
static enum rua_sent make(struct sending *s, struct gate *gate, char id[STORE_ID_MAX])
{
	enum rua_sent sent;

	s->why = "this worker ends";
	if (gate_enter(gate, -1) < 0)
		return RUA_SENT_LATER;
	sent = fetch(s);
	if (sent == RUA_SENT)
		sent = write_mail(s);
	if (sent == RUA_SENT)
		sent = keep(s, id);
	gate_leave(gate);
	return sent;
}

enum rua_sent rua_send(const struct rua_sender *sender, int64_t day, const struct rua_domain *d, bool last, bool *noted)
{
	struct sending s = {
		.svc = sender->svc, .history = sender->history, .day = day, .domain = d, .last = last, .why = "",
		.gz = BUF_INIT(sender->svc->site->rua.max_bytes), .header = BUF_INIT(HEADER_MAX + SIGNING_MAX),
	};
	char id[STORE_ID_MAX] = "";
	enum rua_sent sent = choose(&s);

	*noted = false;
	/* What was not waited for is no answer. */
	if (task_cancelled()) {
		s.why = "this worker ends";
		sent = RUA_SENT_LATER;
	}
	if (sent == RUA_SENT)
		sent = make(&s, sender->gate, id);
	if (sent != RUA_SENT_ELSEWHERE)
		log_outcome(&s, sent, id);
	if (sent == RUA_SENT || sent == RUA_SENT_NOT)
		*noted = note(&s, sent == RUA_SENT ? RUA_REPORTED : RUA_GIVEN_UP, sent == RUA_SENT ? NULL : s.why);
	message_free(s.message);
	buf_release(&s.gz);
	buf_release(&s.header);
	dmarc_report_free(s.report);
	free(s.to);
	return sent;
}
