/* First of all: the size of OPENDMARC_LIB_T hangs on MAXPATHLEN, and the library was built with
 * this one. */
#include <sys/param.h>

#include <opendmarc/dmarc.h>

#include "filters/dmarc_libopendmarc.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static u_char *bytes(const char *s)
{
	return (u_char *)s;     /* the library's prototypes lack const; it copies */
}

/* Once per process. No list of top-level domains: it must not compare domains of its own. */
static bool library_ready(void)
{
	static OPENDMARC_LIB_T lib = { .tld_type = OPENDMARC_TLD_TYPE_NONE };
	static bool done, ok;

	if (!done)
		ok = opendmarc_policy_library_init(&lib) == DMARC_PARSE_OKAY;
	done = true;
	return ok;
}

/*
 * The identifiers that align are named as the author domain is, and the record that is handed over
 * says nothing of adkim and aspf: equal names without "strict" are the one comparison that it does
 * right. (With an inherited record and aspf=s it compares with the record's domain.)
 */
static int store(DMARC_POLICY_T *p, const struct dmarc_query *q, const struct dmarc_record *record,
                 const char *record_domain, const struct dmarc_result *out)
{
	char text[DMARC_RECORD_TEXT_MAX];
	bool own = strcmp(q->author, record_domain) == 0;
	OPENDMARC_STATUS_T rc = opendmarc_policy_store_from_domain(p, bytes(q->author));

	if (rc == DMARC_PARSE_OKAY && out->aligned_spf)
		rc = opendmarc_policy_store_spf(p, bytes(q->author), DMARC_POLICY_SPF_OUTCOME_PASS,
		                                DMARC_POLICY_SPF_ORIGIN_MAILFROM, bytes(""));
	if (rc == DMARC_PARSE_OKAY && out->aligned_dkim)
		rc = opendmarc_policy_store_dkim(p, bytes(q->author), NULL,
		                                 DMARC_POLICY_DKIM_OUTCOME_PASS, bytes(""));
	if (rc == DMARC_PARSE_OKAY)
		rc = opendmarc_policy_store_dmarc(p, bytes(dmarc_record_text(record, text)),
		                                  bytes(record_domain),
		                                  own ? NULL : bytes(record_domain));
	return rc == DMARC_PARSE_OKAY ? 0 : rc == DMARC_PARSE_ERROR_NO_ALLOC ? -ENOMEM : -EPROTO;
}

/* What the library would do about a failure, read from its own fields. */
static enum dmarc_policy policy_of(int status)
{
	if (status == DMARC_POLICY_REJECT)
		return DMARC_P_REJECT;
	return status == DMARC_POLICY_QUARANTINE ? DMARC_P_QUARANTINE : DMARC_P_NONE;
}

static enum dmarc_policy policy_of_failure(DMARC_POLICY_T *p, bool own)
{
	int policy = 0, sub = 0;

	opendmarc_policy_fetch_p(p, &policy);
	opendmarc_policy_fetch_sp(p, &sub);
	if (!own && sub != DMARC_RECORD_P_UNSPECIFIED)
		policy = sub;
	if (policy == DMARC_RECORD_P_REJECT)
		return DMARC_P_REJECT;
	return policy == DMARC_RECORD_P_QUARANTINE ? DMARC_P_QUARANTINE : DMARC_P_NONE;
}

int dmarc_libopendmarc(const struct dmarc_query *q, const struct dmarc_record *record,
                       const char *record_domain, struct dmarc_result *out)
{
	DMARC_POLICY_T *p;
	int status, rc;

	if (!library_ready())
		return -EPROTO;
	p = opendmarc_policy_connect_init(bytes("0.0.0.0"), DMARC_POLICY_IP_TYPE_IPV4);
	if (!p)
		return -ENOMEM;
	rc = store(p, q, record, record_domain, out);
	if (rc == 0) {
		status = opendmarc_get_policy_to_enforce(p);
		switch (status) {
		case DMARC_POLICY_PASS:
			out->outcome = DMARC_PASS;
			out->policy = policy_of_failure(p, strcmp(q->author, record_domain) == 0);
			break;
		case DMARC_POLICY_REJECT:
		case DMARC_POLICY_QUARANTINE:
		case DMARC_POLICY_NONE:
			out->outcome = DMARC_FAIL;
			out->policy = policy_of(status);
			break;
		default:
			rc = -EPROTO;
		}
		/* Neither t= nor np= is known to it. */
		out->testing = false;
		out->policy_temperror = false;
		snprintf(out->why, sizeof out->why, "libopendmarc: %s",
		         opendmarc_policy_status_to_str(status));
	}
	opendmarc_policy_connect_shutdown(p);
	return rc;
}
