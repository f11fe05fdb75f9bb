#include "policy/key_list.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int key_list_add(struct key_list *l, enum key_purpose purpose, const char *path)
{
	struct key_spec *more = reallocarray(l->key, l->count + 1, sizeof(*more));
	char *copy = strdup(path);

	if (more)
		l->key = more;
	if (!more || !copy) {
		free(copy);
		return -ENOMEM;
	}
	l->key[l->count] = (struct key_spec){ .purpose = purpose, .path = copy };
	return (int)l->count++;
}

int key_list_public(struct key_list *l, size_t i, const void *der, size_t len)
{
	unsigned char *copy = malloc(len + 1);

	if (!copy)
		return -ENOMEM;
	memcpy(copy, der, len);
	free(l->key[i].pub);
	l->key[i].pub = copy;
	l->key[i].pub_len = len;
	return 0;
}

void key_list_release(struct key_list *l)
{
	for (size_t i = 0; i < l->count; i++) {
		free(l->key[i].path);
		free(l->key[i].cert_pem);
		free(l->key[i].pub);
	}
	free(l->key);
	*l = (struct key_list){ .key = NULL };
}
