/*
 * spamd_reply - what SpamAssassin's spamd says of a message: the answer to SYMBOLS of its own protocol (spamd/PROTOCOL of SpamAssassin)
 *
 * No I/O. "SPAMD/1.1 0 EX_OK", fields, among them "Spam: True ; 15.2 / 5.0", an empty line, names of tests with commas between. Lines end with CRLF or
 * LF. Where the code is not 0 there is the first line only.
 */
#ifndef SPAMD_REPLY_H
#define SPAMD_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SPAMD_REPLY_MAX = 64 * 1024, SPAMD_SYMBOLS_MAX = 250, SPAMD_SYMBOL_MAX = 100, SPAMD_ERROR_MAX = 80, SPAMD_SCORE_MAX = 1000000 };

struct spamd_symbol {
	const char *name;               /* in the reply's own octets */
	size_t len;
};

struct spamd_reply {
	int code;                       /* 0: all is well; else of sysexits.h, error says why, and nothing else is known */
	char error[SPAMD_ERROR_MAX + 1];
	bool spam;
	int64_t score, threshold;       /* rounded down */
	struct spamd_symbol symbol[SPAMD_SYMBOLS_MAX];
	size_t symbol_count;            /* of more the rest is left out, as is one that is too long */
};

/* All that came, up to the end of the connection or the length that it tells. 0 and *out; -EBADMSG. */
int spamd_reply_read(const char *p, size_t len, struct spamd_reply *out);

/* How long the whole reply is, by its Content-length; 0: that is not known (yet). */
size_t spamd_reply_length(const char *p, size_t len);

#endif
