/*
 * pop3_notice - a message on its way to the client, and the notice that takes its place
 *
 * The message goes in as it is, in pieces; what comes out has the same length: its header, fixed, and the notice's octets for those of the body. The
 * header ends with the first empty line, whatever line ends it has; at POP3_NOTICE_HEADER_MAX it ends anyway. Where so many lines were asked for
 * (TOP), of the notice no more come. Pure.
 */
#ifndef POP3_NOTICE_H
#define POP3_NOTICE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "retrieval/notice.h"

enum { POP3_NOTICE_HEADER_MAX = 256 * 1024 };

/* 0, or -errno, which is passed on. may wait */
typedef int pop3_notice_put(void *arg, const char *p, size_t len);

/* About 2 KiB, on the heap. */
struct pop3_notice {
	struct notice notice;           /* notice_init */
	pop3_notice_put *put;
	void *arg;
	bool top;                       /* no more lines of the body than these */
	uint32_t lines;
	/* its own: */
	struct buf header;
	bool in_body, empty_cr, cr, text;       /* the empty line has ended with CR, so far; the octet before was CR; its line is not empty */
	uint64_t octets, said;          /* of the body: how many there are, and have gone out */
};

/* notice, put, arg, top and lines have been set; all else is zero. */
void pop3_notice_begin(struct pop3_notice *n);
/* 0, -ENOMEM, or what put says. may wait */
int pop3_notice_add(struct pop3_notice *n, const char *p, size_t len);
int pop3_notice_end(struct pop3_notice *n);
void pop3_notice_release(struct pop3_notice *n);

#endif
