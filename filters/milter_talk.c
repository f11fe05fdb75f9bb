#include "filters/milter_talk.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

/* A connection that waits for its session holds next to nothing: KEPT_MAX. */
enum { OUT_MAX = 4 * 1024 * 1024, FLUSH_AT = 128 * 1024, READ_MAX = 16 * 1024, KEPT_MAX = 1024 };

/* What Sendmail and Postfix say for a filter that gives no words. */
static const char reject_reply[] = "550 5.7.1 Command rejected";
static const char tempfail_reply[] = "451 4.7.1 Service unavailable - try again later";

void milter_talk_init(struct milter_talk *t, const struct milter_io *io, int command_ms, int content_ms)
{
	*t = (struct milter_talk){ .io = *io, .command_ms = command_ms, .content_ms = content_ms, .why = "" };
	buf_init(&t->in, MILTER_PACKET_MAX + READ_MAX + 16);
	buf_init(&t->out, OUT_MAX);
}

void milter_talk_release(struct milter_talk *t)
{
	buf_release(&t->in);
	buf_release(&t->out);
	milter_terms_release(&t->terms);
	memset(t, 0, sizeof(*t));
}

static int broken(struct milter_talk *t, int rc, const char *why)
{
	t->failed = true;
	t->why = why;
	return rc;
}

static int io_failed(struct milter_talk *t, int rc)
{
	return broken(t, rc, rc == -ETIMEDOUT ? "no answer in time" : rc == -EPIPE || rc == -ECONNRESET ? "closed the connection" : strerror(-rc));
}

static int64_t deadline(const struct milter_talk *t, bool in_message)
{
	int64_t at = clock_ms() + (in_message ? t->content_ms : t->command_ms);

	return t->until_ms && t->until_ms < at ? t->until_ms : at;
}

int milter_talk_flush(struct milter_talk *t, bool in_message)
{
	int rc;

	if (t->failed)
		return -EPIPE;
	if (t->out.failed)
		return broken(t, -ENOMEM, "out of memory");
	if (!t->out.len)
		return 0;
	rc = t->io.write(t->io.arg, t->out.data, t->out.len, deadline(t, in_message));
	buf_clear(&t->out);
	if (t->out.cap > KEPT_MAX)
		buf_release(&t->out);
	return rc < 0 ? io_failed(t, rc) : 0;
}

/* The next packet; valid until the next call. may wait */
static int next_packet(struct milter_talk *t, bool in_message, struct milter_packet *p)
{
	int64_t until = deadline(t, in_message);

	buf_eat(&t->in, t->eaten);
	t->eaten = 0;
	for (;;) {
		enum milter_read got = milter_packet_read(t->in.data, t->in.len, &t->eaten, p);
		int n;

		if (got == MILTER_READ_OK)
			return 0;
		t->eaten = 0;
		if (got == MILTER_READ_BAD)
			return broken(t, -EPROTO, "a packet of no length or too long");
		if (buf_reserve(&t->in, READ_MAX) < 0)
			return broken(t, -ENOMEM, "out of memory");
		n = t->io.read(t->io.arg, t->in.data + t->in.len, READ_MAX, until);
		if (n < 0)
			return io_failed(t, n);
		t->in.len += (size_t)n;
	}
}

/* No answer may be there that nobody has asked for. */
static int nothing_left(struct milter_talk *t)
{
	buf_eat(&t->in, t->eaten);
	t->eaten = 0;
	if (t->in.len)
		return broken(t, -EPROTO, "answers more than it was asked");
	if (t->in.cap > KEPT_MAX)
		buf_release(&t->in);
	return 0;
}

int milter_talk_negotiate(struct milter_talk *t, int version)
{
	struct milter_packet p;
	int rc;

	milter_put_negotiate(&t->out, version);
	rc = milter_talk_flush(t, false);
	if (rc == 0)
		rc = next_packet(t, false, &p);
	if (rc < 0)
		return rc;
	rc = milter_terms_read(&p, version, &t->terms, &t->why);
	if (rc < 0)
		return broken(t, rc, rc == -ENOMEM ? "out of memory" : t->why);
	return nothing_left(t);
}

