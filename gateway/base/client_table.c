#include "base/client_table.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { BUCKETS = 4096, KEY_BYTES = 9 };

struct entry {
	struct entry *next;
	unsigned char key[KEY_BYTES];
	int sessions;
};

struct client_table {
	uint64_t seed;          /* so that nobody can choose addresses that collide */
	struct entry *bucket[BUCKETS];
};

struct client_table *client_table_new(void)
{
	struct client_table *t = calloc(1, sizeof(*t));

	if (t && getrandom(&t->seed, sizeof(t->seed), 0) != sizeof(t->seed))
		t->seed = (uintptr_t)t;
	return t;
}

void client_table_free(struct client_table *t)
{
	for (size_t i = 0; t && i < BUCKETS; i++)
		while (t->bucket[i]) {
			struct entry *e = t->bucket[i];

			t->bucket[i] = e->next;
			free(e);
		}
	free(t);
}

static void make_key(const struct net_addr *client, unsigned char *key)
{
	struct net_addr a = net_counted(client);

	memset(key, 0, KEY_BYTES);
	key[0] = a.family == AF_INET6;
	memcpy(key + 1, a.ip, a.family == AF_INET6 ? 8 : 4);
}

static struct entry **find(struct client_table *t, const unsigned char *key)
{
	uint64_t h = t->seed;
	struct entry **e;

	for (int i = 0; i < KEY_BYTES; i++)
		h = (h ^ key[i]) * 0x9e3779b97f4a7c15u;
	for (e = &t->bucket[(h >> 32) % BUCKETS]; *e; e = &(*e)->next)
		if (memcmp((*e)->key, key, KEY_BYTES) == 0)
			break;
	return e;
}

int client_table_enter(struct client_table *t, const struct net_addr *a)
{
	unsigned char key[KEY_BYTES];
	struct entry **e;

	make_key(a, key);
	e = find(t, key);
	if (!*e) {
		*e = calloc(1, sizeof(**e));
		if (!*e)
			return -ENOMEM;
		memcpy((*e)->key, key, KEY_BYTES);
	}
	return ++(*e)->sessions;
}

int client_table_admit(struct client_table *t, const struct net_addr *a, int max)
{
	int n = client_table_enter(t, a);

	if (n > max)
		client_table_leave(t, a);
	return n < 0 ? n : n > max ? -EBUSY : 0;
}

void client_table_leave(struct client_table *t, const struct net_addr *a)
{
	unsigned char key[KEY_BYTES];
	struct entry **e, *gone;

	make_key(a, key);
	e = find(t, key);
	gone = *e;
	if (!gone || --gone->sessions > 0)
		return;
	*e = gone->next;
	free(gone);
}
