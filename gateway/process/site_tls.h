/*
 * site_tls - the certificates of a site as a context for its listeners: the one of section tls, and those of the sections sni
 */
#ifndef SITE_TLS_H
#define SITE_TLS_H

#include "base/buf.h"

struct key_signer;
struct site;
struct ssl_ctx_st;

/* by signs with the site's keys. 0 and *out (tls_ctx_free), NULL where the site offers no TLS; or -errno with the reason in err. */
int site_tls_ctx(const struct site *s, const struct key_signer *by, struct ssl_ctx_st **out, struct buf *err);

#endif
