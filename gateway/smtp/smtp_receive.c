/* The message arrives, by DATA (RFC 5321 4.1.1.4) or in chunks (BDAT, RFC 3030); filters see it as it comes. */
#include "smtp/smtp_session.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/load.h"
#include "base/log.h"
#include "filters/boundary.h"
#include "filters/filter.h"
#include "hop/backend.h"
#include "policy/store.h"

static const char short_of_memory[] = "452 4.3.1 short of memory, try again later";

enum { HASHED_AT_ONCE = 256 * 1024 };           /* then others get their turn */

static int open_file(void *arg)
{
	struct smtp_session *s = arg;

	return s->svc->store ? store_open(s->svc->store) : -ENOSPC;
}

/* The message is not wanted any more: what still comes is thrown away, and reply is what the client hears at its end. */
static void give_up(struct smtp_txn *t, const char *reply)
{
	if (t->receive_reply)
		return;
	t->receive_reply = reply;
	message_free(t->txn.message);
	t->txn.message = NULL;
}

static void give_up_errno(struct smtp_txn *t, int rc)
{
	if (rc == -EMSGSIZE)
		give_up(t, "552 5.3.4 the header is larger than is taken here");
	else if (rc == -ENOSPC || rc == -EDQUOT)
		give_up(t, "452 4.3.1 no space for the message, try again later");
	else
		give_up(t, "451 4.3.0 the message could not be stored, try again later");
}

static int feed_filters(struct smtp_session *s, const char *p, size_t len)
{
	struct smtp_txn *t = s->t;
	int rc = filters_body(&t->txn, s->svc->needed, p, len);

	t->hashed += len;
	if (t->hashed >= HASHED_AT_ONCE) {
		t->hashed = 0;
		task_yield();
	}
	return rc;
}

/* The header is complete: lookups that need it begin; what came behind it is the first of the body. */
static int header_done(struct smtp_session *s)
{
	struct message *m = s->t->txn.message;
	size_t off = message_body_offset(m), n;
	const char *p;
	int rc = 0;

	/* Whose message it is that a trusted relay brings stands in the header: now the client can be looked at. */
	if (s->t->origin && s->t->origin->boundary == BOUNDARY_PENDING) {
		boundary_settle(&s->t->txn);
		filters_start(&s->t->txn, STAGE_CONNECT, s->svc->needed);
		filters_start(&s->t->txn, STAGE_HELO, s->svc->needed);
		filters_start(&s->t->txn, STAGE_MAIL, s->svc->needed);
	}
	s->t->txn.stage = STAGE_HEADER;
	filters_start(&s->t->txn, STAGE_HEADER, s->svc->needed);
	while (rc == 0 && off < message_size(m)) {
		rc = message_read(m, off, &p, &n);
		if (rc == 0)
			rc = feed_filters(s, p, n);
		off += n;
	}
	return rc;
}

static void keep(struct smtp_session *s, const char *p, size_t len)
{
	struct smtp_txn *t = s->t;
	bool had_header;
	int rc;

	t->received += len;
	if (!t->receive_reply && t->received > s->svc->site->limits.message_bytes)
		give_up(t, "552 5.3.4 the message is larger than is taken here");
	if (t->receive_reply || !len)
		return;
	had_header = message_header_done(t->txn.message);
	rc = message_add(t->txn.message, p, len);
	if (rc == 0 && had_header)
		rc = feed_filters(s, p, len);
	else if (rc == 0 && message_header_done(t->txn.message))
		rc = header_done(s);
	if (rc < 0)
		give_up_errno(t, rc);
}

/* All octets are there. */
static void complete(struct smtp_session *s)
{
	struct smtp_txn *t = s->t;
	bool had_header;
	int rc;

	assert(t);
	if (t->receive_reply)
		return;
	had_header = message_header_done(t->txn.message);
	rc = message_end(t->txn.message);
	if (rc == 0 && !had_header)
		rc = header_done(s);
	if (rc < 0)
		give_up_errno(t, rc);
	else if (message_has_nul(t->txn.message))
		give_up(t, "550 5.6.0 the message has a NUL octet, RFC 5322 knows none");
	/*
	 * A chunk may have it, and it becomes a line end on the way to a backend without CHUNKING:
	 * fields that no filter has seen, forged Authentication-Results too.
	 */
	else if (message_header_has_bare_cr(t->txn.message))
		give_up(t, "550 5.6.11 the header has a CR alone");
}

static int begin_message(struct smtp_session *s, bool bdat)
{
	struct smtp_txn *t = s->t;
	const struct site *site = s->svc->site;

	assert(t);
	t->bdat = bdat;
	smtp_legs_tidy(t);
	smtp_limit_note(s, USE_MESSAGES);
	if (site->timeouts.transaction_ms) {
		int64_t end = clock_ms() + site->timeouts.transaction_ms;

		if (!s->deadline_ms || end < s->deadline_ms)
			stream_set_deadline(s->stream, end);
	}
	t->txn.message = message_new(&site->limits.message, open_file, s);
	if (!t->txn.message)
		give_up_errno(t, -ENOMEM);
	return 0;
}

/* One piece as it came, decoded. DATA_MORE, or what ended it; *used octets were eaten. */
static enum smtp_data_event take(struct smtp_session *s, const char *in, size_t len, size_t *used)
{
	enum smtp_data_event event = DATA_MORE;

