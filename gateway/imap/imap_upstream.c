#include "imap/imap_upstream.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "access/access_backend.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/stream.h"
#include "imap/imap_dialogue.h"

enum {
	LINE_MAX_BYTES = 16 * 1024,     /* a challenge of SASL, with room */
	LINES_MAX = 64,                 /* untagged ones in one answer */
	LITERALS_MAX = 16,              /* in one answer to ID */
	LAST_WORDS_MS = 5000,           /* for a client to read the server's BYE */
};

static const char OUR_TAG[] = "gp";

/* --- its lines --- */

/* The server is of no more use. Returns rc. */
static int lost(struct imap_dialogue *d, int rc, const char *what)
{
	struct access_session *s = d->s;

	if (rc == -ECANCELED) {
		access_end(s, "shutting down", NULL);
		return rc;
	}
	if (d->bye) {
		access_end(s, "closed", NULL);
		stream_close(s->client, LAST_WORDS_MS);
		return rc;
	}
	access_end(s, "backend lost", what ? what : rc == -ETIMEDOUT ? "it does not answer" : rc == -EMSGSIZE ? "a line of its is too long" :
		   "it has closed the connection");
	imap_dialogue_bye(d, rc == -EPROTO || rc == -EMSGSIZE ? "[UNAVAILABLE] the mail server behind cannot be understood" :
			  "[UNAVAILABLE] the mail server behind does not answer");
	return rc;
}

/* CR LF at its end, no controls in it but tabs. */
static bool well_formed(const char *p, size_t len)
{
	if (len < 2 || p[len - 2] != '\r' || p[len - 1] != '\n')
		return false;
	for (size_t i = 0; i < len - 2; i++)
		if (((unsigned char)p[i] < 0x20 && p[i] != '\t') || p[i] == 0x7f)
			return false;
	return true;
}

/* One line. 0, or an error that nobody has been told of. may wait */
static int read_line(struct imap_dialogue *d, const char **line, size_t *len)
{
	int rc = stream_read_line(d->s->backend.stream, LINE_MAX_BYTES, d->s->conf->login_timeout_ms, line, len);

	return rc < 0 ? rc : well_formed(*line, *len) ? 0 : -EPROTO;
}

static bool word_is(const char *p, size_t len, const char *word)
{
	size_t n = strlen(word);

	return len >= n && strncasecmp(p, word, n) == 0 && (len == n || p[n] == ' ' || p[n] == '\r');
}

/* The line with its capabilities as the client may see them: line itself, or d->line. NULL: no memory. */
static const char *adjusted(struct imap_dialogue *d, const char *line, size_t *len, bool logged_in)
{
	struct imap_view view;
	size_t off, n;

	if (!imap_caps_find(line, *len - 2, &off, &n))
		return line;
	imap_caps_read(&d->caps, line + off, n);
	view = imap_dialogue_view(d, logged_in);
	buf_clear(&d->line);
	buf_add(&d->line, line, off);
	imap_caps_adjust(&view, line + off, n, &d->line);
	buf_add(&d->line, line + off + n, *len - off - n);
	*len = d->line.len;
	return d->line.failed ? NULL : d->line.data;
}

static int pass_line(struct imap_dialogue *d, const char *line, size_t len, bool logged_in)
{
	const char *shown = adjusted(d, line, &len, logged_in);

	return shown ? stream_write(d->s->client, shown, len) : -ENOMEM;
}

/* The octets of a literal. may wait */
static int pass_octets(struct imap_dialogue *d, uint64_t size, bool quiet)
{
	while (size > 0) {
		const char *p;
		size_t len;
		int rc = stream_peek(d->s->backend.stream, d->s->conf->login_timeout_ms, &p, &len);

		if (rc < 0)
			return rc;
		len = len < size ? len : (size_t)size;
		rc = quiet ? 0 : stream_write(d->s->client, p, len);
		if (rc < 0)
			return rc;
		stream_eat(d->s->backend.stream, len);
		size -= len;
	}
	return 0;
}

