/*
 * imap_command - one command of an IMAP client before its login, RFC 3501 and 9051 section 9, literals of RFC 7888
 *
 * A command is a line, and where that ends in a literal ("{5}", "{5+}"), its octets and another line, and so on. What has come so far is said to
 * imap_command_line and imap_command_literal, which say what has to come next:
 *
 *     for (step = IMAP_WANTS_LINE; step < IMAP_COMMAND;)
 *             step = step == IMAP_WANTS_LINE ? imap_command_line(c, line...) : imap_command_literal(c, octets...);
 *
 * The grammar of the commands known here is held strictly. What a client may send before it logs in is bounded: 8 KiB a line (12 KiB of SASL behind it
 * in AUTHENTICATE), 4 KiB a literal, 8 literals, 16 KiB in all. A synchronising literal that is refused is refused before any octet of it has come; one
 * that is not synchronising is read past first, and where it is too long for that, the session is at its end. So LITERAL+ and LITERAL- are the same here.
 * All memory in which a password may have lain is overwritten. No I/O.
 */
#ifndef IMAP_COMMAND_H
#define IMAP_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	IMAP_TAG_MAX = 128,
	IMAP_LINE_MAX = 8192,           /* RFC 7162 section 4 */
	IMAP_READ_MAX = 12288 + 256,    /* what a line may have at all: base/sasl.h, tag and words before it */
	IMAP_LITERAL_MAX = 4096,        /* RFC 7888 section 5 */
	IMAP_LITERALS_MAX = 8,
	IMAP_SKIP_MAX = 64 * 1024,      /* a literal of that size is read past */
	IMAP_TEXT_MAX = 16 * 1024,      /* a command in all */
	IMAP_MECHANISM_MAX = 20,        /* RFC 4422 section 3.1 */
	IMAP_ID_FIELDS_MAX = 30,        /* RFC 2971 section 3.3: pairs, octets of a field, of a value */
	IMAP_ID_FIELD_MAX = 30,
	IMAP_ID_VALUE_MAX = 1024,
};

enum imap_verb {
	IMAP_UNKNOWN,                   /* or not before a login */
	IMAP_CAPABILITY, IMAP_NOOP, IMAP_LOGOUT, IMAP_STARTTLS, IMAP_ID, IMAP_LOGIN, IMAP_AUTHENTICATE,
};

enum imap_step {
	IMAP_WANTS_LINE,                /* a line */
	IMAP_WANTS_LITERAL,             /* c->want octets */
	IMAP_WANTS_CONTINUE,            /* "+ " is to be said, then as above; the line, if c->want is 0 */
	IMAP_COMMAND,                   /* it is complete */
	IMAP_BAD,                       /* it is at its end, and none that is taken: c->why, to be said with c->tag */
	IMAP_FATAL,                     /* the same, and there is no telling where the next one begins */
};

/* An argument as it was given. */
enum imap_form { IMAP_NONE, IMAP_ATOM, IMAP_QUOTED, IMAP_LITERAL, IMAP_NIL };
struct imap_arg {
	enum imap_form form;
	size_t off, len;                /* in the text, without quotes and without the literal's size; backslashes as they came */
};

struct imap_command {
	char tag[IMAP_TAG_MAX + 1];     /* "*" if none could be read */
	enum imap_verb verb;
	struct imap_arg arg[2];         /* LOGIN: name and password. AUTHENTICATE: mechanism and initial response, form IMAP_NONE without one */
	const char *why;                /* of IMAP_BAD and IMAP_FATAL: printable, for the client */
	size_t want;                    /* octets of a literal that are to come */

	char *text;                     /* all of it, lines and literals */
	size_t len, cap;
	int literals;                   /* so far */
	bool past;                      /* what comes is read past */
	bool nul;                       /* a literal holds one */
	size_t id;                      /* ID: where its argument begins */
};

void imap_command_init(struct imap_command *c);
void imap_command_release(struct imap_command *c);      /* overwrites what it held; c may be used again */

/* A line with its end, as it came. */
enum imap_step imap_command_line(struct imap_command *c, const char *line, size_t len);
/* The next of c->want octets, 0 < len <= c->want; a literal of no octets is followed by its line at once. */
enum imap_step imap_command_literal(struct imap_command *c, const char *p, size_t len);

/* Of a complete command. */
const char *imap_arg_text(const struct imap_command *c, const struct imap_arg *a);
/* What the argument says, without quoting. Its length; -ENOSPC: more than size octets. */
int imap_arg_decode(const struct imap_command *c, const struct imap_arg *a, char *out, size_t size);
/* Whether it says an octet of the set. */
bool imap_arg_has(const struct imap_command *c, const struct imap_arg *a, const char *set);

/* The pairs of ID: *pos is 0 at first. false: there is no more. */
bool imap_id_next(const struct imap_command *c, size_t *pos, struct imap_arg *field, struct imap_arg *value);

/*
 * Whether the line p[0..len), its end not counted, announces a literal at its end, as a server's responses do, too: "{n}", "{n+}". *size saturates.
 */
bool imap_literal_at_end(const char *p, size_t len, uint64_t *size, bool *sync);

const char *imap_verb_name(enum imap_verb v);

#endif
