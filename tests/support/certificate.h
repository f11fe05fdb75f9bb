/*
 * certificate - certificates for tests: CAs, servers that they signed, of yesterday and of today
 *
 * P-256 keys. Everything asserts that it works.
 */
#ifndef TESTS_CERTIFICATE_H
#define TESTS_CERTIFICATE_H

#include <stddef.h>
#include <stdint.h>

struct certificate;

enum { CERTIFICATE_TLSA_MAX = 4096 };

/* name: its common name and, with a dot in it, its DNS name. issuer NULL: it signs itself. A name without a dot is a CA's. Valid from now + from_s to now + to_s. */
struct certificate *certificate_new(const char *name, const struct certificate *issuer, long from_s, long to_s);
void certificate_free(struct certificate *c);

const char *certificate_pem(const struct certificate *c);
const char *certificate_chain_pem(const struct certificate *c);         /* with its issuer */
const char *certificate_key_pem(const struct certificate *c);

/* RDATA of a TLSA record; its length. */
size_t certificate_tlsa(const struct certificate *c, uint8_t usage, uint8_t selector, uint8_t matching, uint8_t *out);

#endif
