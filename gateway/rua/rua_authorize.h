/*
 * rua_authorize - whether the aggregate reports of a domain may go to an address: RFC 9990, "Verifying External Destinations"
 *
 * Within one organization (organizational domains as DMARC itself compares them) they may. To any other host only if that publishes a DMARC record at
 * DOMAIN._report._dmarc.HOST, so that nobody can have reports sent to whom he likes. Such a record may name another address at the same host, which
 * is then written to; one at another host forbids both.
 */
#ifndef RUA_AUTHORIZE_H
#define RUA_AUTHORIZE_H

#include "rua/rua_uri.h"

struct dmarc_walks;
struct dns;

enum rua_leave {
	RUA_GRANTED,
	RUA_DENIED,             /* why says how */
	RUA_UNKNOWN,            /* the DNS could not say: later */
};

/*
 * domain: canonical, where the policy record was found. uri may come back with another address. walks: from the same dns, shared by the addresses of one
 * report. *why: words, good as long as walks is there, or ""; may wait
 */
enum rua_leave rua_authorize(struct dns *dns, struct dmarc_walks *walks, const char *domain, struct rua_uri *uri, const char **why);

#endif