/* An untagged line, and where it is one of ID, the literals in it. quiet: nobody hears of it. may wait */
static int untagged(struct imap_dialogue *d, const char *line, size_t len, bool quiet)
{
	bool sync, id = word_is(line + 2, len - 2, "ID");
	uint64_t size;
	int rc;

	if (word_is(line + 2, len - 2, "PREAUTH"))
		return -EPROTO;
	for (int literals = 0;; literals++) {
		bool more = id && imap_literal_at_end(line, len - 2, &size, &sync);

		if (word_is(line + 2, len - 2, "BYE") && !quiet)
			d->bye = true;
		if (quiet) {
			size_t off, n;

			if (imap_caps_find(line, len - 2, &off, &n))
				imap_caps_read(&d->caps, line + off, n);
		} else if ((rc = pass_line(d, line, len, d->logging_in)) < 0) {
			return rc;
		}
		if (!more)
			return 0;
		if (size > IMAP_LITERAL_MAX || literals == LITERALS_MAX)
			return -EPROTO;
		rc = pass_octets(d, size, quiet);
		if (rc == 0)
			rc = read_line(d, &line, &len);
		if (rc < 0)
			return rc;
	}
}

/* --- answers --- */

static bool is_untagged(const char *line, size_t len)
{
	return len > 4 && line[0] == '*' && line[1] == ' ' && line[2] != ' ';
}

/* OK, NO, BAD at p. */
static bool status_at(const char *p, size_t len, enum imap_status *out)
{
	*out = word_is(p, len, "OK") ? IMAP_OK : word_is(p, len, "NO") ? IMAP_NO : IMAP_REFUSED;
	return *out != IMAP_REFUSED || word_is(p, len, "BAD");
}

static void read_code(struct imap_answer *a, const char *p, const char *end)
{
	const char *open = memchr(p, ' ', (size_t)(end - p));
	size_t n = 0;

	a->code[0] = '\0';
	if (!open || end - open < 3 || open[1] != '[')
		return;
	for (open += 2; open < end && *open != ' ' && *open != ']' && n < sizeof(a->code) - 1; open++)
		a->code[n++] = *open;
	a->code[n] = '\0';
}

/* What this line is to the command with that tag. false: an answer to nothing. */
static bool is_answer(const char *line, size_t len, const char *tag, struct imap_answer *out)
{
	size_t n = strlen(tag);

	out->line = line;
	out->len = len;
	out->code[0] = '\0';
	if (line[0] == '+' && (line[1] == ' ' || line[1] == '\r')) {
		out->status = IMAP_CONTINUE;
		return true;
	}
	if (len < n + 4 || memcmp(line, tag, n) != 0 || line[n] != ' ' || !status_at(line + n + 1, len - n - 1, &out->status))
		return false;
	read_code(out, line + n + 1, line + len - 2);
	return true;
}

static int answer(struct imap_dialogue *d, const char *tag, bool quiet, struct imap_answer *out)
{
	for (int lines = 0; lines < LINES_MAX; lines++) {
		const char *line = NULL;
		size_t len = 0;
		int rc = read_line(d, &line, &len);

		if (rc < 0)
			return rc;
		if (is_answer(line, len, tag, out))
			return 0;
		rc = is_untagged(line, len) ? untagged(d, line, len, quiet) : -EPROTO;
		if (rc < 0)
			return rc;
	}
	return -EPROTO;
}

int imap_upstream_answer(struct imap_dialogue *d, const char *tag, struct imap_answer *out)
{
	int rc = answer(d, tag, false, out);

	return rc < 0 ? lost(d, rc, NULL) : 0;
}

int imap_upstream_pass(struct imap_dialogue *d, const struct imap_answer *a, bool logged_in)
{
	return pass_line(d, a->line, a->len, logged_in);
}

/* Whether it has said something, or gone, what has not been read yet included. TLS has words of its own that count for nothing. may wait */
static bool has_spoken(struct stream *server)
{
	const char *p;
	size_t len;

	return stream_pending(server) > 0 || (stream_spoken_to(server) && stream_peek(server, 0, &p, &len) != -ETIMEDOUT);
}

