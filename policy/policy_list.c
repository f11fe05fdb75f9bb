#include "policy/policy_list.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/net.h"

enum { ARENA_MAX = 1 << 30 };

/* What an entry is; the first byte of its key. */
enum kind { KIND_DOMAIN = 'd', KIND_MAILBOX = 'm', KIND_NETWORK = 'n', KIND_TEXT = 't' };

enum { HOLDS_SELF = 1, HOLDS_BELOW = 2, HOLDS_MAILBOXES = 4 };   /* what a domain entry holds for */

/*
 * Keys lie in one arena: two bytes of length, one of HOLDS_ bits, then the key. Slots hold offsets
 * + 1 into it, open addressing with linear probing, at most half full.
 */
struct policy_list {
	unsigned char *arena;
	size_t arena_len, arena_cap;
	uint32_t *slot;
	size_t slot_count;              /* a power of two, or 0 */
	size_t count;
	unsigned char v4_bits[33], v6_bits[129];        /* prefix lengths in use */
	bool domains, mailboxes, networks, texts;
};

struct policy_list *policy_list_new(void)
{
	return calloc(1, sizeof(struct policy_list));
}

void policy_list_free(struct policy_list *l)
{
	if (!l)
		return;
	free(l->arena);
	free(l->slot);
	free(l);
}

size_t policy_list_count(const struct policy_list *l)
{
	return l->count;
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static uint64_t hash_bytes(const void *p, size_t len)
{
	const unsigned char *b = p;
	uint64_t h = 0xcbf29ce484222325u;

	for (size_t i = 0; i < len; i++)
		h = (h ^ b[i]) * 0x100000001b3u;
	h ^= h >> 32;                   /* the low bits choose the slot */
	h *= 0xd6e8feb86659fd93u;
	return h ^ h >> 32;
}

static const unsigned char *key_at(const struct policy_list *l, uint32_t slot)
{
	return l->arena + slot - 1;
}

/* The slot of a key, or the free one where it would go. Needs slot_count > 0. */
static size_t slot_find(const struct policy_list *l, const void *key, size_t len)
{
	size_t i = (size_t)hash_bytes(key, len) & (l->slot_count - 1);

	for (; l->slot[i]; i = (i + 1) & (l->slot_count - 1)) {
		const unsigned char *k = key_at(l, l->slot[i]);

		if (((size_t)k[0] << 8 | k[1]) == len && memcmp(k + 3, key, len) == 0)
			break;
	}
	return i;
}

/* The HOLDS_ bits of a key, 0 when it is not there. */
static int key_holds(const struct policy_list *l, const void *key, size_t len)
{
	size_t i;

	if (!l->slot_count)
		return 0;
	i = slot_find(l, key, len);
	return l->slot[i] ? key_at(l, l->slot[i])[2] : 0;
}

static int slots_grow(struct policy_list *l)
{
	size_t n = l->slot_count ? l->slot_count * 2 : 64;
	uint32_t *old = l->slot, *slot = calloc(n, sizeof(*slot));
	size_t old_count = l->slot_count;

	if (!slot)
		return -ENOMEM;
	l->slot = slot;
	l->slot_count = n;
	for (size_t i = 0; i < old_count; i++) {
		const unsigned char *k;

		if (!old[i])
			continue;
		k = l->arena + old[i] - 1;
		slot[slot_find(l, k + 3, (size_t)k[0] << 8 | k[1])] = old[i];
	}
	free(old);
	return 0;
}

static int key_add(struct policy_list *l, const void *key, size_t len, int holds)
{
	size_t i;

	if (l->count >= l->slot_count / 2) {
		int rc = slots_grow(l);

		if (rc < 0)
			return rc;
	}
	i = slot_find(l, key, len);
	if (l->slot[i]) {
		l->arena[l->slot[i] - 1 + 2] |= (unsigned char)holds;
		return 0;
	}
	if (l->count >= LIST_ENTRIES_MAX || l->arena_len + len + 3 > ARENA_MAX)
		return -ENOSPC;
	if (l->arena_len + len + 3 > l->arena_cap) {
		size_t cap = l->arena_cap ? l->arena_cap * 2 : 1024;
		unsigned char *a = realloc(l->arena, cap); /* an entry is far shorter than 1024 */

		if (!a)
			return -ENOMEM;
		l->arena = a;
		l->arena_cap = cap;
	}
	l->arena[l->arena_len] = (unsigned char)(len >> 8);
	l->arena[l->arena_len + 1] = (unsigned char)len;
	l->arena[l->arena_len + 2] = (unsigned char)holds;
	memcpy(l->arena + l->arena_len + 3, key, len);
	l->slot[i] = (uint32_t)l->arena_len + 1;
	l->arena_len += len + 3;
	l->count++;
	return 0;
}

/* Key of a text: its kind, then its bytes in lower case. key has LIST_ENTRY_MAX + 1 bytes; 0 when
   it does not fit. */
static size_t text_key(enum kind kind, const char *text, size_t len, char *key)
{
	if (len > LIST_ENTRY_MAX)
		return 0;
	key[0] = (char)kind;
	for (size_t i = 0; i < len; i++)
		key[i + 1] = lower(text[i]);
	return len + 1;
}

static size_t network_key(const struct net_addr *a, int bits, unsigned char *key)
{
	size_t bytes = a->family == AF_INET ? 4 : 16;

	key[0] = KIND_NETWORK;
	key[1] = a->family == AF_INET ? 4 : 6;
	key[2] = (unsigned char)bits;
	for (size_t i = 0; i < bytes; i++) {
		int kept = bits - (int)i * 8;

		key[3 + i] = kept >= 8	 ? a->ip[i]
			     : kept <= 0 ? 0
					 : a->ip[i] & (unsigned char)(0xff << (8 - kept));
	}
	return bytes + 3;
}

bool policy_domain_text(const char *text, size_t len, char *out)
{
	size_t label = 0;

	if (len > 1 && text[len - 1] == '.')
		len--;
	if (len == 0 || len > 253)
		return false;
	for (size_t i = 0; i < len; i++) {
		char c = lower(text[i]);
		bool edge = i == 0 || i + 1 == len || text[i - 1] == '.' || text[i + 1] == '.';

		out[i] = c;
		if (c == '.') {
			if (label == 0)
				return false;
			label = 0;
			continue;
		}
		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
		      (c == '-' && !edge)) ||
		    ++label > 63)
			return false;
	}
	out[len] = '\0';
	return label > 0;
}

