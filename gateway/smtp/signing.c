#include "smtp/signing.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "filters/dkim_sig.h"
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

/* Where the field at p ends: behind the first line that no folded one follows. */
static const char *field_end(const char *p, const char *end)
{
	while ((p = memchr(p, '\n', (size_t)(end - p)))) {
		p++;
		if (p == end || (*p != ' ' && *p != '\t'))
			return p;
	}
	return end;
}

static bool is_former(const struct dkim_sign_conf *conf, const char *p, size_t len)
{
	static const char name[] = "DKIM-Signature";
	const char *colon = memchr(p, ':', len), *why;
	struct dkim_sig sig;
	size_t n = sizeof name - 1;

	if (!colon || (size_t)(colon - p) < n || strncasecmp(p, name, n) != 0 || strspn(p + n, " \t") != (size_t)(colon - p) - n)
		return false;
	(void)dkim_sig_parse(colon + 1, len - (size_t)(colon + 1 - p), 0, &sig, &why);
	for (size_t i = 0; i < conf->key_count; i++)
		if (strcmp(sig.domain, conf->domain) == 0 && strcasecmp(sig.selector, conf->key[i].selector) == 0)
			return true;
	return false;
}

/* A message that comes by a second time, from a user to our server and from there to the world: what the same keys said of it then is said anew. */
static void leave_out_former(const struct dkim_sign_conf *conf, struct buf *header)
{
	const char *end = header->data + header->len;
	char *to = header->data;

	for (const char *p = header->data; p < end;) {
		const char *next = field_end(p, end);

		if (!is_former(conf, p, (size_t)(next - p))) {
			memmove(to, p, (size_t)(next - p));
			to += next - p;
		}
		p = next;
	}
	header->len = (size_t)(to - header->data);
}

/* conf: by which it was signed; NULL: it is not. may wait */
static int make(const struct site *site, struct message *m, const char *id, const char *header, size_t len, struct buf *signatures,
		const struct dkim_sign_conf **out)
{
	AUTO(dkim_signer) struct dkim_signer *s = NULL;
	const struct dkim_sign_conf *conf;
	const char *domain, *why = "";
	int rc;

	*out = NULL;
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
	rc = dkim_signer_sign(s, conf, site_dkim_engine(site), m, clock_wall_s(), signatures, &why);
	if (rc < 0)
		log_failed(id, conf->domain, rc, why);
	else
		log_signed(id, conf);
	*out = rc < 0 ? NULL : conf;
	return rc;
}

int signing_make(const struct site *site, struct message *m, const char *id, const char *header, size_t len, struct buf *signatures)
{
	const struct dkim_sign_conf *conf;

	return make(site, m, id, header, len, signatures, &conf);
}

int signing_apply_own(const struct site *site, struct message *m, const char *id, struct buf *header)
{
	AUTO(buf) struct buf signatures = BUF_INIT(SIGNING_MAX);
	const struct dkim_sign_conf *conf;
	int rc = make(site, m, id, header->data, header->len, &signatures, &conf);

	if (rc < 0 || !conf)
		return rc;
	leave_out_former(conf, header);
	return put_above(&signatures, header);
}

int signing_apply(const struct txn *t, struct buf *header)
{
	return t->client->relay ? signing_apply_own(t->site, t->message, t->id, header) : 0;
}
