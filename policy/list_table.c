#include "policy/list_table.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	KEYS_BYTES_MAX = 1 << 30,       /* offsets have 31 bits */
	NOTED_MAX = 1000,
	HEAD_BYTES = 4096,
	FILE_STEP = 1 << 20,            /* by which an image grows at least */
	KEY_HEAD = 3,                   /* two bytes of length, one of bits */
	SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE,
};

/* The most that an image can come to: address space only, until there is something in it. */
static const size_t RESERVE = HEAD_BYTES + (size_t)KEYS_BYTES_MAX + 8 + 2u * LIST_KEYS_MAX * 4u + NOTED_MAX * 4u;

struct image {                          /* the head; keys follow at HEAD_BYTES, then slots, then what was noted */
	char magic[8];
	uint64_t bytes, keys_len, slots_at, slot_count, noted_count, count, sum;
	struct list_kinds kinds;
};

static const char magic[8] = "gplist2";

_Static_assert(sizeof(struct image) <= HEAD_BYTES, "the head of an image");

void list_table_release(struct list_table *t)
{
	if (t->map) {
		munmap(t->map, t->map_len);
		if (t->growing)
			free(t->noted);
	} else {
		free(t->keys);
		free(t->slot);
		free(t->noted);
	}
	if (t->fd)
		close(t->fd - 1);
	*t = (struct list_table){ .count = 0 };
}

static uint64_t hash_bytes(const void *p, size_t len)
{
	const unsigned char *b = p;
	uint64_t h = 0xcbf29ce484222325u;

	for (size_t i = 0; i < len; i++)
		h = (h ^ b[i]) * 0x100000001b3u;
	h ^= h >> 32;                   /* the high bits choose the slot */
	h *= 0xd6e8feb86659fd93u;
	h ^= h >> 32;
	return h * 0xd6e8feb86659fd93u;
}

static size_t key_len(const unsigned char *k)
{
	return (size_t)k[0] << 8 | k[1];
}

static size_t slot_of_hash(const struct list_table *t, uint64_t hash)
{
	return (size_t)((unsigned __int128)hash * t->slot_count >> 64);
}

static size_t slot_first(const struct list_table *t, const void *key, size_t len)
{
	return slot_of_hash(t, hash_bytes(key, len));
}

/* What a key adds to the sum of all. */
static uint64_t key_sum(uint64_t hash, const unsigned char *k)
{
	return hash * (2u * k[2] + 1);
}

/* The slot of a key, or the free one where it would go, from i on. Needs slot_count > count. */
static size_t slot_from(const struct list_table *t, size_t i, const void *key, size_t len)
{
	while (t->slot[i]) {
		const unsigned char *k = t->keys + t->slot[i] - 1;

		if (key_len(k) == len && memcmp(k + KEY_HEAD, key, len) == 0)
			break;
		i = i + 1 < t->slot_count ? i + 1 : 0;
	}
	return i;
}

static size_t slot_find(const struct list_table *t, const void *key, size_t len)
{
	return slot_from(t, slot_first(t, key, len), key, len);
}

int list_table_get(const struct list_table *t, const void *key, size_t len)
{
	size_t i;

	if (!t->slot_count)
		return 0;
	i = slot_find(t, key, len);
	return t->slot[i] ? t->keys[t->slot[i] - 1 + 2] : 0;
}

static void slot_fill(struct list_table *t, size_t at, size_t first)
{
	unsigned char *k = t->keys + at;
	size_t i = slot_from(t, first, k + KEY_HEAD, key_len(k));

	if (t->slot[i]) {
		t->keys[t->slot[i] - 1 + 2] |= k[2];
	} else {
		t->slot[i] = (uint32_t)at + 1;
		t->count++;
	}
}

/*
 * Every key once more into slots that are empty; the same key twice is one, with the bits of both. Slots lie all over the memory:
 * those of some keys are fetched before the first of them is looked at.
 */
static void slots_fill(struct list_table *t)
{
	enum { AHEAD = 32 };
	size_t at[AHEAD], first[AHEAD], n;

	t->count = 0;
	t->sum = 0;
	for (size_t next = 0; next < t->keys_len;) {
		for (n = 0; n < AHEAD && next < t->keys_len; n++) {
			const unsigned char *k = t->keys + next;
			uint64_t hash = hash_bytes(k + KEY_HEAD, key_len(k));

			at[n] = next;
			first[n] = slot_of_hash(t, hash);
			t->sum += key_sum(hash, k);
			__builtin_prefetch(&t->slot[first[n]], 1);
			next += key_len(k) + KEY_HEAD;
		}
		for (size_t i = 0; i < n; i++)
			slot_fill(t, at[i], first[i]);
	}
}

