/*
 * milter_wire - the packets that a mail server and a mail filter of the "milter" kind exchange
 *
 * The protocol is Sendmail's, spoken by Postfix, too; no RFC describes it. Its constants are those of libmilter's mfdef.h and mfapi.h (Debian: libmilter-dev),
 * its shapes are told in the documentation of the milter libraries (pymilter's milter_api, purepythonmilter's docs/milter-protocol.md, Postfix's
 * MILTER_README) and were seen on the wire between Postfix and libmilter 8.17.
 *
 * A packet is four octets of length (big-endian, of what follows), one octet that says what it is, and its data. Strings in it end with a NUL. Here are
 * only octets: no I/O, no state.
 */
#ifndef MILTER_WIRE_H
#define MILTER_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum {
	MILTER_VERSION = 6, MILTER_VERSION_MIN = 2,
	MILTER_CHUNK_MAX = 65535,               /* octets of the body in one packet to a filter */
	MILTER_PACKET_MAX = 1024 * 1024,        /* from a filter: what libmilter's largest negotiated size is */
	MILTER_SYMBOLS_MAX = 128,               /* names of macros that a filter may ask for at one stage */
	MILTER_STRINGS_MAX = 4,
};

/* What the server says. */
enum milter_command {
	MILTER_ABORT = 'A', MILTER_BODY = 'B', MILTER_CONNECT = 'C', MILTER_MACRO = 'D', MILTER_BODY_END = 'E', MILTER_HELO = 'H', MILTER_QUIT_NEXT = 'K',
	MILTER_HEADER = 'L', MILTER_MAIL = 'M', MILTER_HEADER_END = 'N', MILTER_NEGOTIATE = 'O', MILTER_QUIT = 'Q', MILTER_RCPT = 'R', MILTER_DATA = 'T',
	MILTER_UNKNOWN = 'U',
};

/* What a filter answers. */
enum milter_answer {
	MILTER_ADD_RCPT = '+', MILTER_DEL_RCPT = '-', MILTER_ADD_RCPT_PARAMS = '2', MILTER_SHUTDOWN = '4', MILTER_ACCEPT = 'a', MILTER_REPLACE_BODY = 'b',
	MILTER_CONTINUE = 'c', MILTER_DISCARD = 'd', MILTER_CHANGE_FROM = 'e', MILTER_CONNECTION_FAIL = 'f', MILTER_ADD_HEADER = 'h',
	MILTER_INSERT_HEADER = 'i', MILTER_SYMBOLS = 'l', MILTER_CHANGE_HEADER = 'm', MILTER_PROGRESS = 'p', MILTER_QUARANTINE = 'q', MILTER_REJECT = 'r',
	MILTER_SKIP = 's', MILTER_TEMPFAIL = 't', MILTER_REPLY_CODE = 'y',
};

/* SMFIF_*: what a filter may do. */
enum {
	MILTER_MAY_ADD_HEADERS = 0x001, MILTER_MAY_CHANGE_BODY = 0x002, MILTER_MAY_ADD_RCPT = 0x004, MILTER_MAY_DEL_RCPT = 0x008,
	MILTER_MAY_CHANGE_HEADERS = 0x010, MILTER_MAY_QUARANTINE = 0x020, MILTER_MAY_CHANGE_FROM = 0x040, MILTER_MAY_ADD_RCPT_PARAMS = 0x080,
	MILTER_MAY_SET_SYMBOLS = 0x100,
};

/* SMFIP_*: what it need not be told, and where it does not answer. */
enum {
	MILTER_NO_CONNECT = 0x01, MILTER_NO_HELO = 0x02, MILTER_NO_MAIL = 0x04, MILTER_NO_RCPT = 0x08, MILTER_NO_BODY = 0x10, MILTER_NO_HEADERS = 0x20,
	MILTER_NO_HEADER_END = 0x40, MILTER_QUIET_HEADER = 0x80, MILTER_NO_UNKNOWN = 0x100, MILTER_NO_DATA = 0x200, MILTER_CAN_SKIP = 0x400,
	MILTER_REJECTED_RCPT = 0x800, MILTER_QUIET_CONNECT = 0x1000, MILTER_QUIET_HELO = 0x2000, MILTER_QUIET_MAIL = 0x4000, MILTER_QUIET_RCPT = 0x8000,
	MILTER_QUIET_DATA = 0x10000, MILTER_QUIET_UNKNOWN = 0x20000, MILTER_QUIET_HEADER_END = 0x40000, MILTER_QUIET_BODY = 0x80000,
	MILTER_LEADING_SPACE = 0x100000,
};

