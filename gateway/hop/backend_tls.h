/*
 * backend_tls - TLS with a server behind us, as its section says
 */
#ifndef BACKEND_TLS_H
#define BACKEND_TLS_H

#include "base/tls_peer.h"
#include "base/tls_weak.h"

struct backend_conf;

/* tls, tls_ca, tls_min, tls_security_level, tls_ciphers and tls_pin as a context; tls is not off. 0, or -EINVAL with err. */
int backend_tls_ctx(const struct backend_conf *b, struct ssl_ctx_st **out, struct buf *err);

/* What came of opportunistic TLS with it: remembered, and logged when that is news. why: in words; NULL: it worked. */
void backend_tls_seen(const struct backend_conf *b, struct tls_weak *w, const char *why);

#endif
