/*
 * pop3_reply - one status line of a POP3 server: "+OK text", "-ERR text", and "+ data" within AUTH, RFC 1939 3, RFC 5034 4
 *
 * What a server says is foreign: a line that is longer than its bound, ends in LF alone, or holds NUL or a bare CR is none. Other octets of the text may
 * be anything; who shows them escapes them. No I/O.
 */
#ifndef POP3_REPLY_H
#define POP3_REPLY_H

#include <stdbool.h>
#include <stddef.h>

enum {
	POP3_REPLY_MAX = 4096,          /* CRLF included; RFC 2449 4 says 512 */
	POP3_CHALLENGE_MAX = 12288,     /* as SASL_LINE_MAX */
};

enum pop3_status { POP3_STATUS_OK, POP3_STATUS_ERR, POP3_STATUS_CHALLENGE };

struct pop3_reply {
	enum pop3_status status;
	const char *line;               /* as it came, its end included */
	size_t line_len;
	const char *text;               /* in the line: what follows the status and one blank, without the line end */
	size_t text_len;
	const char *code;               /* the response code, RFC 2449 8, without its brackets; NULL: none */
	size_t code_len;
};

/* Parse line[0..len), line end included. false: it is none; out is not written then. */
bool pop3_reply_parse(const char *line, size_t len, struct pop3_reply *out);

/*
 * Whether its response code is that one, or below it: "SYS" is met by "SYS/TEMP", RFC 2449 8. In any case of letters.
 */
bool pop3_reply_is(const struct pop3_reply *r, const char *code);

/*
 * A greeting's text without APOP's timestamp (RFC 1939 7) and without "[XCLIENT]", as asked, to out, which is as large as it. Whatever a client could
 * take for a timestamp goes: all from the first '<' to the last '>'. How many octets.
 */
size_t pop3_greeting_text(const struct pop3_reply *r, bool timestamp, char *out);

#endif
