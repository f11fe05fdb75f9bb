/*
 * smtp_reply - SMTP replies: read from a backend, written to a client, RFC 5321 4.2
 *
 * A reply is a code and one or more lines of text. What a backend says is foreign: lines over 4,096 bytes, over 100 lines,
 * codes that differ between lines or lie outside 200..599 make it malformed, and whoever reads it closes. Text
 * is cut, never the code. What a client hears is always clean: printable ASCII, at most 512 bytes in a line, with an
 * enhanced status code (RFC 2034) where there can be one.
 */
#ifndef SMTP_REPLY_H
#define SMTP_REPLY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

struct stream;

enum parse { PARSE_OK, PARSE_MORE, PARSE_BAD };

enum {
	SMTP_REPLY_LINE_MAX = 4096,     /* RFC 5321 4.5.3.1.5 says 512; servers send more */
	SMTP_REPLY_LINES_MAX = 100,
	SMTP_REPLY_TEXT_MAX = 8192,     /* kept of one reply */
	SMTP_REPLY_OUT_MAX = 512,       /* one line that we send, CRLF included */
};

/*
 * Read one line of a reply from p[0..len), CRLF included. PARSE_OK: *used bytes were eaten, *code is 200..599 (second digit 0..5), *last is
 * false after "250-". PARSE_MORE: no CRLF yet. PARSE_BAD: not a reply line, bare LF or CR, NUL, or too long. Outputs on PARSE_OK only.
 * The text is p + 4, or nothing after a bare "250".
 */
enum parse smtp_reply_line(const char *p, size_t len, size_t *used, int *code, bool *last);

struct smtp_reply {
	int code;
	int lines;
	int status[3];          /* enhanced status code of the first line; status[0] == 0: none (or of another class) */
	struct buf text;        /* lines as sent, without codes, '\n' between; cut at SMTP_REPLY_TEXT_MAX */
};

void smtp_reply_init(struct smtp_reply *r);
void smtp_reply_release(struct smtp_reply *r);
static inline void smtp_reply_cleanup(struct smtp_reply *r)
{
	smtp_reply_release(r);
}

/* Add one parsed line. PARSE_OK: complete; PARSE_MORE: another line must come; PARSE_BAD. Releases nothing. r->lines == 0 begins a reply. */
enum parse smtp_reply_add(struct smtp_reply *r, const char *line, size_t len);

/*
 * Read one whole reply into r (initialised; what was in it is forgotten). 0, -EPROTO if malformed, or the stream's error. Whether more is
 * pending than was asked for is the caller's to check. may wait
 */
int smtp_reply_read(struct stream *s, int timeout_ms, struct smtp_reply *r);

/* The code is one that can answer a command for good: 2xx, 4xx or 5xx. */
bool smtp_reply_final(const struct smtp_reply *r);

/* "2.1.5 " at the start of text: class, subject, detail; the bytes that it takes with its blank, 0 if there is none. */
size_t smtp_status_parse(const char *p, size_t len, int status[3]);

/* The enhanced code that goes with a basic one when nothing better is known ("5.5.1" for 503); "" for 3xx. */
const char *smtp_status_default(int code);

/*
 * Add a reply for our client to out: text, of which '\n' separates lines, cleaned, cut to 512 bytes a line and 20 lines. status: the
 * enhanced code, or NULL: the text's own if it begins with one of the right class, else smtp_status_default; "": none at all (greeting,
 * EHLO, HELO, 3xx).
 */
int smtp_reply_format(struct buf *out, int code, const char *status, const char *text);

/* A backend's reply for our client. status: used when the reply has none; NULL: the default. prefix: NULL, or put before the text. */
int smtp_reply_pass(struct buf *out, const struct smtp_reply *r, const char *status, const char *prefix);

#endif
