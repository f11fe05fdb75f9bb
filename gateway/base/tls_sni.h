/*
 * tls_sni - certificates of several names at one port: the client says whom it looks for (SNI, RFC 6066 section 3)
 *
 * A server context that picks the certificate by that name. The exact name counts before "*.example.org", which stands for one label, as in certificates.
 * Who asks for nobody, or for somebody unknown, gets the first certificate: clients of old times say nothing, and a refusal would help nobody.
 */
#ifndef TLS_SNI_H
#define TLS_SNI_H

#include <stddef.h>

#include "base/buf.h"
#include "base/tls.h"

struct ssl_ctx_st;

enum { TLS_SNI_MAX = 253 };     /* bytes of a name */

/* A name, lower-case, "*." in front or not, and what it is shown. cert_pem NULL: the first certificate, its key plays no part then. */
struct tls_sni_name {
	const char *name;
	struct tls_pair pair;
};

/*
 * A context as of tls_server_ctx_pair with first, which shows those of names where they are asked for. Nothing of names is needed
 * afterwards. 0, or -EINVAL with the reason in err, -ENOMEM. *out is freed with tls_ctx_free.
 */
int tls_sni_ctx(const struct tls_pair *first, const struct tls_sni_name *names, size_t count, struct ssl_ctx_st **out, struct buf *err);

/*
 * In list, count structs of size bytes whose first member is a name as above, sorted by tls_sni_order: the one for the name that was asked for, in
 * any case and with a final dot or not. NULL: there is none.
 */
const void *tls_sni_find(const void *list, size_t count, size_t size, const char *asked);
int tls_sni_order(const void *a, const void *b);

#endif
