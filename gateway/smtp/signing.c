#include "smtp/signing.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "filters/dkim_signer.h"
#include "policy/conf.h"

static void log_failed(const char *id, const char *domain, int rc, const char *why)
{
	log_error("sign-failed", "tx", id, "domain", domain, "error", strerror(-rc), "why", why, NULL);
}

static void log_signed(const char *id, const struct dkim_sign_conf *conf)
{
	AUTO(buf) struct buf selectors = BUF_INIT(DKIM_SIGN_KEYS_MAX * 256);

	for (size_t i = 0; i < conf->key_count; i++)
		buf_addf(&selectors, "%s%s", i ? "," : "", conf->key[i].selector);
	log_info("signed", "tx", id, "domain", conf->domain, "selectors", buf_str(&selectors), NULL);
}

/* The signatures, then the header, in place of it. */
static int put_above(const struct buf *signatures, struct buf *header)
{
	AUTO(buf) struct buf all = BUF_INIT(header->max + SIGNING_MAX);
	struct buf was = *header;

	buf_add(&all, signatures->data, signatures->len);
	if (buf_add(&all, header->data, header->len) < 0)
		return -ENOMEM;
	*header = all;
	all = was;
	return 0;
}

int signing_make(const struct site *site, struct message *m, const char *id, const char *header, size_t len, struct buf *signatures)
{
	AUTO(dkim_signer) struct dkim_signer *s = NULL;
	const struct dkim_sign_conf *conf;
	const char *domain, *why = "";
	int rc;

	if (!site->dkim_sign_count)
		return 0;
	s = dkim_signer_new(header, len);
	if (!s) {
		log_failed(id, "", -ENOMEM, "the header could not be read");
		return -ENOMEM;
	}
	domain = dkim_signer_author(s);
	conf = domain ? dkim_sign_find(site->dkim_sign, site->dkim_sign_count, domain) : NULL;
	if (!conf)
		return 0;
	rc = dkim_signer_sign(s, conf, m, clock_wall_s(), signatures, &why);
	if (rc < 0)
		log_failed(id, conf->domain, rc, why);
	else
		log_signed(id, conf);
	return rc;
}

int signing_apply_own(const struct site *site, struct message *m, const char *id, struct buf *header)
{
	AUTO(buf) struct buf signatures = BUF_INIT(SIGNING_MAX);
	int rc = signing_make(site, m, id, header->data, header->len, &signatures);

	return rc < 0 || !signatures.len ? rc : put_above(&signatures, header);
}

int signing_apply(const struct txn *t, struct buf *header)
{
	return t->client->relay ? signing_apply_own(t->site, t->message, t->id, header) : 0;
}
