#include "process/key_client.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "filters/dkim_private.h"
#include "policy/conf.h"
#include "process/keys.h"
#include "process/keys_wire.h"

/* may wait */
static int ask(struct key_client *k, enum channel_type type, const struct buf *request, struct channel_msg *reply)
{
	int64_t until_ms = clock_ms() + KEY_CLIENT_WAIT_MS;
	int rc = request->failed ? -ENOMEM : -EPIPE;

	while (rc == -EPIPE) {
		int64_t left_ms = until_ms - clock_ms();

		if (left_ms <= 0)
			return -ETIMEDOUT;
		rc = channel_await_peer(&k->channel, (int)left_ms);
		if (rc == 0)
			rc = channel_call(&k->channel, type, request->data, request->len, -1, (int)left_ms, reply);
	}
	return rc < 0 ? rc : reply->status;
}

/* The answer into out, at most size bytes: how many, or -errno. may wait */
static int ask_bytes(struct key_client *k, enum channel_type type, const struct buf *request, unsigned char *out, size_t size)
{
	AUTO(channel_msg) struct channel_msg reply = CHANNEL_MSG_INIT;
	int rc = ask(k, type, request, &reply);

	if (rc < 0)
		return rc;
	if (reply.len == 0 || reply.len > size)
		return -EPROTO;
	memcpy(out, reply.data, reply.len);
	return (int)reply.len;
}

static int sign(void *arg, uint32_t number, unsigned scheme, const unsigned char *p, size_t len, unsigned char *signature, size_t size)
{
	AUTO(buf) struct buf request = BUF_INIT(KEYS_SIGNED_MAX + 64);

	keys_sign_write(&request, number, scheme, p, len);
	return ask_bytes(arg, CHANNEL_KEYS_SIGN, &request, signature, size);
}

static int dkim(void *arg, uint32_t number, const unsigned char hash[DKIM_CRYPTO_HASH], unsigned char *signature)
{
	AUTO(buf) struct buf request = BUF_INIT(256);

	keys_dkim_write(&request, number, hash);
	return ask_bytes(arg, CHANNEL_KEYS_DKIM, &request, signature, DKIM_PRIVATE_SIGNATURE_MAX);
}

static int mint(void *arg, const unsigned char *point, const unsigned char *names, size_t len, struct buf *der)
{
	AUTO(channel_msg) struct channel_msg reply = CHANNEL_MSG_INIT;
	AUTO(buf) struct buf request = BUF_INIT(KEYS_REQUEST_MAX + 64);
	struct key_client *k = arg;
	int rc;

	keys_mint_write(&request, k->ca, point, names, len);
	rc = ask(k, CHANNEL_KEYS_MINT, &request, &reply);
	return rc < 0 ? rc : buf_add(der, reply.data, reply.len);
}

void key_client_init(struct key_client *k, const struct site *site)
{
	*k = (struct key_client){ .signer = { sign, k }, .minter = { mint, k }, .ca = (uint32_t)site->tls_ca_key,
				  .needed = site->tls_offer || site->tls_ca_cert_pem || site->dkim_sign_count > 0 || site->arc_seal };
	channel_init(&k->channel, NULL, NULL);
	dkim_private_holder(dkim, k);
}

void key_client_release(struct key_client *k)
{
	dkim_private_holder(NULL, NULL);
	channel_release(&k->channel);
}
