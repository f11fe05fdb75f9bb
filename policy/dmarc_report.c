#include "policy/dmarc_report.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/utf8.h"

enum { CHUNK_OCTETS = 16 * 1024, WORDS_MAX = 8 };

struct dmarc_report_words {
	const char *word[WORDS_MAX];    /* by value - 1 */
};

const struct dmarc_report_words dmarc_report_policy_words = { { "none", "quarantine", "reject" } };
const struct dmarc_report_words dmarc_report_mode_words = { { "r", "s" } };
const struct dmarc_report_words dmarc_report_testing_words = { { "n", "y" } };
const struct dmarc_report_words dmarc_report_discovery_words = { { "psl", "treewalk" } };
const struct dmarc_report_words dmarc_report_disposition_words = { { "none", "pass", "quarantine", "reject" } };
const struct dmarc_report_words dmarc_report_aligned_words = { { "pass", "fail" } };
const struct dmarc_report_words dmarc_report_override_words = { { "local_policy", "mailing_list", "other", "policy_test_mode", "trusted_forwarder",
								  "forwarded", "sampled_out" } };
const struct dmarc_report_words dmarc_report_dkim_words = { { "none", "pass", "fail", "policy", "neutral", "temperror", "permerror" } };
const struct dmarc_report_words dmarc_report_spf_words = { { "none", "pass", "fail", "softfail", "neutral", "temperror", "permerror", "policy" } };
const struct dmarc_report_words dmarc_report_scope_words = { { "mfrom", "helo" } };

const char *dmarc_report_word(const struct dmarc_report_words *w, unsigned value)
{
	return value >= 1 && value <= WORDS_MAX ? w->word[value - 1] : NULL;
}

unsigned dmarc_report_value(const struct dmarc_report_words *w, const char *word, size_t len)
{
	for (unsigned i = 0; i < WORDS_MAX && w->word[i]; i++)
		if (strlen(w->word[i]) == len && !strncasecmp(w->word[i], word, len))
			return i + 1;
	return 0;
}

/* What the report owns, in large pieces that go together. */
struct chunk {
	struct chunk *next;
	size_t used, room;
	_Alignas(16) char data[];
};

struct dmarc_report_arena {
	struct chunk *chunks;
	size_t octets;                  /* of all chunks */
	size_t record_room;
};

static void *arena_get(struct dmarc_report_arena *a, size_t len, int *err)
{
	struct chunk *c = a->chunks;
	size_t size;

	len = (len + 15) & ~(size_t)15;
	if (!c || c->room - c->used < len) {
		size = len > CHUNK_OCTETS ? len : CHUNK_OCTETS;
		if (size > DMARC_REPORT_OCTETS_MAX - a->octets) {
			*err = -ENOSPC;
			return NULL;
		}
		c = malloc(sizeof(*c) + size);
		if (!c) {
			*err = -ENOMEM;
			return NULL;
		}
		c->used = 0;
		c->room = size;
		c->next = a->chunks;
		a->chunks = c;
		a->octets += size;
	}
	c->used += len;
	return c->data + c->used - len;
}

/* Room for one more of `count` in a list that has grown by doubling: the list, moved perhaps, with that one zeroed. */
static void *arena_grow(struct dmarc_report_arena *a, void *list, size_t count, size_t size, int *err)
{
	char *p = list;

	if (!(count & (count - 1))) {                           /* 0 or a power of two: full */
		p = arena_get(a, (count ? 2 * count : 1) * size, err);
		if (!p)
			return NULL;
		if (count)
			memcpy(p, list, count * size);
	}
	memset(p + count * size, 0, size);
	return p;
}

struct dmarc_report *dmarc_report_new(void)
{
	struct dmarc_report *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->arena = calloc(1, sizeof(*r->arena));
	if (!r->arena) {
		free(r);
		return NULL;
	}
	r->policy.pct = -1;
	return r;
}

void dmarc_report_free(struct dmarc_report *r)
{
	if (!r)
		return;
	for (struct chunk *c = r->arena->chunks, *next; c; c = next) {
		next = c->next;
		free(c);
	}
	free(r->records);
	free(r->arena);
	free(r);
}

/* As much of p[0..len) as may be kept: a character of UTF-8 is not cut in two. */
static size_t text_fits(const char *p, size_t len)
{
	size_t n = DMARC_REPORT_TEXT_MAX;

	if (len <= n)
		return len;
	for (size_t back = 1; back <= 3; back++)
		if (utf8_len(p + n - back, len - n + back) > back)
			return n - back;
	return n;
}

int dmarc_report_text(struct dmarc_report *r, const char **member, const char *p, size_t len)
{
	char *copy;
	int err = 0;

	len = text_fits(p, len);
	copy = arena_get(r->arena, len + 1, &err);
	if (!copy)
		return err;
	memcpy(copy, p, len);
	copy[len] = '\0';
	*member = copy;
	return 0;
}

