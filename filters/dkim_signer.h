/*
 * dkim_signer - sign a message for its domain, RFC 6376 section 5, RFC 8463
 *
 *     struct dkim_signer *s = dkim_signer_new(header, len);   // the header as it is sent, our own fields in it
 *     domain = dkim_signer_author(s);                         // whose message it is
 *     conf = dkim_sign_find(all, count, domain);
 *     rc = dkim_signer_sign(s, conf, engine, message, now_s, &out, &why);
 *     dkim_signer_free(s);
 *
 * One DKIM-Signature field per key: they go above the header. All are over the same body hash, which is made in one pass. What is signed is the message
 * as it is sent by DATA: where a CR or LF stands alone there is a CRLF on the wire, and here. (A message with such bytes must not leave by
 * BDAT then.) 8-bit bytes are signed as they are. There is never an l=.
 *
 * The canonical header and its hash are the engine's (dkim_engine.h), the same as for a signature that is verified; for Ed25519, and for long fields, always our own. The hash is
 * signed with OpenSSL (dkim_private.h), as libopendkim leaks memory for each Ed25519 signature and reads an RSA key from its PEM text for each message.
 */
#ifndef DKIM_SIGNER_H
#define DKIM_SIGNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/auto.h"
#include "base/buf.h"
#include "filters/dkim_engine.h"
#include "filters/dkim_private.h"
#include "filters/dkim_sig.h"
#include "filters/message.h"

enum { DKIM_SIGN_KEYS_MAX = 8, DKIM_SIGN_NAMES_MAX = 64, DKIM_SIGN_SAME_MAX = 16 };

enum dkim_sign_form { DKIM_FORM_RELAXED, DKIM_FORM_RELAXED_SIMPLE, DKIM_FORM_SIMPLE_RELAXED, DKIM_FORM_SIMPLE };       /* of header and body */

struct dkim_sign_key {
	char *selector;                 /* as in DNS, lower-case */
	struct dkim_private *key;
	int number;                     /* its place in the site's keys; -1: key is the private key itself */
};

struct dkim_sign_conf {
	char *domain;                   /* canonical: d= */
	bool subdomains;                /* messages from below it, too */
	struct dkim_sign_key *key;
	size_t key_count;               /* 1 to DKIM_SIGN_KEYS_MAX */
	char **field;                   /* names of the fields that are signed where a message has them; From always is */
	size_t field_count;
	char **oversign;                /* of these, named once more than there are (where there is one): none can be added */
	size_t oversign_count;          /* From always is */
	enum dkim_sign_form form;
	int expire_s;                   /* x=; 0: never */
};

/* The configuration for an author's domain (canonical): the closest one at it or above. NULL: not signed. */
const struct dkim_sign_conf *dkim_sign_find(const struct dkim_sign_conf *all, size_t count, const char *domain);

/* The hash of the body of m, from message_body_offset() on, as it is sent by DATA. 0 or -errno. may wait */
int dkim_signer_body(struct message *m, bool relaxed, unsigned char hash[DKIM_HASH_MAX]);

struct dkim_signer;

/*
 * The header, with or without its empty line. The bytes may go afterwards. NULL: no memory, or no header.
 */
struct dkim_signer *dkim_signer_new(const char *header, size_t len);
void dkim_signer_free(struct dkim_signer *s);
AUTO_DEFINE(dkim_signer)

/* The one domain (canonical) in all From fields; NULL: none, several, or a From that can be read in several ways. */
const char *dkim_signer_author(const struct dkim_signer *s);

/*
 * Add a DKIM-Signature field per key to out. The body is that of m, from message_body_offset() on. 0, or -errno: *why in words (static), and out is not
 * to be used. engine: NULL for native. may wait
 */
int dkim_signer_sign(struct dkim_signer *s, const struct dkim_sign_conf *conf, const struct dkim_engine *engine, struct message *m, int64_t now_s,
		     struct buf *out, const char **why);

#endif