/* SMFIM_*: the moments that macros are sent for. */
enum milter_moment { MILTER_AT_CONNECT, MILTER_AT_HELO, MILTER_AT_MAIL, MILTER_AT_RCPT, MILTER_AT_DATA, MILTER_AT_END, MILTER_AT_HEADER_END, MILTER_MOMENTS };

/* What has been agreed on. */
struct milter_terms {
	uint32_t version, actions, steps;
	char *symbols[MILTER_MOMENTS];          /* "i {mail_addr}": macros that the filter wants instead of the usual ones; NULL: those */
};
void milter_terms_release(struct milter_terms *t);      /* zeroed is fine */

/* What there is to offer in a version of the protocol, 2 to 6. */
uint32_t milter_actions(int version);
uint32_t milter_steps(int version);

/* ---- to the filter; each appends one packet and returns 0, or -ENOSPC, -ENOMEM ---- */

int milter_put(struct buf *out, enum milter_command c, const void *data, size_t len);
int milter_put_negotiate(struct buf *out, int version);
/* Strings, each with its NUL. A NUL inside of one cannot be said: len counts up to it. */
struct milter_string {
	const char *p;
	size_t len;
};
int milter_put_strings(struct buf *out, enum milter_command c, const struct milter_string *s, size_t count);
/* host, then family '4', '6' or 'U' (no address), port, address. */
int milter_put_connect(struct buf *out, const char *host, char family, uint16_t port, const char *address);

/* Macros that hold for a command: begin, any number, end, which takes the packet back where there was none. */
struct milter_macros {
	struct buf *out;
	size_t at, none;
};
void milter_macros_begin(struct milter_macros *m, struct buf *out, enum milter_command c);
void milter_macros_add(struct milter_macros *m, const char *name, const char *value);
int milter_macros_end(struct milter_macros *m);

/* ---- from the filter ---- */

struct milter_packet {
	char what;                      /* enum milter_answer, or MILTER_NEGOTIATE */
	const char *data;
	size_t len;
};

enum milter_read { MILTER_READ_OK, MILTER_READ_MORE, MILTER_READ_BAD };

/* The first packet in p[0..len). OK: *used octets are it, *out points into p. BAD: longer than MILTER_PACKET_MAX, or of no octet. */
enum milter_read milter_packet_read(const char *p, size_t len, size_t *used, struct milter_packet *out);

/* The answer to an offer of that version. 0; -EPROTO with *why: out has nothing then. -ENOMEM. */
int milter_terms_read(const struct milter_packet *p, int version, struct milter_terms *out, const char **why);

/* An answer with what is in it; strings point into the packet, and end there with a NUL. */
struct milter_reply {
	enum milter_answer what;
	uint32_t index;                 /* INSERT_HEADER, CHANGE_HEADER */
	const char *text[2];            /* name and value; address and parameters (NULL: none); the text of REPLY_CODE, the reason of QUARANTINE */
	const char *data;               /* REPLACE_BODY */
	size_t len;
};

/* 0; -EPROTO with *why: no such answer, or its data is not what it should be. */
int milter_reply_read(const struct milter_packet *p, struct milter_reply *out, const char **why);

/* Whether an answer ends the wait for one; PROGRESS and changes do not. */
bool milter_is_final(enum milter_answer a);

/*
 * The text of a REPLY_CODE as one line "550 5.7.1 text" into out[0..size): code, enhanced code (given where it has none), text, of several lines joined by
 * blanks; "%%" is "%"; nothing but printable ASCII. false: it is no reply of 4xx or 5xx.
 */
bool milter_reply_text(const char *text, char *out, size_t size);

#endif
