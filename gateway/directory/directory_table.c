#include "directory/directory_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "directory/directory_address.h"

enum { TEXT_FIRST = 4096, SLOTS_FIRST = 256 };

void directory_table_release(struct directory_table *t)
{
	free(t->text);
	free(t->slot);
	*t = (struct directory_table){ .text = NULL };
}

/* Where the address is, or would be. */
static size_t place(const struct directory_table *t, const char *address)
{
	size_t at = (size_t)siphash(&t->key, address, strlen(address)) & (t->slots - 1);

	while (t->slot[at] && strcmp(t->text + t->slot[at], address) != 0)      /* the octet behind the flags' */
		at = (at + 1) & (t->slots - 1);
	return at;
}

/* At most three quarters are taken. */
static int slots_grow(struct directory_table *t)
{
	size_t slots = t->slots ? 2 * t->slots : SLOTS_FIRST;
	struct directory_table next = *t;

	if (4 * (t->count + 1) <= 3 * t->slots)
		return 0;
	next.slots = slots;
	next.slot = calloc(slots, sizeof(*next.slot));
	if (!next.slot)
		return -ENOMEM;
	if (!t->slots)
		siphash_key_make(&next.key);
	for (size_t i = 0; i < t->slots; i++)
		if (t->slot[i])
			next.slot[place(&next, t->text + t->slot[i])] = t->slot[i];
	free(t->slot);
	*t = next;
	return 0;
}

static int text_grow(struct directory_table *t, size_t more)
{
	size_t want = (size_t)t->used + more, cap = t->cap ? t->cap : TEXT_FIRST;
	char *text;

	if (want > DIRECTORY_TEXT_MAX)
		return -ENOSPC;
	if (want <= t->cap)
		return 0;
	while (cap < want)
		cap += cap / 8 + TEXT_FIRST;    /* not doubled: what is not used is paid for, too */
	if (cap > DIRECTORY_TEXT_MAX)
		cap = DIRECTORY_TEXT_MAX;
	text = realloc(t->text, cap);
	if (!text)
		return -ENOMEM;
	t->text = text;
	t->cap = (uint32_t)cap;
	return 0;
}

int directory_table_add(struct directory_table *t, const char *address, unsigned flags)
{
	size_t len = strlen(address), at;
	int rc = slots_grow(t);

	if (rc == 0)
		rc = text_grow(t, len + 2);
	if (rc < 0)
		return rc;
	at = place(t, address);
	if (t->slot[at]) {
		t->text[t->slot[at] - 1] = (char)flags;
		return 0;
	}
	t->text[t->used] = (char)flags;
	memcpy(t->text + t->used + 1, address, len + 1);
	t->slot[at] = t->used + 1;
	t->used += (uint32_t)len + 2;
	t->count++;
	return 1;
}

bool directory_table_find(const struct directory_table *t, const char *address, unsigned *flags)
{
	size_t at;

	if (!t->slots)
		return false;
	at = place(t, address);
	if (!t->slot[at])
		return false;
	*flags = (unsigned char)t->text[t->slot[at] - 1];
	return true;
}

int directory_table_read(struct directory_table *t, const char *text, size_t len)
{
	for (size_t at = 0; at < len;) {
		unsigned flags = (unsigned char)text[at];
		const char *address = text + at + 1, *end = memchr(address, '\0', len - at - 1);
		int rc = end && end > address && end - address < DIRECTORY_ADDRESS_MAX && !(flags & ~(unsigned)DIRECTORY_FLAGS)
				 ? directory_table_add(t, address, flags) : -EBADMSG;

		if (rc < 0) {
			directory_table_release(t);
			return rc == -ENOMEM ? rc : -EBADMSG;
		}
		at = (size_t)(end + 1 - text);
	}
	return 0;
}

int directory_table_merge(struct directory_table *t, const struct directory_table *from)
{
	int rc = 0;

	for (uint32_t at = 0; rc >= 0 && at < from->used; at += (uint32_t)strlen(from->text + at + 1) + 2)
		rc = directory_table_add(t, from->text + at + 1, (unsigned char)from->text[at]);
	return rc < 0 ? rc : 0;
}

size_t directory_table_bytes(const struct directory_table *t)
{
	return t->cap + t->slots * sizeof(*t->slot);
}