/* An address or network of the net. 1: added; 0: does not look like one; else -errno with err. */
static int add_network(struct policy_list *l, const char *text, struct buf *err)
{
	unsigned char key[24];
	struct net_prefix p;
	struct net_addr a;
	size_t key_len;
	int rc, bits, max;
	const char *slash = strchr(text, '/');
	char head[NET_TEXT_MAX], shown[NET_TEXT_MAX];
	unsigned char masked[24];

	if (!slash) {
		if (net_parse(text, &a) < 0)
			return 0;
		bits = a.family == AF_INET ? 32 : 128;
	} else if (net_parse_prefix(text, &p) == 0) {
		a = p.addr;
		bits = p.bits;
	} else {
		char *end;
		long n = strtol(slash + 1, &end, 10);

		if ((size_t)(slash - text) >= sizeof(head))
			return 0;
		memcpy(head, text, (size_t)(slash - text));
		head[slash - text] = '\0';
		if (net_parse(head, &a) < 0)
			return 0;
		max = a.family == AF_INET ? 32 : 128;
		if (*end || end == slash + 1 || n < 0 || n > max) {
			buf_addf(err, "%s is no network, expected a prefix length of 0 to %d", text,
				 max);
			return -EINVAL;
		}
		network_key(&a, (int)n, masked);
		memcpy(a.ip, masked + 3, a.family == AF_INET ? 4 : 16);
		buf_addf(err, "%s has bits set beyond its prefix, expected %s/%ld", text,
			 net_text(&a, shown), n);
		return -EINVAL;
	}
	key_len = network_key(&a, bits, key);
	rc = key_add(l, key, key_len, HOLDS_SELF);
	if (rc < 0)
		return rc;
	l->networks = true;
	if (a.family == AF_INET)
		l->v4_bits[bits] = 1;
	else
		l->v6_bits[bits] = 1;
	return 1;
}

static int add_domain(struct policy_list *l, const char *text, size_t len, int holds)
{
	char domain[254], key[LIST_ENTRY_MAX + 1];

	if (!policy_domain_text(text, len, domain))
		return 0;
	l->domains = l->mailboxes = true;
	return key_add(l, key, text_key(KIND_DOMAIN, domain, strlen(domain), key), holds) < 0
		       ? -ENOSPC
		       : 1;
}

static int add_mailbox(struct policy_list *l, const char *text, size_t len)
{
	const char *at = memrchr(text, '@', len);
	char key[LIST_ENTRY_MAX + 1], domain[254];
	size_t local;

	if (!at)
		return 0;
	local = (size_t)(at - text);
	if (!policy_domain_text(at + 1, len - local - 1, domain))
		return 0;
	l->mailboxes = true;
	if (local == 0)
		return add_domain(l, domain, strlen(domain), HOLDS_MAILBOXES);
	if (text[len - 1] == '.')
		len--;
	return key_add(l, key, text_key(KIND_MAILBOX, text, len, key), HOLDS_SELF) < 0 ? -ENOSPC
										       : 1;
}

