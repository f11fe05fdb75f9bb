/*
 * smtp_onward - inline, outbound: STARTTLS of a client that looks for the certificate of the far end
 *
 * Our own certificate is nothing to such a client. With tls = hide it is not offered any STARTTLS (the session onward is encrypted all the same,
 * destination_tls.h); with tls = pass its STARTTLS is the far end's, and what follows passes as it is, not looked into; with tls = own-ca the session onward
 * is opened first, and the client is shown a certificate of the site's own CA with the names of the far end's (tls_mint.h).
 */
#ifndef SMTP_ONWARD_H
#define SMTP_ONWARD_H

#include <stdbool.h>

struct smtp_session;

/* Whether this session has STARTTLS from the far end: do_starttls is for the others. */
bool smtp_onward_offers(const struct smtp_session *s);

/*
 * STARTTLS, nothing pending. 0: the client has had its answer, and is under TLS where stream_is_tls says so; less: the session is over (after a pass, too). may wait
 */
int smtp_onward_starttls(struct smtp_session *s);

/* At the end of the session. NULL is fine. */
struct destination_ahead;
void smtp_onward_free(struct destination_ahead *a);

#endif
