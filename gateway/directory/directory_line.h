/*
 * directory_line - one connection to a directory: LDAP (RFC 4511) by libldap, over a stream of ours
 *
 * libldap says and reads LDAP, and nothing else. It has one end of a pair of sockets that leads nowhere: what it writes there goes out by the stream, and what comes is
 * put there piece by piece, so that no call of it ever waits, and other tasks go on meanwhile. Connecting, names and TLS are the stream's, as for every other
 * server: Debian's libldap has GnuTLS, which would want files of its own in a process that sees none, other settings, and a handshake that blocks.
 *
 * No environment variable and no ldap.conf counts, referrals and aliases are not followed, no answer is larger than DIRECTORY_PDU_MAX. One task at a time.
 */
#ifndef DIRECTORY_LINE_H
#define DIRECTORY_LINE_H

#include <stdint.h>

#include "base/auto.h"
#include "policy/directory_conf.h"

enum { DIRECTORY_PDU_MAX = 16 * 1024 * 1024, DIRECTORY_WHY_MAX = 256, DIRECTORY_PAGE = 1000, DIRECTORY_ENTRIES_MAX = 5 * 1000 * 1000 };

struct directory_line;
struct dns;
struct ssl_ctx_st;

/* Once, before the process is confined: libldap's first call, so that it reads nothing and asks nobody for the name of this machine. 0 or -errno. */
int directory_library_init(void);

/*
 * Connect, TLS as configured (the server's name is verified), bind. password NULL: anonymous. 0, or -errno with why (DIRECTORY_WHY_MAX bytes): -EACCES, the
 * directory refuses us. may wait, until deadline_ms at most
 */
int directory_line_open(const struct directory_conf *c, const struct directory_server *s, struct dns *dns, struct ssl_ctx_st *ctx, const char *password,
			int64_t deadline_ms, struct directory_line **out, char *why);
void directory_line_free(struct directory_line *l);
AUTO_DEFINE(directory_line)

/* Whether the other side has closed it, or said something unasked: an idle one is to be left. */
bool directory_line_dead(const struct directory_line *l);

/* An entry that was found: one attribute of it after the other. dn stays the line's. 0, or -errno, which ends the search. Must not wait. */
struct berval;
struct directory_visit {
	int (*entry)(void *arg, const char *dn);                                        /* before its attributes; may be NULL */
	int (*values)(void *arg, const char *attribute, struct berval *const *values);  /* NULL last */
	int (*end)(void *arg);                                                          /* behind them; may be NULL */
	void (*elsewhere)(void *arg, const char *url);                                  /* a part is on another server, which is not asked; may be NULL */
	void *arg;
};

/*
 * Everything below base that the filter finds, in pages (RFC 2696) of `page` entries, of a server that knows pages; 0: without. base_only: that entry alone. Each wait
 * for the server takes step_ms at most, all of it until deadline_ms. 0: that was all of it; -ENOENT: there is no such base; -E2BIG: the server gives
 * no more than a part; or -errno, all with why. may wait
 */
int directory_line_search(struct directory_line *l, const char *base, bool base_only, const char *filter, char *const *attributes, int page, int step_ms,
			  int64_t deadline_ms, const struct directory_visit *visit, char *why);

#endif