int policy_list_add(struct policy_list *l, const char *entry, size_t len, bool quoted,
		    struct buf *err)
{
	char text[LIST_ENTRY_MAX + 1], key[LIST_ENTRY_MAX + 1];
	int rc;

	if (len == 0 || len > LIST_ENTRY_MAX || memchr(entry, '\0', len)) {
		buf_addf(err, "an entry of %zu bytes, expected 1 to %d", len, LIST_ENTRY_MAX);
		return -EINVAL;
	}
	memcpy(text, entry, len);
	text[len] = '\0';
	rc = add_network(l, text, err);
	if (rc == 0 && memchr(entry, '@', len))
		rc = add_mailbox(l, text, len);
	else if (rc == 0 && len > 1 && *text == '.')
		rc = add_domain(l, text + 1, len - 1, HOLDS_BELOW);
	else if (rc == 0)
		rc = add_domain(l, text, len, HOLDS_SELF | HOLDS_BELOW);
	if (rc >= 0 && quoted) {
		l->texts = true;
		rc = key_add(l, key, text_key(KIND_TEXT, text, len, key), HOLDS_SELF) < 0 ? -ENOSPC
											  : 1;
	}
	if (rc == 0) {
		buf_addf(err,
			 "%.80s is no entry, expected a domain, a mailbox, an address, a network, "
			 "or any text in double quotes",
			 text);
		return -EINVAL;
	}
	if (rc == -ENOSPC)
		buf_addf(err, "too many entries, expected at most %d", LIST_ENTRIES_MAX);
	return rc < 0 ? rc : 0;
}

int policy_list_add_exact(struct policy_list *l, const char *domain)
{
	int rc = *domain == '.' ? add_domain(l, domain + 1, strlen(domain + 1), HOLDS_BELOW)
				: add_domain(l, domain, strlen(domain), HOLDS_SELF);

	return rc < 0 ? rc : rc == 0 ? -EINVAL : 0;
}

bool policy_list_useful(const struct policy_list *l, enum fact_type type)
{
	switch (type) {
	case FACT_IP:
		return l->networks;
	case FACT_DOMAIN:
		return l->domains;
	case FACT_ADDRESS:
		return l->mailboxes;
	case FACT_TEXT:
		return l->texts || l->mailboxes;
	default:
		return false;
	}
}

static bool has_network(const struct policy_list *l, const char *value)
{
	unsigned char key[24];
	struct net_addr a;
	const unsigned char *bits;
	int max;

	if (!l->networks || net_parse(value, &a) < 0)
		return false;
	bits = a.family == AF_INET ? l->v4_bits : l->v6_bits;
	max = a.family == AF_INET ? 32 : 128;
	for (int i = max; i >= 0; i--)
		if (bits[i] && key_holds(l, key, network_key(&a, i, key)))
			return true;
	return false;
}

/* own: the bits that make an entry of the domain itself hold. */
static bool has_domain(const struct policy_list *l, const char *value, int own)
{
	char domain[254] = "", key[LIST_ENTRY_MAX + 1];
	const char *p = domain;

	if (!l->slot_count || !policy_domain_text(value, strlen(value), domain))
		return false;
	if (key_holds(l, key, text_key(KIND_DOMAIN, p, strlen(p), key)) & own)
		return true;
	while ((p = strchr(p, '.'))) {
		p++;
		if (key_holds(l, key, text_key(KIND_DOMAIN, p, strlen(p), key)) & HOLDS_BELOW)
			return true;
	}
	return false;
}

static bool has_text(const struct policy_list *l, enum kind kind, const char *value)
{
	char key[LIST_ENTRY_MAX + 1];
	size_t len = text_key(kind, value, strlen(value), key);

	return len && (key_holds(l, key, len) & HOLDS_SELF);
}

bool policy_list_has(const struct policy_list *l, enum fact_type type, const char *value)
{
	const char *at = strrchr(value, '@');

	switch (type) {
	case FACT_IP:
		return has_network(l, value);
	case FACT_DOMAIN:
		return has_domain(l, value, HOLDS_SELF);
	case FACT_ADDRESS:
		return has_text(l, KIND_MAILBOX, value) ||
		       (at && has_domain(l, at + 1, HOLDS_SELF | HOLDS_MAILBOXES));
	case FACT_TEXT:
		return has_text(l, KIND_TEXT, value) || has_text(l, KIND_DOMAIN, value) ||
		       has_text(l, KIND_MAILBOX, value);
	default:
		return false;
	}
}