static void say(struct milter_said *said, enum milter_verdict verdict, const char *reply)
{
	said->verdict = verdict;
	snprintf(said->reply, sizeof(said->reply), "%s", reply);
}

/* A final answer as a verdict. 0 or -EPROTO. */
static int verdict_of(struct milter_talk *t, const struct milter_reply *r, struct milter_said *said)
{
	switch (r->what) {
	case MILTER_CONTINUE:
		say(said, MILTER_SAYS_CONTINUE, "");
		return 0;
	case MILTER_ACCEPT:
		say(said, MILTER_SAYS_ACCEPT, "");
		return 0;
	case MILTER_SKIP:
		say(said, MILTER_SAYS_SKIP, "");
		return 0;
	case MILTER_DISCARD:
		say(said, MILTER_SAYS_DISCARD, "");
		return 0;
	case MILTER_REJECT:
		say(said, MILTER_SAYS_REJECT, reject_reply);
		return 0;
	case MILTER_TEMPFAIL:
	case MILTER_SHUTDOWN:
		say(said, MILTER_SAYS_TEMPFAIL, tempfail_reply);
		return 0;
	case MILTER_CONNECTION_FAIL:
		return broken(t, -EPROTO, "says that the connection has failed");
	default:
		break;
	}
	if (r->what != MILTER_REPLY_CODE || !milter_reply_text(r->text[0], said->reply, sizeof(said->reply)))
		return broken(t, -EPROTO, "a reply that is none of SMTP");
	/* 421 would close the client's session; what other recipients and messages it has is not this filter's. */
	if (memcmp(said->reply, "421", 3) == 0)
		memcpy(said->reply, "451", 3);
	said->verdict = said->reply[0] == '5' ? MILTER_SAYS_REJECT : MILTER_SAYS_TEMPFAIL;
	return 0;
}

/* Up to a final answer. change NULL: none is allowed. may wait */
static int answer(struct milter_talk *t, bool in_message, int (*change)(void *arg, const struct milter_reply *r), void *arg, struct milter_said *said)
{
	for (int progress = 0;;) {
		struct milter_packet p;
		struct milter_reply r;
		int rc = next_packet(t, in_message, &p);

		if (rc < 0)
			return rc;
		rc = milter_reply_read(&p, &r, &t->why);
		if (rc < 0)
			return broken(t, rc, t->why);
		if (milter_is_final(r.what)) {
			rc = verdict_of(t, &r, said);
			return rc < 0 ? rc : nothing_left(t);
		}
		if (r.what == MILTER_PROGRESS) {
			if (++progress > MILTER_PROGRESS_MAX)
				return broken(t, -EPROTO, "says without end that it makes progress");
			continue;
		}
		if (!change)
			return broken(t, -EPROTO, "changes the message before its end");
		rc = change(arg, &r);
		if (rc < 0)
			return broken(t, rc, rc == -EMSGSIZE ? "changes more than is taken" : strerror(-rc));
	}
}

int milter_talk_ask(struct milter_talk *t, uint32_t quiet, bool in_message, struct milter_said *said)
{
	int rc;

	say(said, MILTER_SAYS_CONTINUE, "");
	if (t->failed)
		return -EPIPE;
	if (t->terms.steps & quiet)
		return t->out.len >= FLUSH_AT ? milter_talk_flush(t, in_message) : 0;
	rc = milter_talk_flush(t, in_message);
	return rc < 0 ? rc : answer(t, in_message, NULL, NULL, said);
}

int milter_talk_end(struct milter_talk *t, int (*change)(void *arg, const struct milter_reply *r), void *arg, struct milter_said *said)
{
	int rc;

	say(said, MILTER_SAYS_CONTINUE, "");
	rc = milter_talk_flush(t, true);
	return rc < 0 ? rc : answer(t, true, change, arg, said);
}

void milter_talk_quit(struct milter_talk *t, int64_t deadline_ms)
{
	if (t->failed)
		return;
	milter_put(&t->out, MILTER_QUIT, NULL, 0);
	if (!t->out.failed && t->out.len)
		t->io.write(t->io.arg, t->out.data, t->out.len, deadline_ms);
	broken(t, -EPIPE, "has been told that all is said");
}
