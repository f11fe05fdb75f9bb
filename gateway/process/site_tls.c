#include "process/site_tls.h"

#include <errno.h>
#include <stdlib.h>

#include "base/tls_sni.h"
#include "policy/conf.h"

static struct tls_pair pair(const char *cert_pem, int key, const struct key_signer *by)
{
	return (struct tls_pair){ .cert_pem = cert_pem, .by = by, .number = (uint32_t)key };
}

int site_tls_ctx(const struct site *s, const struct key_signer *by, struct ssl_ctx_st **out, struct buf *err)
{
	struct tls_sni_name *names;
	struct tls_pair first;
	int rc;

	*out = NULL;
	if (!s->tls_offer)
		return 0;
	first = pair(s->tls_cert_pem, s->tls_key, by);
	names = calloc(s->sni_count + 1, sizeof(*names));
	if (!names)
		return -ENOMEM;
	for (size_t i = 0; i < s->sni_count; i++)
		names[i] = (struct tls_sni_name){ s->sni[i].name, pair(s->sni[i].cert_pem, s->sni[i].key, by) };
	rc = tls_sni_ctx(&first, names, s->sni_count, out, err);
	free(names);
	return rc;
}
