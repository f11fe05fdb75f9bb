/*
 * smtp_client - the dialogue with one backend, RFC 5321 from the client's side
 *
 * One command, one reply. What the server said well-formed is data: the function returns 0 and the reply lies in c->reply. Everything else
 * ends the session: c->broken is set, c->why says what happened in words, and the result is -EPROTO (a malformed reply, one that
 * nobody asked for, 354 out of place), -ETIMEDOUT, -EPIPE or -ECANCELED. Whoever relays then answers 451.
 *
 * deadline_ms is the budget of the client's command that this belongs to, a moment of clock_ms() (0: none); each
 * wait is bounded by the RFC's own timeout as well.
 *
 * All functions but the obvious ones may wait.
 */
#ifndef SMTP_CLIENT_H
#define SMTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/net.h"
#include "base/proxy_header.h"
#include "base/tls.h"
#include "smtp/smtp_reply.h"

struct message;
struct smtp_identity;           /* hop/xclient.h */
struct smtp_timeouts;           /* policy/conf.h */
struct stream;

/* What a server offers, of what we can use or pass on; all else in its EHLO reply is not looked at. */
struct smtp_caps {
	bool esmtp;             /* it answered EHLO */
	bool size, eightbit, smtputf8, dsn;                     /* end to end */
	bool pipelining, chunking, starttls, enhanced;          /* this hop */
	unsigned xclient;       /* attributes of XCLIENT, hop/xclient.h; 0: not offered to us */
	unsigned auth;          /* mechanisms of AUTH that are known, base/sasl.h */
	bool auth_old;          /* it says "AUTH=LOGIN", too, as clients of old expect it */
	uint64_t size_max;      /* 0: none said */
	int limit_mail, limit_rcpt;     /* LIMITS MAILMAX, RCPTMAX (RFC 9422); 0: none */
};

/* What is known of the server's identity once TLS is up. */
enum tls_proof { TLS_PROOF_NONE, TLS_PROOF_PKIX, TLS_PROOF_MTA_STS, TLS_PROOF_DANE, TLS_PROOF_PIN };

struct smtp_client_conf {
	const char *hostname;           /* ours, for EHLO */
	enum tls_mode tls;
	struct ssl_ctx_st *tls_ctx;     /* verifying for TLS_REQUIRED; not needed for TLS_OFF */
	const char *tls_name;           /* name to verify; NULL: the address */
	bool tls_any;                   /* tls_ctx does not verify: no name is looked at, tls_name is only asked for */
	const struct tls_dane *tls_dane;        /* authenticated by these instead, tls_ctx is a tls_dane_ctx; or NULL */
	enum tls_proof tls_proof;       /* what a certificate that holds is said to prove; of DANE it is that */
	int connect_timeout_ms;
	bool implicit;                  /* TLS from the first octet (RFC 8314), instead of STARTTLS */
	/* Connects in a way of its own, instead of stream_connect; NULL: none. may wait */
	int (*dial)(void *arg, const struct net_addr *to, int timeout_ms, struct stream **out);
	void *dial_arg;
	struct tls_weak *weak;          /* what is remembered of its handshakes, for TLS_OPPORTUNISTIC; NULL: nothing */
	bool tls_always;                /* TLS is tried all the same: a password may be said there */
	const struct smtp_timeouts *timeouts;
	enum proxy_version proxy;       /* the connection begins with a PROXY header */
	struct proxy_header proxied;    /* that says this; a destination of family 0: the server itself */
};

enum { SMTP_WHY_MAX = 200 };

struct smtp_client {
	struct stream *stream;
	const struct smtp_client_conf *conf;
	struct smtp_caps caps;
	struct smtp_reply reply;        /* the last well-formed one */
	bool broken;                    /* only good for freeing */
	bool refused;                   /* it is broken since the server refused us in words: reply */
	bool closing;                   /* it said 421: not to be used for another transaction */
	enum tls_proof proof;           /* of the server's identity */
	char tls_failed[SMTP_WHY_MAX];  /* opportunistic: why there is no TLS although there was to be some; "" */
	bool tls_skipped;               /* it was not tried, since it failed a while ago */
	int error;                      /* of what broke it: -ETIMEDOUT, -EPROTO... */
	char why[SMTP_WHY_MAX];         /* the same in words; printable */
};

/*
 * Connect to `to` (from NULL: any source), read the greeting, EHLO (HELO if that is not known), STARTTLS as configured, EHLO again. With
 * TLS_OPPORTUNISTIC a failed handshake is followed by one attempt without TLS; while conf->weak says so, by that alone. 0 and *out; else why (SMTP_WHY_MAX bytes) and -EBUSY
 * (421: come later), -ECONNREFUSED (refused by the server's words or by TCP), -EPROTO, or the stream's error. may wait
 */
int smtp_client_open(const struct smtp_client_conf *conf, const struct net_addr *to, const struct net_addr *from, int64_t deadline_ms,
		     struct smtp_client **out, char *why);
/* The same; refusal (SMTP_WHY_MAX bytes, or NULL): what the server said, "554 5.7.1 go away", if it refused us in words; else "". */
int smtp_client_open_told(const struct smtp_client_conf *conf, const struct net_addr *to, const struct net_addr *from, int64_t deadline_ms,
			  struct smtp_client **out, char *why, char *refusal);
