/*
 * pop3_capa - what a POP3 server says that it can do, adjusted for what the gateway changes, RFC 2449 5
 *
 * STLS stands for the client's leg, which ends here; mechanisms are those that pass (base/sasl.h); USER and what shows a password goes where no
 * password may come in clear. XCLIENT is between server and gateway. Where users go to different servers, what must be said before their name is
 * known is not offered. Where messages are scanned, only what is known stays: an extension could carry them past. Lines that hold more than printable
 * ASCII go. Pure.
 */
#ifndef POP3_CAPA_H
#define POP3_CAPA_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

struct pop3_capa_rules {
	bool stls;                      /* we offer it */
	bool no_clear;                  /* no password may come now */
	bool routed;                    /* users go to different servers */
	bool scan;
	unsigned mechanisms;            /* that may pass, base/sasl.h */
};

/* list: the lines between +OK and the dot. To out: the same for the client. 0 or -ENOSPC. */
int pop3_capa_adjust(const char *list, size_t len, const struct pop3_capa_rules *rules, struct buf *out);

/* The same for what AUTH alone lists: a mechanism in each line. */
int pop3_capa_mechanisms(const char *list, size_t len, const struct pop3_capa_rules *rules, struct buf *out);

/* What is said for a server that does not know CAPA, and of which only the common is supposed. */
int pop3_capa_supposed(const struct pop3_capa_rules *rules, struct buf *out);

#endif
