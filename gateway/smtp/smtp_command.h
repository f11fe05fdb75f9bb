/*
 * smtp_command - one command line of an SMTP client, RFC 5321 4.1.1
 *
 * The line goes in with its line end; a bare LF as the line end, a bare CR or a NUL inside are errors of their own (RFC 5321 section 2.3.8).
 * Whether a command is allowed now, and whether an extension was offered, is the session's to judge. No I/O.
 */
#ifndef SMTP_COMMAND_H
#define SMTP_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "smtp/smtp_address.h"

enum smtp_verb {
	VERB_UNKNOWN,
	VERB_EHLO, VERB_HELO, VERB_MAIL, VERB_RCPT, VERB_DATA, VERB_BDAT, VERB_RSET, VERB_NOOP, VERB_QUIT,
	VERB_VRFY, VERB_EXPN, VERB_HELP, VERB_STARTTLS, VERB_AUTH, VERB_ETRN,
	VERB_XCLIENT, VERB_XFORWARD,    /* of trusted relays: smtp_told.h */
	VERB_OBSOLETE,                  /* SEND SOML SAML TURN, RFC 5321 F.1 and F.6; ATRN, RFC 2645: known, and not done */
	VERB_HTTP,                      /* GET, POST...: a web client was sent here: close */
	VERB_COUNT
};

enum smtp_command_error {
	COMMAND_OK,
	COMMAND_BARE_LF,                /* the line ends in LF alone */
	COMMAND_BYTES,                  /* NUL, bare CR, control or (outside addresses) 8-bit */
	COMMAND_LONG,                   /* an argument is longer than its bound */
	COMMAND_UNKNOWN,                /* 500 */
	COMMAND_ARGUMENT,               /* missing, or one where none is allowed, or malformed */
	COMMAND_ADDRESS,                /* out->address_error says what */
	COMMAND_PARAMETER,              /* a known parameter with a bad value, or given twice */
	COMMAND_PARAMETER_UNKNOWN,      /* 555; out->parameter names it */
	COMMAND_MECHANISM,              /* AUTH: not one that is known */
};

enum { NOTIFY_NEVER = 1, NOTIFY_SUCCESS = 2, NOTIFY_FAILURE = 4, NOTIFY_DELAY = 8 };
enum smtp_body { BODY_NONE, BODY_7BIT, BODY_8BITMIME };
enum smtp_ret { RET_NONE, RET_FULL, RET_HDRS };

enum { SMTP_ENVID_MAX = 100, SMTP_ORCPT_MAX = 500, SMTP_WORD_MAX = 32 };        /* RFC 3461 4.4, 4.2 */

struct smtp_command {
	enum smtp_verb verb;            /* written whatever the result */
	char word[SMTP_WORD_MAX];       /* the verb as given, in upper case, cut, unprintable as '?' */
	const char *arg;                /* what follows the verb, blanks trimmed; in the line */
	size_t arg_len;

	char helo[SMTP_DOMAIN_MAX + 1]; /* EHLO, HELO: the first word as given */
	bool helo_valid;                /* it is a domain or an address literal, and all there was */
	struct net_addr helo_literal;   /* family 0 if none */

	struct smtp_mailbox path;       /* MAIL, RCPT */
	enum smtp_address_error address_error;
	bool has_size;
	uint64_t size;                  /* SIZE=, saturating */
	enum smtp_body body;
	bool smtputf8;
	enum smtp_ret ret;
	char envid[SMTP_ENVID_MAX + 1];         /* xtext as given; "" none */
	bool prdr;                      /* PRDR: a reply for each recipient, draft-hall-prdr */
	bool has_auth;                  /* AUTH= was there, RFC 4954 5: checked, not kept */
	unsigned notify;                /* NOTIFY_ bits; 0 none given */
	char orcpt[SMTP_ORCPT_MAX + 1];         /* "rfc822;xtext" as given; "" none */
	char parameter[SMTP_WORD_MAX];  /* of COMMAND_PARAMETER and COMMAND_PARAMETER_UNKNOWN */

	uint64_t chunk;                 /* BDAT size, RFC 3030 */
	bool last;

	unsigned mechanism;             /* AUTH: base/sasl.h */
	const char *initial;            /* its initial response as given, "=" too; NULL: none. In the line, a secret */
	size_t initial_len;
};

/*
 * Parse line[0..len), line end included. utf8: SMTPUTF8 was given at MAIL (for RCPT, VRFY, EXPN; for MAIL its own parameter counts).
 * out is about 2 KB: embed it in the session. out->arg points into line.
 */
enum smtp_command_error smtp_command_parse(const char *line, size_t len, bool utf8, struct smtp_command *out);

/* The reply to an error, complete with codes, without CRLF. buf (128 bytes) is used where the text varies. */
const char *smtp_command_reply(const struct smtp_command *c, enum smtp_command_error e, char *buf, size_t size);

/* ESMTP parameters to pass on, blanks between, without SIZE: MAIL's BODY, SMTPUTF8, RET, ENVID; RCPT's NOTIFY, ORCPT. */
int smtp_command_params(const struct smtp_command *c, struct buf *out);

const char *smtp_verb_name(enum smtp_verb v);

/* xtext of RFC 3461 4: check, and decode into out (size bytes, NUL-terminated; decoded NUL is refused). Count or -EINVAL, -ENOSPC. */
bool smtp_xtext_ok(const char *p, size_t len);
int smtp_xtext_decode(const char *p, size_t len, char *out, size_t size);

#endif
