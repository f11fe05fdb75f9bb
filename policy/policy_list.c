#include "policy/policy_list.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/net.h"
#include "policy/list_table.h"
#include "policy/policy_regex.h"

/* What an entry is; the first byte of its key. */
enum kind { KIND_DOMAIN = 'd', KIND_MAILBOX = 'm', KIND_NETWORK = 'n', KIND_TEXT = 't', KIND_REGEX = 'r' };

enum { HOLDS_SELF = 1, HOLDS_BELOW = 2, HOLDS_MAILBOXES = 4 };   /* what a domain entry holds for */
enum { GIVEN_UP_MAX = 5 };              /* regular expressions that were too much work for one value; then the others are not tried */

/* Regular expressions are keys, too, as written and noted; what they are compiled to is each process's own. */
struct policy_list {
	struct list_table table;
	struct policy_regex **regex;    /* of each that is noted; NULL: could not be compiled here */
	size_t regex_count;
};

struct policy_list *policy_list_new(void)
{
	return calloc(1, sizeof(struct policy_list));
}

static void list_release(struct policy_list *l)
{
	for (size_t i = 0; i < l->regex_count; i++)
		policy_regex_free(l->regex[i]);
	free(l->regex);
	list_table_release(&l->table);
}

void policy_list_free(struct policy_list *l)
{
	if (!l)
		return;
	list_release(l);
	free(l);
}

size_t policy_list_count(const struct policy_list *l)
{
	return l->table.count;
}

