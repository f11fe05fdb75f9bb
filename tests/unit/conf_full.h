/*
 * conf_full - the directory of conf_lab.h with every file that a configuration may name
 */
#ifndef CONF_FULL_H
#define CONF_FULL_H

#include "tests/support/certificate.h"
#include "tests/unit/conf_lab.h"

static inline void put_ca(void)
{
	struct certificate *ca = certificate_new("Own CA", NULL, 0, 86400);

	put("ca.pem", certificate_pem(ca));
	put("ca.key", certificate_key_pem(ca));
	certificate_free(ca);
}

static inline int conf_full_setup(void **state)
{
	AUTO(buf) struct buf cert = BUF_INIT(65536), key = BUF_INIT(65536), cert2 = BUF_INIT(65536), key2 = BUF_INIT(65536);

	dir_make();
	put("bad-policy.conf", "accept\nnonsense here\n");
	put("recipients", "# known\nb@Example.com\n  A@example.com  # the boss\n\n@example.org\r\n");
	put("domains", "# ours\nB.example\r\n\n a.example\t# partner\n");
	put("bad-recipients", "a@example.com\nno address\n\n@\n");
	assert_int_equal(tls_self_signed("mx.example.com", &cert, &key), 0);
	assert_int_equal(tls_self_signed("mx.example.com", &cert2, &key2), 0);
	put("cert.pem", buf_str(&cert));
	put("key.pem", buf_str(&key));
	put("other-key.pem", buf_str(&key2));
	put("anchor", ". IN DS 1 2 3 abcd\n");
	put_bytes("binary", "a\0b", 3);
	put("empty", "");
	put_key("dkim.pem", DKIM_KEY_ED25519, 0, 0600);
	put_key("seal.pem", DKIM_KEY_RSA, 1024, 0600);
	put("srs-secret", "0123456789abcdef\n\nfedcba9876543210\r\n");
	put_ca();
	put("users", "alice@example.com store\n");
	put("redis-password", "s3cret word\r\nnot this\n");
	return 0;
}

#endif
