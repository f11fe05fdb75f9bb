/*
 * key_list - the private keys that a configuration names: where they are, what each is for, and what is known of it
 *
 * No private key is in it: whoever signs (process/keys.h) reads the files. A key is called by its place in the list.
 */
#ifndef KEY_LIST_H
#define KEY_LIST_H

#include <stdbool.h>
#include <stddef.h>

enum key_purpose { KEY_FOR_TLS, KEY_FOR_CA, KEY_FOR_DKIM };     /* and for nothing else */

enum { KEY_FILE_MAX = 1024 * 1024, KEY_PUBLIC_MAX = 8 * 1024 };

struct key_spec {
	enum key_purpose purpose;
	char *path;
	char *cert_pem;                 /* of a CA, its certificate; else NULL */
	unsigned char *pub;             /* the public key (SubjectPublicKeyInfo), DER; NULL: the file has not been read */
	size_t pub_len;
};

struct key_list {
	struct key_spec *key;
	size_t count;
};

/* Add one; text is copied. Its place, or -ENOMEM. */
int key_list_add(struct key_list *l, enum key_purpose purpose, const char *path);
/* 0 or -ENOMEM. */
int key_list_public(struct key_list *l, size_t i, const void *der, size_t len);
void key_list_release(struct key_list *l);

#endif
