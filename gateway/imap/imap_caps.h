/*
 * imap_caps - what a server says that it can do, and what of it the gateway lets a client see
 *
 * A list of capabilities is the server's, word for word, less what would not work or not be right through the gateway, and with what the gateway adds:
 *
 *     STARTTLS        by our own means, whatever the server has
 *     LOGINDISABLED   stays, and is added where we take no password in clear text
 *     AUTH=           without EXTERNAL and -PLUS, which hang on the TLS connection, and without those of base/sasl.h that the site does not allow
 *     COMPRESS=...    and others that would blind a scan, where messages are scanned
 *
 * It comes in "* CAPABILITY ...", and as a code in greetings and in tagged OKs: "* OK [CAPABILITY ...] ready". No I/O here.
 */
#ifndef IMAP_CAPS_H
#define IMAP_CAPS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/sasl.h"

/* What the client may see. */
struct imap_view {
	bool starttls;          /* we offer it now */
	bool clear_refused;     /* no password in clear text: LOGINDISABLED, and none of SASL_SHOWS_PASSWORD */
	bool routed;            /* a server is found by the user's name: mechanisms that do not begin with it are out */
	bool scanning;
	bool logged_in;         /* nothing of logins is added */
	unsigned mechanisms;    /* of base/sasl.h, those that are allowed */
};

/* Of what a server says, what we use ourselves. */
struct imap_caps {
	bool known;             /* it has said */
	bool login_disabled, starttls, literal_plus, literal_minus, sasl_ir, id;
};

/* Where in a line of the server's, its end not counted, the words behind "CAPABILITY" stand. false: nowhere. */
bool imap_caps_find(const char *line, size_t len, size_t *off, size_t *n);

/* The words p[0..len), as in "IMAP4rev1 IDLE". */
void imap_caps_read(struct imap_caps *out, const char *p, size_t len);

/* The words as the client sees them, at the end of out. 0 or -ENOMEM (out is full, too). */
int imap_caps_adjust(const struct imap_view *v, const char *p, size_t len, struct buf *out);

/* Whether the client may use AUTHENTICATE with it; len octets in any case. */
bool imap_caps_mechanism(const struct imap_view *v, const char *name, size_t len);

#endif
