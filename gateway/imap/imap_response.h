/*
 * imap_response - what an IMAP server says, piece by piece, RFC 9051 section 7 and 9
 *
 * Bytes go in as they come; each call takes a piece from their front and says what it is. All pieces together are all bytes: who passes them on as
 * they are passes the stream on as it is. A response on one line is one piece (IMAP_PIECE_LINE). A longer one begins with IMAP_PIECE_BEGIN, goes on
 * with IMAP_PIECE_REST, and ends with IMAP_PIECE_END; every FETCH is of that kind, and what it tells of a message is taken apart:
 *
 *     * 12 FETCH (UID 7 BODY[TEXT] {5}<CRLF>hello FLAGS (\Seen))<CRLF>
 *     BEGIN      BEGIN: "* 12 FETCH "       GAP: blanks and parentheses around and between the items
 *                NAME: "UID", last          VALUE: "7", last
 *                NAME: "BODY[TEXT]", last   VALUE: "{5}<CRLF>"   STRING: "hello", last   ...      END: "<CRLF>"
 *
 * STRING is what stands in a literal or between quotes, wherever in the value; VALUE all else. No piece is held back in here; of what is not complete enough to
 * say what it is (a line up to IMAP_HOLD_MAX octets), IMAP_PIECE_MORE is said, and the caller keeps it. No I/O, no memory.
 */
#ifndef IMAP_RESPONSE_H
#define IMAP_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "imap/imap_span.h"

enum {
	IMAP_HOLD_MAX = 16 * 1024,      /* a response on one line that is longer comes in pieces */
	IMAP_NAME_MAX = 128,            /* of an item's name so much is kept */
	IMAP_NEST_MAX = 1000,           /* parentheses in a value */
};

enum imap_piece_kind {
	IMAP_PIECE_MORE,                /* nothing: more bytes are needed */
	IMAP_PIECE_WRONG,               /* it is no response, and there is no telling where the next one begins */
	IMAP_PIECE_LINE,                /* a whole response, its line end too */
	IMAP_PIECE_BEGIN,
	IMAP_PIECE_REST,
	IMAP_PIECE_GAP, IMAP_PIECE_NAME, IMAP_PIECE_VALUE, IMAP_PIECE_STRING,
	IMAP_PIECE_END,
};

struct imap_piece {
	enum imap_piece_kind kind;
	const char *p;                  /* in what was given; len may be 0 where last is set */
	size_t len;
	bool last;                      /* of this name, this value (VALUE only: every value ends with one) or this string, if it is a literal */
	bool quoted;                    /* STRING: not a literal */
	bool escaped;                   /* STRING: two octets, a backslash and the one that is meant */
	uint64_t offset;                /* STRING: octets of it before this piece */
};

enum imap_says {
	IMAP_SAYS_CONTINUE,             /* + */
	IMAP_SAYS_TAGGED,               /* tag OK|NO|BAD */
	IMAP_SAYS_STATUS,               /* * OK|NO|BAD|BYE|PREAUTH */
	IMAP_SAYS_CAPABILITY, IMAP_SAYS_EXISTS, IMAP_SAYS_EXPUNGE, IMAP_SAYS_VANISHED,
	IMAP_SAYS_FETCH,                /* UIDFETCH (RFC 9586), too: uidfetch is true, number a UID */
	IMAP_SAYS_OTHER,
};

enum imap_status { IMAP_STATUS_NONE, IMAP_STATUS_OK, IMAP_STATUS_NO, IMAP_STATUS_BAD, IMAP_STATUS_BYE, IMAP_STATUS_PREAUTH };

struct imap_response {
	/* Of the response that is being read: from its LINE or BEGIN on. */
	enum imap_says says;
	enum imap_status status;        /* TAGGED, STATUS */
	uint32_t number;                /* EXISTS, EXPUNGE, FETCH */
	bool uidfetch;
	/* In the piece itself, so good as long as that is. */
	struct imap_span tag;           /* TAGGED */
	struct imap_span code;          /* TAGGED, STATUS: what stands in the brackets behind the status; len 0: nothing */
	struct imap_span rest;          /* behind the word that says what it is, without blank and line end: the text, the capabilities */
	/* FETCH: the item, its name as given, cut at IMAP_NAME_MAX; until its value has ended. */
	char name[IMAP_NAME_MAX];
	size_t name_len;
	bool name_cut;
	/* how far it is */
	unsigned char state;
	bool line_goes_on;              /* the present line of a long response has been seen in part */
	bool in_section;                /* NAME: in the brackets */
	bool in_name;                   /* a literal or quoted string belongs to the name */
	unsigned nest;
	size_t seen;                    /* octets of a line that is not complete which have no LF */
	uint64_t left, offset;          /* of a literal; of a string */
	char tail[24];                  /* the end of a line that comes in pieces, since it may announce a literal */
	size_t tail_len;
};

void imap_response_init(struct imap_response *r);

/* The next piece of p[0..len). Whatever it is, its len octets are eaten by it. len 0: MORE. */
enum imap_piece_kind imap_response_read(struct imap_response *r, const char *p, size_t len, struct imap_piece *out);

/* Whether the next piece begins a response: the place for one of our own. */
bool imap_response_between(const struct imap_response *r);

/* Whether the code's first word is that one; *arg is what follows it. */
bool imap_code_is(const struct imap_response *r, const char *word, struct imap_span *arg);

#endif
