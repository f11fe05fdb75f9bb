#include "hop/mta_sts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/dns.h"
#include "filters/domain.h"

static const char VERSION[] = "v=STSv1";

static bool is_wsp(char c)
{
	return c == ' ' || c == '\t';
}

static bool is_alnum(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* ---- the record, section 3.1 ---- */

/* sts-ext-name: a letter or digit, then up to 31 of these, "_", "-", "." */
static bool name_ok(const char *p, size_t len)
{
	if (len < 1 || len > 32 || !is_alnum(p[0]))
		return false;
	for (size_t i = 1; i < len; i++)
		if (!is_alnum(p[i]) && p[i] != '_' && p[i] != '-' && p[i] != '.')
			return false;
	return true;
}

static bool id_ok(const char *p, size_t len)
{
	if (len < 1 || len > MTA_STS_ID_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if (!is_alnum(p[i]))
			return false;
	return true;
}

/* One "name=value" without blanks around it. */
static int record_field(const char *p, size_t len, char *id)
{
	const char *equals = memchr(p, '=', len);
	size_t n = equals ? (size_t)(equals - p) : 0, left;

	if (!equals || !name_ok(p, n))
		return -EBADMSG;
	p = equals + 1;
	left = len - n - 1;
	if (n == 2 && memcmp(equals - 2, "id", 2) == 0) {
		if (!id_ok(p, left))
			return -EBADMSG;
		if (!*id) {
			memcpy(id, p, left);
			id[left] = '\0';
		}
		return 0;
	}
	for (size_t i = 0; i < left; i++)
		if (p[i] <= 0x20 || p[i] == '=' || p[i] == 0x7f)
			return -EBADMSG;
	return left > 0 ? 0 : -EBADMSG;
}

int mta_sts_record(const char *p, size_t len, char out[MTA_STS_ID_MAX + 1])
{
	size_t at = sizeof(VERSION) - 1;
	char id[MTA_STS_ID_MAX + 1] = "";

	if (len < at || memcmp(p, VERSION, at) != 0)
		return -ENOENT;
	while (at < len && is_wsp(p[at]))
		at++;
	if (at == len || p[at] != ';')
		return at == len ? -EBADMSG : -ENOENT;          /* v=STSv12 is of another kind */
	while (at < len) {
		size_t start, end;

		at++;
		while (at < len && is_wsp(p[at]))
			at++;
		for (start = at; at < len && p[at] != ';'; at++)
			;
		for (end = at; end > start && is_wsp(p[end - 1]); end--)
			;
		if (end == start && at == len)
			break;                                  /* the last ";" may stand alone */
		if (record_field(p + start, end - start, id) < 0)
			return -EBADMSG;
	}
	if (!*id)
		return -EBADMSG;
	memcpy(out, id, sizeof(id));
	return 0;
}

int mta_sts_id(const struct dns_answer *txt, char id[MTA_STS_ID_MAX + 1])
{
	int found = 0, rc = -ENOENT;

	for (size_t i = 0; txt->status == DNS_OK && i < txt->count; i++) {
		char *text, one[MTA_STS_ID_MAX + 1];
		size_t len;
		int is;

		if (dns_txt(&txt->rr[i], &text, &len) < 0)
			continue;
		is = mta_sts_record(text, len, one);
		free(text);
		if (is == -ENOENT)
			continue;
		found++;
		rc = is == 0 && found == 1 ? 0 : -ENOENT;
		if (rc == 0)
			memcpy(id, one, sizeof(one));
	}
	return rc;
}

/* ---- the policy, section 3.2 ---- */

struct reading {
	bool version, mode, age;        /* have been seen */
	struct mta_sts_policy policy;
	struct buf names;               /* the patterns, each with its NUL */
	const char *why;
};

static int wrong(struct reading *r, const char *why)
{
	r->why = why;
	return -EBADMSG;
}

static bool is(const char *p, size_t len, const char *word)
{
	return len == strlen(word) && memcmp(p, word, len) == 0;
}

static int read_mode(struct reading *r, const char *p, size_t len)
{
	if (r->mode)
		return 0;
	r->mode = true;
	for (enum mta_sts_mode m = MTA_STS_NONE; m <= MTA_STS_ENFORCE; m++)
		if (is(p, len, mta_sts_mode_word(m))) {
			r->policy.mode = m;
			return 0;
		}
	return wrong(r, "an unknown mode");
}

/* 1*10(DIGIT) */
static int read_age(struct reading *r, const char *p, size_t len)
{
	uint64_t age = 0;

	if (r->age)
		return 0;
	r->age = true;
	if (len < 1 || len > 10)
		return wrong(r, "a malformed max_age");
	for (size_t i = 0; i < len; i++) {
		if (p[i] < '0' || p[i] > '9')
			return wrong(r, "a malformed max_age");
		age = age * 10 + (uint64_t)(p[i] - '0');
	}
	r->policy.max_age_s = age > MTA_STS_AGE_MAX_S ? MTA_STS_AGE_MAX_S : (int)age;
	return 0;
}

static int read_mx(struct reading *r, const char *p, size_t len)
{
	bool wild = len > 2 && p[0] == '*' && p[1] == '.';
	char name[DOMAIN_MAX];

	if (++r->policy.count > MTA_STS_PATTERNS_MAX)
		return wrong(r, "too many mx");
	if (domain_canonical(p + (wild ? 2 : 0), len - (wild ? 2 : 0), name) < 0)
		return wrong(r, "an mx that is no host name");
	if (wild)
		buf_adds(&r->names, "*.");
	return buf_add(&r->names, name, strlen(name) + 1) < 0 ? -ENOMEM : 0;
}

/* "name: value" */
static int read_line(struct reading *r, const char *p, size_t len)
{
	const char *colon = memchr(p, ':', len), *end = p + len;
	size_t n;

	if (!colon)
		return wrong(r, "a line without a colon");
	for (n = (size_t)(colon - p); n > 0 && is_wsp(p[n - 1]); n--)
		;
	for (colon++; colon < end && is_wsp(*colon); colon++)
		;
	while (end > colon && is_wsp(end[-1]))
		end--;
	len = (size_t)(end - colon);
	if (is(p, n, "version")) {
		if (r->version)
			return 0;
		r->version = true;
		return is(colon, len, "STSv1") ? 0 : wrong(r, "another version");
	}
	if (is(p, n, "mode"))
		return read_mode(r, colon, len);
	if (is(p, n, "max_age"))
		return read_age(r, colon, len);
	if (is(p, n, "mx"))
		return read_mx(r, colon, len);
	return name_ok(p, n) ? 0 : wrong(r, "a malformed field name");
}

static int read_lines(struct reading *r, const char *p, size_t len)
{
	int rc = 0;

	if (len > MTA_STS_POLICY_MAX)
		return wrong(r, "longer than 64 KiB");
	if (memchr(p, '\0', len))
		return wrong(r, "a NUL");
	while (len > 0 && rc == 0) {
		const char *lf = memchr(p, '\n', len);
		size_t n = lf ? (size_t)(lf - p) : len, used = lf ? n + 1 : n;

		while (n > 0 && (is_wsp(p[n - 1]) || (p[n - 1] == '\r' && lf && p + n == lf)))
			n--;
		if (n > 0)
			rc = read_line(r, p, n);
		p += used;
		len -= used;
	}
	if (rc == 0 && (!r->version || !r->mode || !r->age))
		rc = wrong(r, !r->version ? "no version" : !r->mode ? "no mode" : "no max_age");
	if (rc == 0 && r->policy.mode != MTA_STS_NONE && r->policy.count == 0)
		rc = wrong(r, "no mx");
	return rc;
}

static struct mta_sts_policy *policy_make(const struct reading *r)
{
	size_t head = sizeof(struct mta_sts_policy) + r->policy.count * sizeof(char *);
	struct mta_sts_policy *p = malloc(head + r->names.len + 1);
	const char *name;

	if (!p)
		return NULL;
	*p = r->policy;
	p->refs = 1;
	p->pattern = (const char **)(p + 1);
	name = (char *)p + head;
	memcpy((char *)p + head, buf_str(&r->names), r->names.len + 1);
	for (size_t i = 0; i < p->count; i++) {
		p->pattern[i] = name;
		name += strlen(name) + 1;
	}
	return p;
}

int mta_sts_parse(const char *p, size_t len, struct mta_sts_policy **out, const char **why)
{
	struct reading r = { .names = BUF_INIT(2 * MTA_STS_POLICY_MAX), .why = "" };
	int rc = read_lines(&r, p, len);

	if (rc == 0) {
		*out = policy_make(&r);
		rc = *out ? 0 : -ENOMEM;
	}
	*why = r.why;
	buf_release(&r.names);
	return rc;
}

struct mta_sts_policy *mta_sts_policy_ref(struct mta_sts_policy *p)
{
	p->refs++;
	return p;
}

void mta_sts_policy_free(struct mta_sts_policy *p)
{
	if (p && --p->refs == 0)
		free(p);
}

bool mta_sts_allows(const struct mta_sts_policy *p, const char *host)
{
	const char *dot = strchr(host, '.');
	size_t n = strlen(host);

	if (n > 0 && host[n - 1] == '.')
		n--;
	for (size_t i = 0; i < p->count; i++) {
		const char *pattern = p->pattern[i], *of = host;

		if (pattern[0] == '*') {
			pattern += 2;
			if (!dot || dot == host)
				continue;
			of = dot + 1;
		}
		if (strlen(pattern) == n - (size_t)(of - host) && strncasecmp(pattern, of, strlen(pattern)) == 0)
			return true;
	}
	return false;
}

const char *mta_sts_mode_word(enum mta_sts_mode mode)
{
	return mode == MTA_STS_ENFORCE ? "enforce" : mode == MTA_STS_TESTING ? "testing" : "none";
}

int mta_sts_text(const struct mta_sts_policy *p, struct buf *out)
{
	buf_addf(out, "version: STSv1\nmode: %s\nmax_age: %d\n", mta_sts_mode_word(p->mode), p->max_age_s);
	for (size_t i = 0; i < p->count; i++)
		buf_addf(out, "mx: %s\n", p->pattern[i]);
	return out->failed ? -ENOSPC : 0;
}
