/* smtp_limit - how much a client's network may ask of us in a time (limit/limit.h): each step of the dialogue that uses a limit */
#include <errno.h>
#include <string.h>

#include "base/stream.h"
#include "smtp/smtp_session.h"

static const char commands_reply[] = "421 4.7.0 too many commands from your network in a short time, closing; try again in some minutes";
static const char errors_reply[] = "421 4.7.0 too many errors from your network in a short time, closing; try again in some minutes";
static const char harvest_reply[] = "421 4.7.0 too many unknown recipients from your network, closing; try again later, with addresses that exist";
static const char shut_reply[] = "450 4.7.1 too many unknown recipients from your network, none is looked up for now, try again later";
static const char recipients_reply[] = "450 4.7.1 too many recipients from your network in a short time, try again in some minutes";
static const char messages_reply[] = "450 4.7.1 too many messages from your network in a short time, try again in some minutes";
static const char bytes_reply[] = "450 4.7.1 too many bytes from your network in a short time, try again in some minutes";
static const char slowed_reply[] = "421 4.7.0 too many sessions from your network are slowed down, closing; try again in some minutes";

/* Who has logged in is one of ours. */
static struct limit_client *counted(struct smtp_session *s)
{
	return s->admitted && s->admission.limit.svc && !s->client.relay ? &s->admission.limit : NULL;
}

/* The session ends with these words. */
static int end(struct smtp_session *s, const char *reply)
{
	int rc;

	s->state = SMTP_CLOSING;
	rc = smtp_say(s, reply);
	return rc < 0 ? rc : 1;
}

/* Who is slowed down keeps no session with the backend from others. */
static void pause_delivery(struct smtp_session *s, int delay_ms)
{
	int spare_ms = s->t ? smtp_legs_spare_ms(s->t) : -1;

	if (spare_ms >= 0 && delay_ms > spare_ms)
		smtp_legs_pause(s->t);
}

/* 0: go on; 1: the client has its answer; or an error: it has gone. may wait */
static int wait(struct smtp_session *s, enum use_kind kind, int delay_ms)
{
	int rc;

	if (delay_ms <= 0)
		return 0;
	/* What was answered before is not kept back. */
	rc = stream_flush(s->stream, s->svc->site->timeouts.command_ms);
	if (rc < 0)
		return rc;
	pause_delivery(s, delay_ms);
	switch (limit_wait(&s->admission.limit, kind, delay_ms, s->stream)) {
	case LIMIT_FREE:
		return 0;
	case LIMIT_REFUSED:
		return end(s, slowed_reply);
	case LIMIT_CANCELLED:
		break;
	}
	return task_cancelled() ? -ECANCELED : -EPIPE;
}

int smtp_limit_command(struct smtp_session *s, bool last)
{
	struct limit_client *c = counted(s);
	int delay_ms = 0, session_ms;

	if (!c)
		return 0;
	if (last) {                     /* nobody is kept from going */
		limit_note(c, USE_COMMANDS, 1);
		return 0;
	}
	if (limit_count(c, USE_COMMANDS, 1, &delay_ms) == LIMIT_REFUSED)
		return end(s, commands_reply);
	if (limit_count(c, USE_ERRORS, 0, &delay_ms) == LIMIT_REFUSED)
		return end(s, errors_reply);
	session_ms = limit_errors_delay_ms(c, (int)s->errors, s->svc->site->limits.errors);
	return wait(s, USE_COMMANDS, delay_ms > session_ms ? delay_ms : session_ms);
}

int smtp_limit_mail(struct smtp_session *s)
{
	struct limit_client *c = counted(s);
	int delay_ms = 0, rc;

	if (!c)
		return 0;
	rc = limit_count(c, USE_MESSAGES, 0, &delay_ms) == LIMIT_REFUSED ? smtp_say(s, messages_reply) :
	     limit_count(c, USE_BYTES, 0, &delay_ms) == LIMIT_REFUSED	  ? smtp_say(s, bytes_reply) :
									    1;
	return rc <= 0 ? rc + (rc == 0) : wait(s, USE_MESSAGES, delay_ms);
}

int smtp_limit_rcpt(struct smtp_session *s)
{
	struct limit_client *c = counted(s);
	int delay_ms = 0, rc;

	if (!c)
		return 0;
	if (limit_count(c, USE_UNKNOWN, 0, &delay_ms) == LIMIT_REFUSED) {
		/* Who has asked for some in this session goes; others of the network, with mail that means somebody here, come again. */
		if (c->used[USE_UNKNOWN] > 0)
			return end(s, harvest_reply);
		rc = smtp_say(s, shut_reply);
		return rc < 0 ? rc : 1;
	}
	if (limit_count(c, USE_RECIPIENTS, 1, &delay_ms) == LIMIT_REFUSED) {
		rc = smtp_say(s, recipients_reply);
		return rc < 0 ? rc : 1;
	}
	return wait(s, USE_RECIPIENTS, delay_ms);
}

void smtp_limit_note(struct smtp_session *s, enum use_kind kind)
{
	struct limit_client *c = counted(s);

	if (c)
		limit_note(c, kind, 1);
}

void smtp_limit_bytes(struct smtp_session *s, size_t n)
{
	struct limit_client *c = counted(s);

	if (c)
		limit_note_bytes(c, n);
}

/* RFC 3463 3.2: 5.1.x is about the address; Exchange says 5.4.1 where its edge knows nobody. Without a code: 550, 551, 553 (RFC 5321 4.2.3). */
bool smtp_reply_unknown(const char *reply)
{
	int status[3];

	if (strncmp(reply, "550", 3) != 0 && strncmp(reply, "551", 3) != 0 && strncmp(reply, "553", 3) != 0)
		return false;
	if (strlen(reply) < 4 || smtp_status_parse(reply + 4, strlen(reply + 4), status) == 0)
		return true;
	return status[1] == 1 || status[1] == 0 || (status[1] == 4 && status[2] == 1);
}
