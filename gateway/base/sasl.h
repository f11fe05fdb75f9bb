/*
 * sasl - what a gateway between a client and its server must know of SASL, RFC 4422
 *
 * It passes the dialogue on, step by step, and understands of it only what it needs: which mechanisms there are, whether a line can
 * be part of the dialogue at all (base64, RFC 4648 section 4, strictly), and the name of the user, for the log and the policy. Passwords,
 * tokens and digests are looked past; the scratch memory in which they were decoded is overwritten.
 *
 * EXTERNAL and the -PLUS mechanisms are not known on purpose: both hang on the TLS connection, which ends here.
 */
#ifndef SASL_H
#define SASL_H

#include <stdbool.h>
#include <stddef.h>

enum sasl_mechanism {
	SASL_PLAIN = 1, SASL_LOGIN = 2, SASL_CRAM_MD5 = 4, SASL_DIGEST_MD5 = 8, SASL_XOAUTH2 = 16, SASL_OAUTHBEARER = 32,
	SASL_SCRAM_SHA_1 = 64, SASL_SCRAM_SHA_256 = 128, SASL_NTLM = 256, SASL_GSSAPI = 512,
};

enum {
	SASL_LINE_MAX = 12288,          /* a line of the dialogue, its end included, RFC 4954 4.1 */
	SASL_NAMES_MAX = 128,           /* all names, blanks between, NUL */
	SASL_USER_MAX = 255,
	SASL_CHANNEL_BOUND = SASL_NTLM | SASL_GSSAPI,   /* may be bound to the TLS connection, which ends here */
	SASL_TOKENS = SASL_XOAUTH2 | SASL_OAUTHBEARER,
	SASL_SHOWS_PASSWORD = SASL_PLAIN | SASL_LOGIN | SASL_TOKENS,    /* or the token, as it is */
	/* The name comes with the client's first line, and nothing before it is the server's own: the server can be chosen by the name. */
	SASL_NAME_FIRST = SASL_SHOWS_PASSWORD | SASL_SCRAM_SHA_1 | SASL_SCRAM_SHA_256,
	SASL_DEFAULT = SASL_PLAIN | SASL_LOGIN | SASL_CRAM_MD5 | SASL_DIGEST_MD5 | SASL_XOAUTH2 | SASL_OAUTHBEARER | SASL_SCRAM_SHA_1 |
		SASL_SCRAM_SHA_256,
};

/* The mechanism of that name in any case; 0: not known. */
unsigned sasl_find(const char *name, size_t len);
/* Those known of a list of names with blanks between. */
unsigned sasl_list(const char *p, size_t len);
const char *sasl_name(unsigned mechanism);      /* "" if it is not exactly one that is known */
/* "PLAIN LOGIN", in a fixed order. Returns out. */
const char *sasl_names(unsigned set, char out[SASL_NAMES_MAX]);

/* Whether these are the letters of base64, and as many as there must be; none at all is fine. */
bool sasl_base64_ok(const char *p, size_t len);

/* What a client has said so far in one dialogue. */
struct sasl_login {
	unsigned mechanism;
	int step;                       /* lines so far */
	bool named;                     /* one of them was that with the name, */
	int after;                      /* and so many came behind it */
	bool for_other;                 /* he logs in with his password for somebody else's account (authzid), as the masters of a server do */
	char user[SASL_USER_MAX + 1];   /* "": not known (yet), or no name that can be printed: UTF-8 without controls */
};

enum sasl_line {
	SASL_DATA,      /* goes on to the server */
	SASL_CANCEL,    /* "*": the client gives up */
	/*
	 * No base64, or too long; not what the mechanism says in that place, or more than it says: servers might find another name there than the one that is
	 * counted and believed here. So LOGIN's empty name, which servers ask for again: the password would be taken for the name's line.
	 */
	SASL_BAD,
};

/* One line of the client's without its end. initial: the response that came with the command, where "=" is an empty one (RFC 4954 4). */
enum sasl_line sasl_client_line(struct sasl_login *l, bool initial, const char *p, size_t len);

/*
 * Whether the line that was looked at last is one on which the server decides: it holds the password, or the proof of it. What is to be
 * asked about the user is asked before it goes there; his name is known now, if it is to be known at all. Later lines decide, too.
 */
bool sasl_decides(const struct sasl_login *l);

/* A name that came without SASL, into a user of that size: nothing where it is none that can be shown as it is (too long, controls, no UTF-8). */
void sasl_user_keep(char user[SASL_USER_MAX + 1], const char *p, size_t len);

#endif
