#include "rig/script.h"

#include <string.h>

enum { WAIT_MS = 30000 };

void script_begin(struct script *s, const void *p, size_t len, bool server)
{
	*s = (struct script){ .p = p, .len = len, .server = server };
}

void script_resume(struct script *s)
{
	s->waits = false;
	s->heard = s->asked = 0;
}

/* Plain octets up to the next step. */
static void say(struct script *s, struct end *e, const char *p, size_t len)
{
	/* What is being waited for is what comes from here on. */
	s->heard = e->heard.len;
	end_say(e, p, len);
	if (s->said)
		s->said(e, p, len);
}

static bool heard_text(struct script *s, struct end *e, const char *text, size_t len)
{
	const char *from = buf_str(&e->heard) + s->asked;
	const char *p = e->heard.len > s->asked && len ? memmem(from, e->heard.len - s->asked, text, len) : NULL;

	if (p)
		s->asked = (size_t)(p - e->heard.data) + len;
	return p || !len;
}

/* A wait that begins or goes on. */
static enum script_state wait_step(struct script *s, bool ready, size_t used)
{
	if (!s->waits)
		s->until_ms = kernel_ms() + WAIT_MS;
	s->waits = !ready && !s->hasty && kernel_ms() < s->until_ms;
	if (s->waits)
		return SCRIPT_WAITS;
	s->at += used;
	return SCRIPT_DID;
}

static enum script_state ask_step(struct script *s, struct end *e)
{
	const char *text = s->p + s->at + 2, *end = memchr(text, '~', s->len - s->at - 2);
	size_t len = end ? (size_t)(end - text) : s->len - s->at - 2;

	return wait_step(s, e->over || heard_text(s, e, text, len), 2 + len + (end != NULL));
}

static enum script_state mark_step(struct script *s, struct end *e)
{
	switch (s->p[s->at + 1]) {
	case 'w':
		return wait_step(s, e->over || e->heard.len > s->heard, 2);
	case '?':
		return ask_step(s, e);
	case 'p':
		s->passing = !s->passing;
		if (s->passing)
			return SCRIPT_WAITS;
		break;
	case '~':
		say(s, e, "~", 1);
		break;
	case 's':
		end_piece(e);
		break;
	case 't':
		end_tls(e, s->server ? end_server_ctx() : end_client_ctx(), s->server);
		break;
	case 'n':
		end_shut(e);
		break;
	case 'f':
		e->then = END_FIN;
		break;
	case 'c':
		e->then = END_CLOSE;
		break;
	case 'r':
		e->then = END_RST;
		break;
	case '1':
		e->pace.each = e->ssl ? 0 : 1;
		break;
	case '0':
		e->pace.each = 0;
		break;
	}
	s->at += 2;
	return SCRIPT_DID;
}

enum script_state script_step(struct script *s, struct end *e)
{
	const char *next;
	size_t len;

	if (!e->w || s->at >= s->len)
		return SCRIPT_DONE;
	if (s->p[s->at] == '~' && s->at + 1 < s->len)
		return mark_step(s, e);
	next = memchr(s->p + s->at + 1, '~', s->len - s->at - 1);
	len = next ? (size_t)(next - s->p) - s->at : s->len - s->at;
	say(s, e, s->p + s->at, len);
	s->at += len;
	/* Who says that TLS begins is ready for it: the answer may be the first octets of the handshake. */
	return next && next + 1 < s->p + s->len && next[1] == 't' ? mark_step(s, e) : SCRIPT_DID;
}
