#include "process/site_tls.h"

#include <errno.h>
#include <stdlib.h>

#include "base/tls_sni.h"
#include "policy/conf.h"

int site_tls_ctx(const struct site *s, struct ssl_ctx_st **out, struct buf *err)
{
	struct tls_sni_name *names;
	struct tls_pair first;
	int rc;

	*out = NULL;
	if (!s->tls_offer)
		return 0;
	first = (struct tls_pair){ .cert_pem = s->tls_cert_pem, .key_pem = s->tls_key_pem };
	names = calloc(s->sni_count + 1, sizeof(*names));
	if (!names)
		return -ENOMEM;
	for (size_t i = 0; i < s->sni_count; i++)
		names[i] = (struct tls_sni_name){ s->sni[i].name, { .cert_pem = s->sni[i].cert_pem, .key_pem = s->sni[i].key_pem } };
	rc = tls_sni_ctx(&first, names, s->sni_count, out, err);
	free(names);
	return rc;
}