static int text_copy(struct dmarc_report *r, const char **member, const char *text)
{
	return text ? dmarc_report_text(r, member, text, strlen(text)) : 0;
}

int dmarc_report_error(struct dmarc_report *r, const char *text)
{
	const char *copy = NULL, **list;
	int err = 0;

	if (r->error_count >= DMARC_REPORT_ERRORS_MAX)
		return -ENOSPC;
	err = text_copy(r, &copy, text);
	if (err)
		return err;
	list = arena_grow(r->arena, r->errors, r->error_count, sizeof(*list), &err);
	if (!list)
		return err;
	r->errors = list;
	list[r->error_count++] = copy;
	return 0;
}

/* 0, or -EINVAL: not an address. */
static int address_canonical(const char *ip, char out[INET6_ADDRSTRLEN])
{
	struct in_addr four;
	struct in6_addr six;

	if (inet_pton(AF_INET, ip, &four) == 1)
		return inet_ntop(AF_INET, &four, out, INET6_ADDRSTRLEN) ? 0 : -EINVAL;
	if (inet_pton(AF_INET6, ip, &six) != 1)
		return -EINVAL;
	if (IN6_IS_ADDR_V4MAPPED(&six))
		return inet_ntop(AF_INET, six.s6_addr + 12, out, INET6_ADDRSTRLEN) ? 0 : -EINVAL;
	return inet_ntop(AF_INET6, &six, out, INET6_ADDRSTRLEN) ? 0 : -EINVAL;
}

/* The records' own room: beside the arena, since they grow large. */
static int records_reserve(struct dmarc_report *r)
{
	size_t room = r->arena->record_room;
	struct dmarc_report_record *v;

	if (r->record_count >= DMARC_REPORT_RECORDS_MAX)
		return -ENOSPC;
	if (r->record_count < room)
		return 0;
	room = room ? room * 2 : 16;
	v = reallocarray(r->records, room, sizeof(*v));
	if (!v)
		return -ENOMEM;
	r->records = v;
	r->arena->record_room = room;
	return 0;
}

struct dmarc_report_record *dmarc_report_record(struct dmarc_report *r, const char *ip, uint64_t count, int *err)
{
	struct dmarc_report_record one = { .source_ip = "", .count = count };
	int rc = ip ? dmarc_report_source(r, &one, ip) : 0;

	if (!rc)
		rc = records_reserve(r);
	if (err)
		*err = rc;
	if (rc)
		return NULL;
	r->records[r->record_count] = one;
	return &r->records[r->record_count++];
}

int dmarc_report_source(struct dmarc_report *r, struct dmarc_report_record *rec, const char *ip)
{
	char text[INET6_ADDRSTRLEN];
	int rc = address_canonical(ip, text);

	return rc ? rc : text_copy(r, &rec->source_ip, text);
}

int dmarc_report_reason(struct dmarc_report *r, struct dmarc_report_record *rec, enum dmarc_report_override type, const char *comment)
{
	struct dmarc_report_reason one = { .type = type }, *list;
	int err = 0;

	if (rec->reason_count >= DMARC_REPORT_REASONS_MAX)
		return -ENOSPC;
	err = text_copy(r, &one.comment, comment);
	if (err)
		return err;
	list = arena_grow(r->arena, rec->reasons, rec->reason_count, sizeof(*list), &err);
	if (!list)
		return err;
	rec->reasons = list;
	list[rec->reason_count++] = one;
	return 0;
}

int dmarc_report_dkim(struct dmarc_report *r, struct dmarc_report_record *rec, const char *domain, const char *selector,
		      enum dmarc_report_dkim_result result, const char *human_result)
{
	struct dmarc_report_dkim one = { .result = result }, *list;
	int err = 0;

	if (rec->dkim_count >= DMARC_REPORT_DKIM_MAX)
		return -ENOSPC;
	err = text_copy(r, &one.domain, domain);
	if (!err)
		err = text_copy(r, &one.selector, selector);
	if (!err)
		err = text_copy(r, &one.human_result, human_result);
	if (err)
		return err;
	list = arena_grow(r->arena, rec->dkim, rec->dkim_count, sizeof(*list), &err);
	if (!list)
		return err;
	rec->dkim = list;
	list[rec->dkim_count++] = one;
	return 0;
}

int dmarc_report_spf(struct dmarc_report *r, struct dmarc_report_record *rec, const char *domain, enum dmarc_report_scope scope,
		     enum dmarc_report_spf_result result, const char *human_result)
{
	struct dmarc_report_spf one = { .scope = scope, .result = result };
	int err = text_copy(r, &one.domain, domain ? domain : "");

	if (!err)
		err = text_copy(r, &one.human_result, human_result);
	if (err)
		return err;
	rec->spf = one;
	return 0;
}
