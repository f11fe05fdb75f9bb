/*
 * pop3_command - one command line of a POP3 client, RFC 1939, 2449, 2595, 5034, 6856
 *
 * The line goes in with its line end; it ends in CRLF alone. Controls, NUL and bare CR are refused everywhere. Names and passwords are octets to their
 * server (and UTF-8 since RFC 6856), so USER, PASS and APOP may hold 8-bit ones, and a password blanks and tabs; all else is ASCII. RFC 2449 4 allows 255
 * octets; names and passwords get 1,024, AUTH with its initial response SASL_LINE_MAX. Whether a command is allowed now is the session's to judge.
 * No I/O.
 */
#ifndef POP3_COMMAND_H
#define POP3_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/sasl.h"

enum pop3_verb {
	POP3_UNKNOWN,
	POP3_USER, POP3_PASS, POP3_APOP, POP3_AUTH, POP3_CAPA, POP3_STLS, POP3_QUIT, POP3_UTF8, POP3_LANG,
	POP3_STAT, POP3_LIST, POP3_UIDL, POP3_RETR, POP3_TOP, POP3_DELE, POP3_NOOP, POP3_RSET, POP3_LAST,
	POP3_HTTP,                      /* GET, POST...: a web client was sent here: close */
};

enum pop3_command_error {
	POP3_COMMAND_OK,
	POP3_COMMAND_LF,                /* the line ends in LF alone */
	POP3_COMMAND_BYTES,             /* a control, NUL, a bare CR, 8-bit where there is none */
	POP3_COMMAND_LONG,
	POP3_COMMAND_UNKNOWN,
	POP3_COMMAND_ARGUMENT,          /* missing, or one too many, or malformed */
	POP3_COMMAND_MECHANISM,         /* AUTH: not one that is known */
};

enum {
	POP3_LINE_MAX = 255,            /* CRLF included, RFC 2449 4 */
	POP3_NAME_LINE_MAX = 1024,      /* USER, PASS, APOP */
	POP3_READ_MAX = SASL_LINE_MAX,  /* what a session reads of a line; AUTH */
	POP3_WORD_MAX = 16,
};

struct pop3_command {
	enum pop3_verb verb;            /* written whatever the result */
	char word[POP3_WORD_MAX];       /* the verb as given, in upper case, cut, unprintable as '?' */
	const char *arg;                /* what follows the verb and one blank; in the line. PASS: a secret */
	size_t arg_len;
	const char *name;               /* USER, APOP: the user; in the line, blanks around it trimmed, at least one octet */
	size_t name_len;
	bool has_number;
	uint32_t number;                /* of a message: LIST, UIDL, RETR, TOP, DELE; never 0 */
	uint32_t lines;                 /* TOP, saturating */
	unsigned mechanism;             /* AUTH: base/sasl.h; 0: AUTH alone, which asks for their names */
	const char *initial;            /* its initial response as given, "=" too; NULL: none. In the line, a secret */
	size_t initial_len;
};

/* Parse line[0..len), line end included. Pointers of out go into line. */
enum pop3_command_error pop3_command_parse(const char *line, size_t len, struct pop3_command *out);

/* The reply to an error, without CRLF. */
const char *pop3_command_reply(enum pop3_command_error e);

#endif
