/*
 * rua_wire - a day's aggregate reports as bytes: on disk, and between workers and the keeper of the history
 *
 *     CHANNEL_RUA_DUE      -> number: the day
 *     CHANNEL_RUA_DOMAINS  number: day; text: behind which one -> heads, one after the other
 *     CHANNEL_RUA_REPORT   number: day; text: domain -> length and octets of the head; then the rows
 *     CHANNEL_RUA_DONE     number: day; text: domain; number: fate; text: why
 *
 * Status of an answer: as rua_day.h has it. A number is as base/varint.h has it; a text is its length and its octets,
 * without a NUL in it. A head is RUA_WIRE_VERSION, then what is said of the domain as a whole; a row is the number of its messages, its length, and as many octets, which
 * stand for all else that is told of those messages: two of them are in one row if these octets are the same. Words are the values of dmarc_report.h, whose numbers
 * therefore never change their meaning.
 *
 * Neither side trusts the other, nor the disk: what is not as it should be is -EBADMSG. Pure: no I/O.
 */
#ifndef RUA_WIRE_H
#define RUA_WIRE_H

#include "base/buf.h"
#include "policy/rua_message.h"

enum {
	RUA_WIRE_VERSION = 1,
	RUA_ROWS_MAX = 10000,           /* of one report */
	RUA_REPORT_OCTETS_MAX = 8 << 20,        /* of its rows; an answer is a little more */
	RUA_HEAD_OCTETS_MAX = 16 * 1024,
	RUA_ROW_OCTETS_MAX = 32 * 1024,
};

struct rua_head {
	const char *domain;
	struct rua_published published;
	const char *const *rua;
	size_t rua_count;
	uint64_t messages;
	uint64_t merged;                /* messages in rows whose other details are those of another */
	uint64_t left_out;              /* messages in no row */
	bool partial;                   /* records of that day had been removed before they were read */
};

struct rua_reader {
	const unsigned char *p, *end;
	bool bad;
};
struct rua_reader rua_reader(const void *p, size_t len);
uint64_t rua_get_number(struct rua_reader *r);
/* At most max octets; they are followed by none, and are good as long as what is read. NULL when it is bad. */
const char *rua_get_text(struct rua_reader *r, size_t max, size_t *len);
const char *rua_get_octets(struct rua_reader *r, size_t max, size_t *len);      /* with NULs among them, perhaps */

/* out->failed when it did not fit. */
void rua_put_text(struct buf *out, const char *s);

void rua_put_head(struct buf *out, const struct rua_head *h);

/* The octets of m's row; the first *common are what even merged messages have in common. */
void rua_put_row(struct buf *out, const struct rua_message *m, size_t *common);

/* The next head, as one domain of a list: appended to d. 0; -ENOENT: that was all; -EBADMSG, -ENOMEM. */
int rua_get_domain(struct rua_reader *r, struct rua_domains *d);

/*
 * What a head says, and of the rows the next count, so that others get their turn in between: 1: there may be more. Of the report all is set then but its first members, which
 * rua_sign_report sets. 0, -EBADMSG or -ENOMEM.
 */
int rua_get_head(const void *p, size_t len, struct dmarc_report *out);
int rua_get_rows(struct rua_reader *r, size_t count, struct dmarc_report *out);
/* Both, all at once. */
int rua_get_report(const void *head, size_t head_len, const void *rows, size_t rows_len, struct dmarc_report *out);

/* 0 or -errno: who reports, and which day. */
int rua_sign_report(struct dmarc_report *out, const struct rua_reporter *who, int64_t day);

#endif