/* What it said, of one that is refused. */
const char *smtp_client_refusal(const struct smtp_client *c, char *out);
void smtp_client_free(struct smtp_client *c);           /* closes at once; NULL is fine */
AUTO_DEFINE(smtp_client)

/*
 * For a session that was opened with TLS_OFF. begin: STARTTLS and its answer, in c->reply; at 220 the handshake is next, on c->stream, whoever does it.
 * finish does it as conf says now, and EHLO again. may wait
 */
int smtp_client_starttls_begin(struct smtp_client *c, int64_t deadline_ms);
int smtp_client_starttls_finish(struct smtp_client *c, int64_t deadline_ms);

/* QUIT, a short wait for its reply, free. may wait */
void smtp_client_quit(struct smtp_client *c);

/* Nothing has come that was not asked for, and the server has not closed. Does not wait (under TLS it may yield). */
bool smtp_client_quiet(struct smtp_client *c);

/*
 * Tell the server who the client really is (xclient.h), and greet it again in his name: it forgets what was said before, and answers anew what it
 * offers. Between transactions only, after STARTTLS. 0: it knows. -EOPNOTSUPP: it does not offer that (to us), nothing was sent. -EACCES: it
 * refused; c->reply says how, and the session is as before. Such a session is of use to this client only.
 */
int smtp_client_xclient(struct smtp_client *c, const struct smtp_identity *who, int64_t deadline_ms);

/*
 * AUTH PLAIN, or LOGIN where that is all there is (RFC 4954). 0: it knows us. -EACCES: it does not want to; -EOPNOTSUPP: it offers neither, or the session
 * is not under TLS, nothing was sent. Then c->why says so, in words without the password; the session is as before.
 */
int smtp_client_login(struct smtp_client *c, const char *username, const char *password, int64_t deadline_ms);

/* 0: c->reply has the answer (2xx, 4xx, 5xx). Nothing sent: -EINVAL (controls in an address), -ENOTSUP (SMTPUTF8, which this server does not
   know: 553 5.6.7). params: as in struct envelope; those that this server does not offer are left out.
   size: SIZE= if it offers that; 0: not known. */
int smtp_client_mail(struct smtp_client *c, const char *from, const char *params, uint64_t size, int64_t deadline_ms);
int smtp_client_rcpt(struct smtp_client *c, const char *to, const char *params, int64_t deadline_ms);
int smtp_client_rset(struct smtp_client *c, int64_t deadline_ms);
int smtp_client_noop(struct smtp_client *c, int64_t deadline_ms);

/*
 * AUTH with all that stands in its line ("AUTH PLAIN AGFubgBz"), or a further line of its dialogue; line[0..len) without its end. 0: c->reply.code is 334
 * and *challenge (bound SASL_LINE_MAX) holds its text, printable; or the reply is final: 2xx, the user is in; else not. What is sent is overwritten in
 * our memory.
 */
int smtp_client_auth(struct smtp_client *c, const char *line, size_t len, struct buf *challenge, int64_t deadline_ms);

/* At off of the message `len` bytes are left out and text is put there. Edits are in ascending order and do not overlap. */
struct smtp_edit {
	size_t off, len;
	const char *text;
	size_t text_len;
};

struct smtp_content {
	struct message *message;
	const struct smtp_edit *edit;   /* header lines that are added (off 0), forged ones that are removed */
	size_t edit_count;
	bool as_it_came;                /* bare CR and LF are kept where that is possible, even if it begins with a signature */
	/*
	 * Called when all but the end has been sent: the server cannot have taken the message yet, and may have from then on. Less than 0: the end
	 * is not sent, the session is broken off (OUTCOME_REFUSED, that value). May be NULL; does not wait for the loop.
	 */
	int (*before_end)(void *arg);
	void *arg;
};

/* Bytes that will be sent, edits included, before dots are stuffed. */
uint64_t smtp_content_size(const struct smtp_content *content);

enum smtp_outcome {
	OUTCOME_REFUSED,        /* nothing was taken: DATA was not answered 354 (rc 0: c->reply says how), or we broke off before the end */
	OUTCOME_ANSWERED,       /* rc 0: c->reply is the server's word on the message */
	OUTCOME_UNKNOWN,        /* rc < 0: perhaps delivered */
};

/*
 * DATA, the content with dots stuffed, CRLF.CRLF, and the answer. A message with bare CR or LF goes by BDAT, byte for byte, if the server offers
 * CHUNKING; else, and where it begins with a signature or seal of ours (signing.h, sealing.h), bare ones leave as CRLF. The budgets: deadline_ms for DATA, the content and the answer together.
 */
int smtp_client_data(struct smtp_client *c, const struct smtp_content *content, int64_t deadline_ms, enum smtp_outcome *outcome);

/* Read the lines of an EHLO reply (text of a struct smtp_reply): the first is the greeting, each other a keyword. No I/O. */
void smtp_caps_parse(const char *text, struct smtp_caps *out);
/* What both offer; the smaller size. Hop-local ones are met, too. */
void smtp_caps_meet(struct smtp_caps *a, const struct smtp_caps *b);
/* The keywords in words, "SIZE=1000 8BITMIME AUTH=PLAIN", those of a that b does not have in the same way; b NULL: all of a. */
void smtp_caps_text(const struct smtp_caps *a, const struct smtp_caps *b, struct buf *out);

#endif