static int slots_grow(struct list_table *t)
{
	size_t n = t->slot_count ? t->slot_count * 2 : 64;
	uint32_t *slot = calloc(n, sizeof(*slot));

	if (!slot)
		return -ENOMEM;
	free(t->slot);
	t->slot = slot;
	t->slot_count = n;
	slots_fill(t);
	return 0;
}

/* Images grow in place: all the addresses are reserved. */
static int file_grow(struct list_table *t, size_t bytes)
{
	size_t step = bytes / 4 > FILE_STEP ? bytes / 4 : FILE_STEP;

	if (bytes > RESERVE)
		return -ENOSPC;
	if (step > RESERVE - bytes)
		step = RESERVE - bytes;
	if (ftruncate(t->fd - 1, (off_t)(bytes + step)) < 0)
		return -errno;
	t->keys_cap = bytes + step - HEAD_BYTES;
	return 0;
}

static int keys_reserve(struct list_table *t, size_t more)
{
	size_t want = t->keys_len + more, cap = t->keys_cap ? t->keys_cap * 2 : 1024;
	unsigned char *p;

	if (want <= t->keys_cap)
		return 0;
	if (want > KEYS_BYTES_MAX)
		return -ENOSPC;
	if (t->map)
		return file_grow(t, HEAD_BYTES + want);
	while (cap < want)
		cap *= 2;
	p = realloc(t->keys, cap);
	if (!p)
		return -ENOMEM;
	t->keys = p;
	t->keys_cap = cap;
	return 0;
}

/* Whether the key is noted already; they are few. */
static bool is_noted(const struct list_table *t, const void *key, size_t len)
{
	for (size_t i = 0; i < t->noted_count; i++) {
		size_t n;
		const char *k = list_table_noted_key(t, i, &n);

		if (n == len && memcmp(k, key, len) == 0)
			return true;
	}
	return false;
}

static int note_place(struct list_table *t, uint32_t at)
{
	uint32_t *p;

	if (t->noted_count >= NOTED_MAX)
		return -ENOSPC;
	p = realloc(t->noted, (t->noted_count + 1) * sizeof(*p));
	if (!p)
		return -ENOMEM;
	t->noted = p;
	p[t->noted_count++] = at;
	return 0;
}

int list_table_add(struct list_table *t, const void *key, size_t len, int bits, bool note)
{
	size_t i = 0;
	int rc = 0;

	if (note && is_noted(t, key, len))
		return 0;
	if (!t->growing && t->count >= t->slot_count / 2)
		rc = slots_grow(t);
	if (rc < 0)
		return rc;
	if (!t->growing && t->slot[i = slot_find(t, key, len)]) {
		t->keys[t->slot[i] - 1 + 2] |= (unsigned char)bits;
		return 0;
	}
	if (t->count >= LIST_KEYS_MAX || len > LIST_KEY_MAX)
		return -ENOSPC;
	rc = keys_reserve(t, len + KEY_HEAD);
	if (rc == 0 && note)
		rc = note_place(t, (uint32_t)t->keys_len);
	if (rc < 0)
		return rc;
	t->keys[t->keys_len] = (unsigned char)(len >> 8);
	t->keys[t->keys_len + 1] = (unsigned char)len;
	t->keys[t->keys_len + 2] = (unsigned char)bits;
	memcpy(t->keys + t->keys_len + KEY_HEAD, key, len);
	if (!t->growing)
		t->slot[i] = (uint32_t)t->keys_len + 1;
	t->keys_len += len + KEY_HEAD;
	t->count++;
	return 0;
}

size_t list_table_noted(const struct list_table *t)
{
	return t->noted_count;
}

const char *list_table_noted_key(const struct list_table *t, size_t i, size_t *len)
{
	const unsigned char *k = t->keys + t->noted[i];

	*len = key_len(k);
	return (const char *)k + KEY_HEAD;
}

uint64_t list_table_sum(const struct list_table *t)
{
	uint64_t sum = 0;

	if (t->map)
		return t->sum;
	for (size_t at = 0; at < t->keys_len; at += key_len(t->keys + at) + KEY_HEAD)
		sum += key_sum(hash_bytes(t->keys + at + KEY_HEAD, key_len(t->keys + at)), t->keys + at);
	return sum;
}

/* Images */