int imap_upstream_begin(struct imap_dialogue *d)
{
	if (d->bye)
		return lost(d, -EPIPE, NULL);
	for (int lines = 0; has_spoken(d->s->backend.stream); lines++) {
		const char *line = NULL;
		size_t len = 0;
		int rc = read_line(d, &line, &len);

		/* A tagged line that lay here would be taken for the answer to what is said next. */
		if (rc == 0)
			rc = lines < LINES_MAX && is_untagged(line, len) ? untagged(d, line, len, false) : -EPROTO;
		if (rc < 0)
			return lost(d, rc, rc == -EPROTO ? "it answers what nobody asked" : NULL);
	}
	return d->bye ? lost(d, -EPIPE, NULL) : 0;
}

int imap_upstream_write(struct imap_dialogue *d, const char *p, size_t len)
{
	int rc = stream_write(d->s->backend.stream, p, len);

	return rc < 0 ? lost(d, rc, NULL) : 0;
}

const char *imap_answer_words(const struct imap_answer *a, char *out, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i + 2 < a->len && n + 1 < size; i++)
		out[n++] = (unsigned char)a->line[i] < 0x20 || (unsigned char)a->line[i] > 0x7e ? '?' : a->line[i];
	out[n] = '\0';
	return out;
}

/* --- the beginning --- */

/* A command of our own, and its tagged answer. may wait */
static int command(struct imap_dialogue *d, const char *words, struct imap_answer *out)
{
	int rc = stream_printf(d->s->backend.stream, "%s %s\r\n", OUR_TAG, words);

	if (rc == 0)
		rc = answer(d, OUR_TAG, true, out);
	return rc == 0 && out->status == IMAP_CONTINUE ? -EPROTO : rc;
}

static int say_why(char *why, int rc, const char *what)
{
	if (rc == -EPROTO)
		snprintf(why, HOST_WHY_MAX, "%s: it talks nonsense", what);
	else
		snprintf(why, HOST_WHY_MAX, "%s: %s", what, rc == -ETIMEDOUT ? "no answer" : rc == -EPIPE ? "it closes" : strerror(-rc));
	return rc;
}

/* "* OK ..."; in d->greeting. may wait */
static int greeting(struct imap_dialogue *d, char *why)
{
	const char *line = NULL;
	size_t len = 0, off, n;
	int rc = read_line(d, &line, &len);

	if (rc < 0)
		return say_why(why, rc, "greeting");
	buf_clear(&d->greeting);
	if (buf_add(&d->greeting, line, len - 2) < 0)
		return say_why(why, -ENOMEM, "greeting");
	if (len > 4 && line[0] == '*' && line[1] == ' ' && word_is(line + 2, len - 2, "BYE")) {
		snprintf(why, HOST_WHY_MAX, "it says BYE");
		return -EACCES;
	}
	/* Somebody is logged in already: as whom? Also where somebody on the way wants to keep TLS from us (RFC 9051 section 11.2). */
	if (len > 4 && line[0] == '*' && line[1] == ' ' && word_is(line + 2, len - 2, "PREAUTH")) {
		snprintf(why, HOST_WHY_MAX, "it greets with PREAUTH");
		return -EPROTO;
	}
	if (!is_untagged(line, len) || !word_is(line + 2, len - 2, "OK"))
		return say_why(why, -EPROTO, "greeting");
	d->caps = (struct imap_caps){ 0 };
	if (imap_caps_find(line, len - 2, &off, &n))
		imap_caps_read(&d->caps, line + off, n);
	return 0;
}

