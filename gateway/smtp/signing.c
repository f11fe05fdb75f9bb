#include "smtp/signing.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "filters/dkim_signer.h"
#include "policy/conf.h"

enum { SIGNATURES_MAX = DKIM_SIGN_KEYS_MAX * 128 * 1024 };

static void log_failed(const char *id, const char *domain, int rc, const char *why)
{
	log_error("sign-failed", "tx", id, "domain", domain, "error", strerror(-rc), "why", why, NULL);
}

/* The signatures, then the header, in place of it. */
static int put_above(const struct buf *signatures, struct buf *header)
{
	AUTO(buf) struct buf all = BUF_INIT(header->max + SIGNATURES_MAX);
	struct buf was = *header;

	buf_add(&all, signatures->data, signatures->len);
	if (buf_add(&all, header->data, header->len) < 0)
		return -ENOMEM;
	*header = all;
	all = was;
	return 0;
}

/* may wait */
static int sign(struct dkim_signer *s, const struct dkim_sign_conf *conf, struct message *m, const char *id, struct buf *header)
{
	AUTO(buf) struct buf signatures = BUF_INIT(SIGNATURES_MAX);
	const char *why = "";
	int rc = dkim_signer_sign(s, conf, m, clock_wall_s(), &signatures, &why);

	if (rc == 0)
		rc = put_above(&signatures, header);
	if (rc < 0)
		log_failed(id, conf->domain, rc, why);
	return rc;
}

int signing_apply_own(const struct site *site, struct message *m, const char *id, struct buf *header)
{
	const struct dkim_sign_conf *conf;
	AUTO(dkim_signer) struct dkim_signer *s = NULL;
	const char *domain;

	if (!site->dkim_sign_count)
		return 0;
	s = dkim_signer_new(header->data, header->len);
	if (!s) {
		log_failed(id, "", -ENOMEM, "the header could not be read");
		return -ENOMEM;
	}
	domain = dkim_signer_author(s);
	conf = domain ? dkim_sign_find(site->dkim_sign, site->dkim_sign_count, domain) : NULL;
	return conf ? sign(s, conf, m, id, header) : 0;
}

int signing_apply(const struct txn *t, struct buf *header)
{
	return t->client->relay ? signing_apply_own(t->site, t->message, t->id, header) : 0;
}
