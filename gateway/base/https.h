/*
 * https - fetch one small page of a verified server, in the task that asks
 *
 * A GET over our own streams rather than evhttp over bufferevent_openssl: what is needed is little (one request, one bounded answer, no redirects, no cache), it
 * reads as straight-line code with the deadlines and the cancelling of every other wait here, names are looked up by the worker's own validating
 * resolver, and the certificate is verified in the one place that does it for SMTP (stream_tls_connect). evhttp would bring a second TLS layer whose
 * verification is left to its user, and a resolver of its own.
 */
#ifndef HTTPS_H
#define HTTPS_H

#include <stddef.h>
#include <stdint.h>

#include "base/http_reply.h"

struct dns;
struct net_addr;
struct ssl_ctx_st;

enum { HTTPS_WHY_MAX = 200, HTTPS_PORT = 443, HTTPS_ADDRESSES_MAX = 6 };

struct https_get {
	struct dns *dns;
	struct ssl_ctx_st *tls_ctx;     /* verifying */
	const char *host, *path;        /* the certificate has to be the host's */
	unsigned short port;
	int64_t deadline_ms;            /* of all of it, of clock_ms() */
	bool (*usable)(void *arg, const struct net_addr *a);    /* whether that address may be connected to; NULL: any */
	void *arg;
};

/*
 * 0: a complete reply, whatever its status, in out (initialised by the caller). Else -errno and why (HTTPS_WHY_MAX): no address, no connection to any of them,
 * -EPROTO for a certificate that is not right, what http_reply says. may wait
 */
int https_get(const struct https_get *q, struct http_reply *out, char *why);

#endif