int list_table_begin(struct list_table *t)
{
	int fd = memfd_create("gatepost-list", MFD_CLOEXEC | MFD_ALLOW_SEALING), rc;
	void *map;

	if (fd < 0)
		return -errno;
	map = mmap(NULL, RESERVE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (map == MAP_FAILED) {
		rc = -errno;
		close(fd);
		return rc;
	}
	*t = (struct list_table){ .map = map, .map_len = RESERVE, .fd = fd + 1, .growing = true };
	t->keys = (unsigned char *)map + HEAD_BYTES;
	rc = file_grow(t, HEAD_BYTES);
	if (rc < 0)
		list_table_release(t);
	return rc;
}

static size_t slots_place(size_t keys_len)
{
	return (HEAD_BYTES + keys_len + 7) / 8 * 8;
}

/* The head says where everything is; t points there. */
static void image_use(struct list_table *t)
{
	const struct image *head = t->map;

	t->kinds = head->kinds;
	t->count = head->count;
	t->sum = head->sum;
	t->keys = (unsigned char *)t->map + HEAD_BYTES;
	t->keys_len = t->keys_cap = head->keys_len;
	t->slot = (uint32_t *)((char *)t->map + head->slots_at);
	t->slot_count = head->slot_count;
	t->noted = t->slot + head->slot_count;
	t->noted_count = head->noted_count;
	t->growing = false;
}

/* What is complete can no longer change, and is only read. */
static int image_seal(struct list_table *t, size_t bytes)
{
	void *map;

	munmap(t->map, t->map_len);
	t->map = NULL;
	t->keys = NULL;
	t->slot = t->noted = NULL;
	if (fcntl(t->fd - 1, F_ADD_SEALS, SEALS | F_SEAL_SEAL) < 0)
		return -errno;
	/* Not MAP_SHARED, which kernels before 6.7 refuse of what is sealed; the pages are the same ones, as long as nobody writes. */
	map = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, t->fd - 1, 0);
	if (map == MAP_FAILED)
		return -errno;
	t->map = map;
	t->map_len = bytes;
	image_use(t);
	return 0;
}

int list_table_finish(struct list_table *t)
{
	size_t slots_at = slots_place(t->keys_len), slot_count = t->count * 2, bytes;
	uint32_t *noted = t->noted;
	struct image *head = t->map;
	int rc;

	bytes = slots_at + (slot_count + t->noted_count) * sizeof(uint32_t);
	if (ftruncate(t->fd - 1, (off_t)bytes) < 0) {
		rc = -errno;
		list_table_release(t);
		return rc;
	}
	t->slot = (uint32_t *)((char *)t->map + slots_at);
	t->slot_count = slot_count;
	slots_fill(t);
	if (noted)
		memcpy(t->slot + slot_count, noted, t->noted_count * sizeof(*noted));
	memcpy(head->magic, magic, sizeof(magic));
	head->bytes = bytes;
	head->keys_len = t->keys_len;
	head->slots_at = slots_at;
	head->slot_count = slot_count;
	head->noted_count = t->noted_count;
	head->count = t->count;
	head->sum = t->sum;
	head->kinds = t->kinds;
	free(noted);
	rc = image_seal(t, bytes);
	if (rc < 0)
		list_table_release(t);
	return rc;
}

int list_table_take_fd(struct list_table *t)
{
	int fd = t->fd - 1;

	t->fd = 0;
	return fd;
}

/* Sizes are what they must be for each other. */
static bool image_sound(const struct image *h, uint64_t bytes)
{
	return memcmp(h->magic, magic, sizeof(magic)) == 0 && h->bytes == bytes && h->keys_len <= KEYS_BYTES_MAX &&
	       h->count <= LIST_KEYS_MAX && h->slot_count <= 2 * (uint64_t)LIST_KEYS_MAX &&
	       (h->count == 0 || h->slot_count > h->count) && h->noted_count <= NOTED_MAX &&
	       h->slots_at == slots_place(h->keys_len) &&
	       h->slots_at + (h->slot_count + h->noted_count) * sizeof(uint32_t) == bytes;
}

int list_table_map(struct list_table *t, int fd)
{
	int seals = fcntl(fd, F_GET_SEALS), rc;
	struct stat st;
	void *map;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size < HEAD_BYTES || (uint64_t)st.st_size > RESERVE ||
	    seals < 0 || (seals & SEALS) != SEALS)
		return -EPROTO;
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	*t = (struct list_table){ .map = map, .map_len = (size_t)st.st_size };
	if (!image_sound(map, (uint64_t)st.st_size)) {
		rc = -EPROTO;
		list_table_release(t);
		return rc;
	}
	image_use(t);
	return 0;
}