size_t policy_list_regexes(const struct policy_list *l)
{
	return l->regex_count;
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
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

/* Most entries are domains: seen at a glance. */
static bool like_network(const char *text, size_t len)
{
	return memchr(text, ':', len) || memchr(text, '/', len) || (text[len - 1] >= '0' && text[len - 1] <= '9');
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
	rc = list_table_add(&l->table, key, key_len, HOLDS_SELF, false);
	if (rc < 0)
		return rc;
	l->table.kinds.networks = true;
	if (a.family == AF_INET)
		l->table.kinds.v4_bits[bits] = 1;
	else
		l->table.kinds.v6_bits[bits] = 1;
	return 1;
}

static int added(int rc)
{
	return rc < 0 ? rc : 1;
}

static int add_domain(struct policy_list *l, const char *text, size_t len, int holds)
{
	char domain[254], key[LIST_ENTRY_MAX + 1];

	if (!policy_domain_text(text, len, domain))
		return 0;
	l->table.kinds.domains = l->table.kinds.mailboxes = true;
	return added(list_table_add(&l->table, key, text_key(KIND_DOMAIN, domain, strlen(domain), key), holds, false));
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
	l->table.kinds.mailboxes = true;
	if (local == 0)
		return add_domain(l, domain, strlen(domain), HOLDS_MAILBOXES);
	if (text[len - 1] == '.')
		len--;
	return added(list_table_add(&l->table, key, text_key(KIND_MAILBOX, text, len, key), HOLDS_SELF, false));
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
	rc = like_network(text, len) ? add_network(l, text, err) : 0;
	if (rc == 0 && memchr(entry, '@', len))
		rc = add_mailbox(l, text, len);
	else if (rc == 0 && len > 1 && *text == '.')
		rc = add_domain(l, text + 1, len - 1, HOLDS_BELOW);
	else if (rc == 0)
		rc = add_domain(l, text, len, HOLDS_SELF | HOLDS_BELOW);
	if (rc >= 0 && quoted) {
		l->table.kinds.texts = true;
		rc = added(list_table_add(&l->table, key, text_key(KIND_TEXT, text, len, key), HOLDS_SELF, false));
	}
	if (rc == 0) {
		buf_addf(err,
			 "%.80s is no entry, expected a domain, a mailbox, an address, a network, "
			 "a /regular expression/, or any text in double quotes",
			 text);
		return -EINVAL;
	}
	if (rc == -ENOSPC)
		buf_addf(err, "too many entries, expected at most %d", LIST_ENTRIES_MAX);
	return rc < 0 ? rc : 0;
}

int policy_list_add_regex(struct policy_list *l, const char *pattern, size_t len, size_t *offset, struct buf *err)
{
	char key[REGEX_PATTERN_MAX + 1];
	struct policy_regex *r, **all;
	size_t before = list_table_noted(&l->table);
	int rc;

	*offset = 0;
	if (len == 0 || len > REGEX_PATTERN_MAX) {
		buf_addf(err, "a regular expression of %zu bytes, expected 1 to %d", len, REGEX_PATTERN_MAX);
		return -EINVAL;
	}
	if (before >= LIST_REGEX_MAX) {
		buf_addf(err, "too many regular expressions in a list, expected at most %d", LIST_REGEX_MAX);
		return -EINVAL;
	}
	r = policy_regex_new(pattern, len, offset, err);
	if (!r) {
		buf_adds(err, ", expected a Perl regular expression");
		return -EINVAL;
	}
	key[0] = KIND_REGEX;
	memcpy(key + 1, pattern, len);
	all = realloc(l->regex, (before + 1) * sizeof(*all));
	if (all)
		l->regex = all;
	rc = all ? list_table_add(&l->table, key, len + 1, HOLDS_SELF, true) : -ENOMEM;
	if (rc < 0 || list_table_noted(&l->table) == before)
		policy_regex_free(r);   /* no room; or it is there already */
	else
		all[l->regex_count++] = r;
	return rc;
}

int policy_list_add_exact(struct policy_list *l, const char *domain)
{
	int rc = *domain == '.' ? add_domain(l, domain + 1, strlen(domain + 1), HOLDS_BELOW)
				: add_domain(l, domain, strlen(domain), HOLDS_SELF);

	return rc < 0 ? rc : rc == 0 ? -EINVAL : 0;
}

bool policy_list_useful(const struct policy_list *l, enum fact_type type)
{
	const struct list_kinds *k = &l->table.kinds;

	switch (type) {
	case FACT_IP:
		return k->networks || l->regex_count;
	case FACT_DOMAIN:
		return k->domains || l->regex_count;
	case FACT_ADDRESS:
		return k->mailboxes || l->regex_count;
	case FACT_TEXT:
		return k->texts || k->mailboxes || l->regex_count;
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

	if (!l->table.kinds.networks || net_parse(value, &a) < 0)
		return false;
	bits = a.family == AF_INET ? l->table.kinds.v4_bits : l->table.kinds.v6_bits;
	max = a.family == AF_INET ? 32 : 128;
	for (int i = max; i >= 0; i--)
		if (bits[i] && list_table_get(&l->table, key, network_key(&a, i, key)))
			return true;
	return false;
}

/* own: the bits that make an entry of the domain itself hold. */
static bool has_domain(const struct policy_list *l, const char *value, int own)
{
	char domain[254] = "", key[LIST_ENTRY_MAX + 1];
	const char *p = domain;

	if (!l->table.count || !policy_domain_text(value, strlen(value), domain))
		return false;
	if (list_table_get(&l->table, key, text_key(KIND_DOMAIN, p, strlen(p), key)) & own)
		return true;
	while ((p = strchr(p, '.'))) {
		p++;
		if (list_table_get(&l->table, key, text_key(KIND_DOMAIN, p, strlen(p), key)) & HOLDS_BELOW)
			return true;
	}
	return false;
}

static bool has_text(const struct policy_list *l, enum kind kind, const char *value)
{
	char key[LIST_ENTRY_MAX + 1];
	size_t len = text_key(kind, value, strlen(value), key);

	return len && (list_table_get(&l->table, key, len) & HOLDS_SELF);
}

bool policy_list_has_entry(const struct policy_list *l, enum fact_type type, const char *value)
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

bool policy_list_matches(const struct policy_list *l, size_t i, const char *value, int *given_up)
{
	enum regex_match m = REGEX_NO;

	if (l->regex[i] && *given_up < GIVEN_UP_MAX)
		m = policy_regex_match(l->regex[i], value, strlen(value));
	*given_up += m == REGEX_LIMIT;
	return m == REGEX_YES;
}

bool policy_list_has(const struct policy_list *l, enum fact_type type, const char *value, bool *limit)
{
	bool has = policy_list_has_entry(l, type, value);
	int given_up = 0;

	if (type == FACT_WORD || type == FACT_NUMBER || type == FACT_BOOL)
		return has;
	for (size_t i = 0; i < l->regex_count && !has; i++)
		has = policy_list_matches(l, i, value, &given_up);
	if (limit && given_up)
		*limit = true;
	return has;
}

/* Images */

int policy_list_begin(struct policy_list *l)
{
	return list_table_begin(&l->table);
}

int policy_list_finish(struct policy_list *l)
{
	return list_table_finish(&l->table);
}

uint64_t policy_list_sum(const struct policy_list *l)
{
	return list_table_sum(&l->table);
}

int policy_list_take_fd(struct policy_list *l)
{
	return list_table_take_fd(&l->table);
}

/* What is compiled already is taken over from the list of before; mostly in the same order. */
static struct policy_regex *regex_take(struct policy_list *from, const char *key, size_t len, size_t *next)
{
	for (size_t n = 0; n < from->regex_count; n++) {
		size_t i = (*next + n) % from->regex_count, is_len;
		const char *is = list_table_noted_key(&from->table, i, &is_len);
		struct policy_regex *r = from->regex[i];

		if (!r || is_len != len || memcmp(is, key, len) != 0)
			continue;
		from->regex[i] = NULL;
		*next = i + 1;
		return r;
	}
	return NULL;
}

static int regexes_make(struct policy_list *l, struct policy_list *former)
{
	size_t count = list_table_noted(&l->table), next = 0;

	if (count == 0)
		return 0;
	l->regex = calloc(count, sizeof(*l->regex));
	if (!l->regex)
		return -ENOMEM;
	l->regex_count = count;
	for (size_t i = 0; i < count; i++) {
		AUTO(buf) struct buf err = BUF_INIT(500);
		size_t len, at;
		const char *key = list_table_noted_key(&l->table, i, &len);

		l->regex[i] = regex_take(former, key, len, &next);
		if (!l->regex[i])
			l->regex[i] = policy_regex_new(key + 1, len - 1, &at, &err);
	}
	return 0;
}

int policy_list_map(struct policy_list *l, int fd)
{
	struct policy_list fresh = { .regex_count = 0 };
	int rc = list_table_map(&fresh.table, fd);

	if (rc == 0)
		rc = regexes_make(&fresh, l);
	if (rc < 0) {
		list_release(&fresh);
		return rc;
	}
	list_release(l);
	*l = fresh;
	return 0;
}

void policy_list_become(struct policy_list *l, struct policy_list *fresh)
{
	list_release(l);
	*l = *fresh;
	free(fresh);
}