/* Anew, in d->line the words. may wait */
static int capability(struct imap_dialogue *d, char *why)
{
	struct imap_answer a = { 0 };
	bool found = false;
	int rc = stream_printf(d->s->backend.stream, "%s CAPABILITY\r\n", OUR_TAG);

	d->caps = (struct imap_caps){ 0 };
	buf_clear(&d->line);
	for (int lines = 0; rc == 0 && lines < LINES_MAX; lines++) {
		const char *line = NULL;
		size_t len = 0, off, n;

		rc = read_line(d, &line, &len);
		if (rc < 0 || is_answer(line, len, OUR_TAG, &a))
			break;
		if (!is_untagged(line, len) || word_is(line + 2, len - 2, "PREAUTH"))
			rc = -EPROTO;
		else if (!found && imap_caps_find(line, len - 2, &off, &n)) {
			found = true;
			imap_caps_read(&d->caps, line + off, n);
			rc = buf_add(&d->line, line + off, n);
		}
	}
	if (rc == 0 && (!found || a.status != IMAP_OK))
		rc = -EPROTO;
	return rc < 0 ? say_why(why, rc, "CAPABILITY") : 0;
}

/*
 * What the greeting said in clear is not to be believed once there is TLS: of its codes only that of the capabilities stays, with those that hold now (in
 * d->line). Its words do.
 */
static int greeting_again(struct imap_dialogue *d, bool had)
{
	const char *words = d->greeting.data + 4, *close = words[1] == '[' ? strchr(words, ']') : NULL;
	AUTO(buf) struct buf fresh = BUF_INIT(2 * LINE_MAX_BYTES);

	buf_adds(&fresh, "* OK");
	if (had)
		buf_addf(&fresh, " [CAPABILITY %s]", buf_str(&d->line));
	buf_adds(&fresh, close ? close + 1 : words);
	buf_clear(&d->greeting);
	return buf_add(&d->greeting, buf_str(&fresh), fresh.len);
}

/* STARTTLS. 0: there is TLS now, or none that has to be; -EAGAIN: once more in clear. may wait */
static int starttls(struct imap_dialogue *d, char *why)
{
	struct access_backend *b = &d->s->backend;
	struct imap_answer a = { 0 };
	bool had = d->caps.known;
	int rc;

	if (had && !d->caps.starttls) {
		snprintf(why, HOST_WHY_MAX, "it does not offer STARTTLS");
		return b->tls == TLS_REQUIRED ? -EPROTO : 0;
	}
	rc = command(d, "STARTTLS", &a);
	if (rc < 0)
		return say_why(why, rc, "STARTTLS");
	if (a.status != IMAP_OK) {
		snprintf(why, HOST_WHY_MAX, "it refuses STARTTLS");
		return b->tls == TLS_REQUIRED ? -EPROTO : 0;
	}
	rc = access_backend_starttls(d->s, why);
	if (rc < 0)
		return rc;
	d->caps = (struct imap_caps){ 0 };
	if (had)
		rc = capability(d, why);
	if (rc == 0 && greeting_again(d, had) < 0)
		rc = say_why(why, -ENOMEM, "greeting");
	return rc;
}

/* Who the client is, where the server is to know and offers to hear it. Its answer is nothing to the client. may wait */
static int tell(struct imap_dialogue *d, char *why)
{
	char told[ACCESS_TOLD_MAX];
	const char *words = access_backend_id(d->s, told);
	struct imap_answer a = { 0 };
	int rc = 0;

	if (words && !d->caps.known)
		rc = capability(d, why);
	if (rc < 0 || !words || !d->caps.id)
		return rc;
	rc = command(d, words, &a);
	return rc < 0 ? say_why(why, rc, "ID") : 0;
}

static void begin(struct imap_dialogue *d)
{
	access_login_on(d->s, d->s->backend.stream);
	d->bye = false;
}

int imap_upstream_open(struct imap_dialogue *d, const char *user, char *why)
{
	struct access_session *s = d->s;
	int rc = access_backend_open(s, user, why);

	if (rc < 0)
		return rc;
	begin(d);
	rc = greeting(d, why);
	if (rc == 0 && access_backend_wants_starttls(s))
		rc = starttls(d, why);
	if (rc == -EAGAIN) {
		rc = access_backend_open_clear(s, user, why);
		if (rc < 0)
			return rc;
		begin(d);
		rc = greeting(d, why);
	}
	return rc == 0 ? tell(d, why) : rc;
}
