#include "hop/return_path.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "filters/txn.h"
#include "hop/next_hop.h"
#include "policy/conf.h"
#include "smtp/smtp_address.h"

const char *return_path(const struct site *site, const struct next_hop *hop, const char *from, char out[SRS_ADDRESS_MAX])
{
	const char *at = strrchr(from, '@');
	char domain[SMTP_DOMAIN_MAX + 1];

	if (!site->srs.domain || !hop->world || !at || smtp_domain_ascii(at + 1, domain) < 0)
		return from;
	if (site_accepts(site, domain) || strcmp(domain, site->srs.domain) == 0)
		return from;
	return srs_forward(&site->srs, from, clock_wall_s(), out) < 0 ? from : out;
}

static const char *refusal(int rc)
{
	return rc == -ETIMEDOUT ? "550 5.1.1 this return path is too old" : "550 5.1.1 this return path is none of ours";
}

/* What it stands for, as any address is taken. */
static int read_address(const struct recipient *r, const struct srs_conf *srs, struct smtp_mailbox *m, char domain[SMTP_DOMAIN_MAX + 1])
{
	char address[SRS_ADDRESS_MAX], local[SRS_ADDRESS_MAX];
	size_t len = strlen(r->address) - strlen(r->domain) - 1;
	int rc;

	if (len >= sizeof(local))
		return -EINVAL;
	memcpy(local, r->address, len);
	local[len] = '\0';
	rc = srs_reverse(srs, local, clock_wall_s(), address);
	if (rc < 0)
		return rc;
	if (smtp_mailbox_parse(address, strlen(address), MAILBOX_UTF8 | MAILBOX_LONG_LOCAL, m) != ADDRESS_OK)
		return -EINVAL;
	return smtp_domain_ascii(m->domain, domain);
}

const char *return_path_back(const struct site *site, struct recipient *r)
{
	char domain[SMTP_DOMAIN_MAX + 1], *address, *copy;
	struct smtp_mailbox m;
	int rc;

	if (!site->srs.domain || strcmp(r->domain, site->srs.domain) != 0 || !srs_is(r->address))
		return NULL;
	rc = read_address(r, &site->srs, &m, domain);
	if (rc < 0)
		return refusal(rc);
	address = strdup(m.text);
	copy = strdup(domain);
	if (!address || !copy) {
		free(address);
		free(copy);
		return "452 4.3.1 out of memory, try again later";
	}
	free(r->address);
	free(r->domain);
	r->address = address;
	r->domain = copy;
	r->local = site_accepts(site, domain);
	r->rewritten = true;
	return NULL;
}
