/*
 * key_client - a worker's way to the process that has the private keys (keys.h)
 *
 * Each call waits for the answer, and for the process where it has died and is started again: all in all for KEY_CLIENT_WAIT_MS. A signature that was asked for
 * twice does no harm.
 */
#ifndef KEY_CLIENT_H
#define KEY_CLIENT_H

#include "base/tls_key.h"
#include "base/tls_mint.h"
#include "filters/dkim_crypto.h"
#include "process/channel.h"

enum { KEY_CLIENT_WAIT_MS = 20 * 1000 };

struct site;

struct key_client {
	struct channel channel;
	struct key_signer signer;       /* for contexts of TLS */
	struct tls_minter minter;
	bool needed;                    /* the site has keys at all */
	uint32_t ca;                    /* the number of the CA's key */
};

/* From then on DKIM signs by it, too. */
void key_client_init(struct key_client *k, const struct site *site);
void key_client_release(struct key_client *k);

#endif
