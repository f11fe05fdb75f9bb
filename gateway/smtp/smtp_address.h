/*
 * smtp_address - mailboxes, paths and domains as SMTP writes them, RFC 5321 4.1.2 and RFC 6531 3.3
 *
 * A mailbox is parsed into its normal form: a local part that need not be quoted is unquoted, the domain is in
 * lower case (ASCII), source routes are stripped (RFC 5321 F.2). Everything is a NUL-terminated string: NUL and
 * controls are refused. No I/O.
 *
 * A local part that could be read as a second address somewhere behind us ("user%other@here",
 * "other!user@here", "\"user@other\"@here") sets `trick`: whoever relays refuses it, a foreign sender may have it.
 */
#ifndef SMTP_ADDRESS_H
#define SMTP_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/net.h"

enum {
	SMTP_LOCAL_MAX = 64,            /* RFC 5321 4.5.3.1.1 */
	SMTP_DOMAIN_MAX = 255,          /* 4.5.3.1.2 */
	SMTP_MAILBOX_MAX = 254,         /* 4.5.3.1.3, without < and > */
	SMTP_HOPS_MAX = 32,             /* hosts of a source route that are skipped */
};

/* Flags of the parsers. */
enum {
	MAILBOX_UTF8 = 1,               /* SMTPUTF8 is in force: UTF-8 in local part and domain */
	MAILBOX_NULL = 2,               /* smtp_path_parse: <> is allowed */
	MAILBOX_POSTMASTER = 4,         /* "postmaster" without a domain is allowed, 4.1.1.3 */
	MAILBOX_LONG_LOCAL = 8,         /* over 64 octets too: senders' VERP addresses are longer in practice */
};

enum smtp_address_error {
	ADDRESS_OK,
	ADDRESS_SYNTAX,
	ADDRESS_NO_DOMAIN,              /* a local part alone */
	ADDRESS_BAD_DOMAIN,
	ADDRESS_BAD_LITERAL,
	ADDRESS_LOCAL_LONG,
	ADDRESS_LONG,                   /* domain or whole */
	ADDRESS_UTF8,                   /* 8-bit without SMTPUTF8 */
	ADDRESS_BAD_UTF8,               /* not UTF-8 at all, overlong, surrogate */
};

struct smtp_mailbox {
	char text[2 * SMTP_MAILBOX_MAX + 4];            /* normal form; "" for <>, "postmaster" if bare */
	char local[SMTP_MAILBOX_MAX + 1];               /* unquoted, case as given */
	char domain[SMTP_DOMAIN_MAX + 1];               /* lower-case; "[192.0.2.1]"; "" if bare or null */
	bool quoted;                                    /* the local part needs its quotes */
	bool literal;
	struct net_addr address;                        /* of an address literal */
	bool utf8;                                      /* 8-bit somewhere */
	bool trick;                                     /* % ! or @ in the local part */
	bool routed;                                    /* a source route was stripped */
	bool bare_path;                                 /* smtp_path_parse: the angle brackets were missing */
};

/* "local@domain", all of p[0..len). Outputs are written on ADDRESS_OK only. */
enum smtp_address_error smtp_mailbox_parse(const char *p, size_t len, unsigned flags, struct smtp_mailbox *out);

/*
 * "<...>" with an optional source route, at the start of p; *used: bytes eaten. Without angle brackets the path
 * ends at the first blank (Microsoft's own examples do so).
 */
enum smtp_address_error smtp_path_parse(const char *p, size_t len, unsigned flags, size_t *used, struct smtp_mailbox *out);

/*
 * A domain (letters, digits, hyphens, underscores tolerated inside; U-labels with MAILBOX_UTF8) or an address literal in brackets;
 * out: lower-case, SMTP_DOMAIN_MAX + 1 bytes. literal may be NULL; family 0 if it is a name.
 */
enum smtp_address_error smtp_domain_parse(const char *p, size_t len, unsigned flags, char *out, struct net_addr *literal);

/*
 * Lower-case A-label form of a domain that may hold U-labels, for comparison. out: SMTP_DOMAIN_MAX + 1 bytes. ASCII is
 * only put in lower case. 0, or -EINVAL (no name that IDNA 2008 knows).
 */
int smtp_domain_ascii(const char *domain, char *out);

/* Why, as the text of a reply with its codes: "501 5.1.3 ...". recipient: RCPT TO, else MAIL FROM. */
const char *smtp_address_reply(enum smtp_address_error e, bool recipient);

/* Whether p[0..len) is well-formed UTF-8 (RFC 3629). */
bool smtp_utf8_ok(const char *p, size_t len);

#endif
