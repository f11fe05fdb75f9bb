#include "hop/backend_tls.h"

#include "base/log.h"
#include "base/tls.h"
#include "policy/conf.h"

int backend_tls_ctx(const struct backend_conf *b, struct ssl_ctx_st **out, struct buf *err)
{
	const struct tls_peer p = {
		.verify = b->tls == TLS_REQUIRED, .ca_pem = b->tls_ca_pem, .min = b->tls_min, .level = b->tls_level, .ciphers = b->tls_ciphers,
		.pin = b->tls_pin, .pin_count = b->tls_pin_count,
	};

	return tls_peer_ctx(&p, out, err);
}

void backend_tls_seen(const struct backend_conf *b, struct tls_weak *w, const char *why)
{
	/* What was remembered under another configuration counts no more. */
	if (b->tls != TLS_OPPORTUNISTIC) {
		(void)tls_weak_worked(w);
		return;
	}
	if (why && tls_weak_failed(w))
		log_warning("backend-tls", "backend", b->name, "error", "TLS failed: in clear text, and TLS is tried again every 5 minutes", "why", why, NULL);
	else if (!why && tls_weak_worked(w))
		log_notice("backend-tls", "backend", b->name, "state", "TLS works again", NULL);
}
