/*
 * tls_cert - what the certificates that are made here have in common
 *
 * Each has a random serial number, is valid from an hour ago (clocks differ), is never one of a CA, and serves TLS servers alone. Whom it names, who issues it
 * and the signature are the caller's (tls_self_signed, tls_ca_sign).
 */
#ifndef TLS_CERT_H
#define TLS_CERT_H

#include <stdbool.h>

struct evp_pkey_st;
struct x509_st;

/* For this public key, valid for so many days. issuer: the CA's certificate, or x. false: no memory, or no random octets. */
bool tls_cert_fill(struct x509_st *x, struct x509_st *issuer, struct evp_pkey_st *key, int days);
/* Add an extension, in the words of OpenSSL's x509v3_config(5). */
bool tls_cert_extension(struct x509_st *x, struct x509_st *issuer, int nid, const char *value);

#endif
