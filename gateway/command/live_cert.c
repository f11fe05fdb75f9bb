/* live_cert - one certificate: whose, by whom, how long */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#include "base/tls.h"
#include "base/tls_peer.h"
#include "command/live.h"

enum { SOON_DAYS = 30, NAME_BYTES = 128 };

/* The common name of a name, or all of it. */
static const char *short_name(X509_NAME *name, char out[NAME_BYTES])
{
	if (X509_NAME_get_text_by_NID(name, NID_commonName, out, NAME_BYTES) <= 0)
		X509_NAME_oneline(name, out, NAME_BYTES);
	return out;
}

void live_certificate(struct live_part *p, const struct x509_st *cert, const char *whose, const char *name, bool counts)
{
	X509 *x = (X509 *)cert;
	enum live_level bad = counts ? LIVE_FAIL : LIVE_WARN;
	char subject[NAME_BYTES], issuer[NAME_BYTES], text[TLS_PIN_TEXT_MAX] = "";
	struct tls_pin pin;
	int days = 0, seconds = 0;
	bool known = ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(x)) == 1;

	short_name(X509_get_subject_name(x), subject);
	short_name(X509_get_issuer_name(x), issuer);
	if (tls_pin_of(x, false, &pin))
		tls_pin_text(&pin, text);
	if (!known)
		live_say(p, LIVE_WARN, "%s (%s, from %s) has no date that can be read", whose, subject, issuer);
	else if (days < 0 || seconds < 0)
		live_say(p, bad, "%s (%s, from %s) EXPIRED %d days ago%s", whose, subject, issuer, -days, counts ? "" : "; nobody looks at that here");
	else
		live_say(p, days < SOON_DAYS ? LIVE_WARN : LIVE_OK, "%s is for %s, from %s, expires in %d days%s; %s", whose, subject, issuer, days,
			 days < SOON_DAYS ? ": renew it" : "", text);
	if (X509_cmp_current_time(X509_get0_notBefore(x)) > 0)
		live_say(p, bad, "%s is not valid yet: does the clock go right?", whose);
	if (name && X509_check_host(x, name, 0, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) != 1 && X509_check_ip_asc(x, name, 0) != 1)
		live_say(p, bad, "%s does not carry the name %s", whose, name);
	ERR_clear_error();
}

void live_certificate_pem(struct live_part *p, const char *pem, const char *whose, const char *name)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *x = bio ? PEM_read_bio_X509(bio, NULL, tls_no_password, NULL) : NULL;

	if (x)
		live_certificate(p, x, whose, name, true);
	X509_free(x);
	BIO_free(bio);
	ERR_clear_error();
}