	for (*used = 0; *used < len;) {
		size_t eaten, n;
		const char *p;

		event = smtp_data_decode(&s->t->data, in + *used, len - *used, &eaten, &p, &n);
		keep(s, p, n);
		*used += eaten;
		if (event == DATA_BARE)
			give_up(s->t, "550 5.6.11 the message has a CR or LF alone, refused here");
		else if (event == DATA_NUL)
			give_up(s->t, "550 5.6.0 the message has a NUL octet, RFC 5322 knows none");
		else if (event != DATA_MORE)
			break;
	}
	return event == DATA_END || event == DATA_SMUGGLED ? event : DATA_MORE;
}

/* What has come of the message. A client that takes its time gives its session with the backend to others meanwhile. may wait */
static int next_piece(struct smtp_session *s, const char **p, size_t *len)
{
	int wait_ms = s->svc->site->timeouts.data_block_ms, spare_ms = s->t ? smtp_legs_spare_ms(s->t) : -1, rc;

	if (spare_ms > 0 && spare_ms < wait_ms) {
		rc = stream_peek(s->stream, spare_ms, p, len);
		if (rc != -ETIMEDOUT)
			return rc;
		wait_ms -= spare_ms;
	}
	if (spare_ms >= 0)
		smtp_legs_pause(s->t);
	return stream_peek(s->stream, wait_ms, p, len);
}

/* Up to the end of the data. 0, -EBADMSG for smuggling, or an error of the stream. may wait */
static int receive_data(struct smtp_session *s)
{
	enum smtp_data_event event = DATA_MORE;

	smtp_data_init(&s->t->data, s->svc->site->bare_lf == BARE_REFUSE);
	while (event == DATA_MORE) {
		size_t len, used;
		const char *p;
		int rc = next_piece(s, &p, &len);

		if (rc < 0)
			return rc;
		event = take(s, p, len, &used);
		smtp_limit_bytes(s, used);
		stream_eat(s->stream, used);
	}
	return event == DATA_SMUGGLED ? -EBADMSG : 0;
}

static int end_message(struct smtp_session *s)
{
	int rc;

	stream_set_deadline(s->stream, s->deadline_ms);
	complete(s);
	rc = smtp_judge_message(s);
	smtp_transaction_end(s);
	task_stack_trim();
	return rc;
}

static void log_interrupted(struct smtp_session *s, int rc)
{
	if (rc == -ETIMEDOUT)
		smtp_log_broken(s, "timeout", "421 4.4.2");
	else
		smtp_log_broken(s, rc == -ECANCELED ? "shutdown" : "client-gone", NULL);
}

int smtp_do_data(struct smtp_session *s, struct smtp_command *c)
{
	int rc;

	if (s->state != SMTP_RCPT)
		return smtp_refuse_following(s, "554 5.5.1 no valid recipients");
	if (load_memory_short(s->svc->load)) {
		smtp_log_broken(s, "short of memory", short_of_memory);
		smtp_transaction_end(s);
		return smtp_say(s, short_of_memory);
	}
	rc = begin_message(s, false);
	if (rc == 0)
		rc = smtp_say(s, "354 end with a line that holds a dot alone");
	if (rc == 0)
		rc = receive_data(s);
	if (rc == 0)
		return end_message(s);
	if (rc == -EBADMSG) {
		smtp_log_broken(s, "smuggling", "550 5.5.2");
		s->state = SMTP_CLOSING;
		smtp_say(s, "550 5.5.2 a dot stands beside a CR or LF alone: refused, closing");
		return 0;
	}
	log_interrupted(s, rc);
	return rc;
}

/* The octets of one chunk. wanted: they belong to a message. may wait */
static int receive_chunk(struct smtp_session *s, uint64_t left, bool wanted)
{
	while (left) {
		size_t len;
		const char *p;
		int rc = next_piece(s, &p, &len);

		if (rc < 0)
			return rc;
		if (len > left)
			len = (size_t)left;
		if (wanted)
			keep(s, p, len);
		smtp_limit_bytes(s, len);
		stream_eat(s->stream, len);
		left -= len;
	}
	return 0;
}

/* A chunk's octets follow whatever we think of the command: they are eaten, or the connection is closed. */
static const char *refuse_chunk(struct smtp_session *s, const struct smtp_command *c)
{
	if (s->state != SMTP_RCPT && s->state != SMTP_BDAT)
		return s->state == SMTP_MAIL ? "554 5.5.1 no valid recipients" : "503 5.5.1 MAIL and RCPT first";
	return NULL;
}

int smtp_do_bdat(struct smtp_session *s, struct smtp_command *c)
{
	const char *refusal = refuse_chunk(s, c);
	uint64_t bound = 2 * s->svc->site->limits.message_bytes, had = s->t ? s->t->received : 0;
	int rc = 0;

	if (c->chunk > bound || had + c->chunk > bound) {
		s->state = SMTP_CLOSING;
		return smtp_say(s, "552 5.3.4 the message is larger than is taken here, closing");
	}
	if (!refusal && s->state == SMTP_RCPT)
		rc = begin_message(s, true);
	if (!refusal && s->state == SMTP_RCPT && rc == 0 && load_memory_short(s->svc->load))
		give_up(s->t, short_of_memory);
	if (!refusal)
		s->state = SMTP_BDAT;
	if (rc == 0)
		rc = receive_chunk(s, c->chunk, !refusal);
	if (rc < 0) {
		log_interrupted(s, rc);
		return rc;
	}
	if (refusal)
		return smtp_refuse(s, refusal);
	assert(s->t);
	if (c->last || s->t->receive_reply)     /* who is refused hears it at once; chunks behind it are out of place, and eaten */
		return end_message(s);
	return smtp_sayf(s, "250 2.0.0 %llu octets received", (unsigned long long)c->chunk);
}
