/*
 * run_dmarc - the DMARC cases with both engines, a differential test of the two, and the vectors of the public suffix list
 *
 * Our own cases (dmarc/cases.tsv, dmarc/rfc9989.txt) always run; the public vectors run where CONFORMANCE points. The library's known misses are listed
 * beside the cases: one that is missing, and one that is listed and does not show, both fail.
 */
#include <sys/param.h>

#include <opendmarc/dmarc.h>

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filters/dmarc_eval.h"
#include "policy/regdomain.h"
#include "support/dns_table.h"

#define DIR "tests/conformance/dmarc/"

enum { DOMAINS_MAX = 8, FIELDS_MAX = 8, PSL_CASES = 78 };

static const char *const engine_names[] = { [ENGINE_NATIVE] = "native", [ENGINE_LIBRARY] = "libopendmarc" };
static int passed, failed, skipped;

static void verdict(bool ok, const char *suite, const char *name, enum engine e, const char *got, const char *want)
{
	/* A case is counted once: as ours. What the library says otherwise than is known of it fails. */
	if (ok) {
		passed += e == ENGINE_NATIVE;
		return;
	}
	failed++;
	printf("FAIL %s [%s] %s: got \"%s\", expected \"%s\"\n", suite, engine_names[e], name, got, want);
}

/* ---- files ---- */

static FILE *must_open(const char *path)
{
	FILE *f = fopen(path, "r");

	if (!f) {
		fprintf(stderr, "run_dmarc: %s: %s (run it at the top of the source tree)\n", path, strerror(errno));
		exit(1);
	}
	return f;
}

/* A line without its end, or NULL. */
static char *next_line(FILE *f, char **line, size_t *cap)
{
	ssize_t n = getline(line, cap, f);

	if (n < 0)
		return NULL;
	if (n > 0 && (*line)[n - 1] == '\n')
		(*line)[n - 1] = '\0';
	return *line;
}

static size_t split(char *line, char *fields[FIELDS_MAX])
{
	size_t n = 0;

	for (; line && n < FIELDS_MAX; n++)
		fields[n] = strsep(&line, "\t");
	return n;
}

/* name, value, why: small tables beside the cases. */
struct note {
	char *name, *value;
	bool used;
};

struct notes {
	struct note v[64];
	size_t count;
};

static void notes_read(struct notes *n, const char *path)
{
	FILE *f = must_open(path);
	char *line = NULL, *fields[FIELDS_MAX];
	size_t cap = 0;

	n->count = 0;
	while (next_line(f, &line, &cap)) {
		if (*line == '#' || !*line)
			continue;
		assert(n->count < sizeof n->v / sizeof *n->v);
		if (split(line, fields) != 3) {
			printf("FAIL %s: \"%s\" has no reason\n", path, line);
			failed++;
			continue;
		}
		n->v[n->count++] = (struct note){ strdup(fields[0]), strdup(fields[1]), false };
	}
	free(line);
	fclose(f);
}

static struct note *note_find(struct notes *n, const char *name)
{
	for (size_t i = 0; i < n->count; i++) {
		if (strcmp(n->v[i].name, name) == 0) {
			n->v[i].used = true;
			return &n->v[i];
		}
	}
	return NULL;
}

static void notes_free(struct notes *n, const char *path)
{
	for (size_t i = 0; i < n->count; i++) {
		if (!n->v[i].used) {
			printf("FAIL %s: there is no case \"%s\"\n", path, n->v[i].name);
			failed++;
		}
		free(n->v[i].name);
		free(n->v[i].value);
	}
	n->count = 0;
}

/* ---- one case ---- */

struct names {
	char text[DOMAINS_MAX][DOMAIN_MAX];
	const char *p[DOMAINS_MAX];
	size_t count;
};

/* Domains between blanks, canonical; "-" and what is no domain are left out. */
static void names_read(struct names *n, const char *text)
{
	char *copy = strdup(text), *rest = copy, *word;

	n->count = 0;
	while ((word = strsep(&rest, " "))) {
		assert(n->count < DOMAINS_MAX);
		if (domain_canonical(word, strlen(word), n->text[n->count]) == 0 && strcmp(word, "-") != 0) {
			n->p[n->count] = n->text[n->count];
			n->count++;
		}
	}
	free(copy);
}

struct situation {
	struct dns_table *zone;
	char author[DOMAIN_MAX];
	struct names spf, spf_temp, dkim, dkim_temp;
};

static struct situation *situation_new(void)
{
	struct situation *s = calloc(1, sizeof *s);

	assert(s);
	s->zone = dns_table_new();
	return s;
}

static void situation_free(struct situation *s)
{
	dns_table_free(s->zone);
	free(s);
}

static void check(const struct situation *s, enum engine e, struct dmarc_result *r)
{
	struct dmarc_query q = {
		.author = s->author,
		.spf_pass = s->spf.count ? s->spf.p[0] : NULL,
		.spf_temp = s->spf_temp.count ? s->spf_temp.p[0] : NULL,
		.dkim_pass = s->dkim.p,
		.dkim_pass_count = s->dkim.count,
		.dkim_temp = s->dkim_temp.p,
		.dkim_temp_count = s->dkim_temp.count,
	};
	struct dmarc_walks *w = dmarc_walks_new(dns_table_dns(s->zone));
	int rc = dmarc_check(e, &q, w, r);

	if (rc < 0) {
		printf("FAIL [%s] %s: %s\n", engine_names[e], s->author, strerror(-rc));
		failed++;
	}
	dmarc_walks_free(w);
}

/* A TXT record with these very bytes, in strings of 255. */
static void add_txt(struct dns_table *t, const char *domain, const char *text)
{
	size_t len = strlen(text), n = 0;
	char *name;
	unsigned char *data = malloc(len + len / 255 + 2);

	if (asprintf(&name, "_dmarc.%s", domain) < 0)
		abort();
	do {
		size_t part = len > 255 ? 255 : len;

		data[n++] = (unsigned char)part;
		memcpy(data + n, text, part);
		n += part, text += part, len -= part;
	} while (len > 0);
	dns_table_add_rdata(t, name, DNS_TXT, data, n);
	free(data);
	free(name);
}

/* ---- cases.tsv ---- */

/* The words of cases.tsv: pass, the policy that applies to a failure, norecord. */
static const char *result_word(const struct dmarc_result *r)
{
	switch (r->outcome) {
	case DMARC_PASS:
		return "pass";
	case DMARC_FAIL:
		return dmarc_policy_name(r->policy);
	case DMARC_NONE:
		return "norecord";
	default:
		return dmarc_outcome_name(r->outcome);
	}
}

static bool among(const char *word, const char *alternatives)
{
	size_t n = strlen(word);

	for (const char *p = alternatives; p; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL) {
		if (strncmp(p, word, n) == 0 && (p[n] == '|' || p[n] == '\0'))
			return true;
	}
	return false;
}

struct score {
	int cases, native, library;
};

static void case_run(char *fields[FIELDS_MAX], struct notes *changes, struct notes *misses, struct score *score)
{
	const char *name = fields[0], *home = strcmp(fields[3], "-") == 0 ? fields[1] : fields[3];
	struct note *change = note_find(changes, name), *miss = note_find(misses, name);
	const char *want = change ? change->value : fields[6];
	struct situation *s = situation_new();
	char domain[DOMAIN_MAX];
	struct dmarc_result r;

	assert(domain_canonical(fields[1], strlen(fields[1]), s->author) == 0);
	assert(domain_canonical(home, strlen(home), domain) == 0);
	if (change && !among(want, fields[6]))
		printf("note: %s: RFC 9989 has %s, before it was %s\n", name, want, fields[6]);
	add_txt(s->zone, domain, fields[2]);
	if (!strstr(name, "non-existent"))
		dns_table_add(s->zone, s->author, "A", "192.0.2.1");
	names_read(&s->dkim, fields[4]);
	names_read(&s->spf, fields[5]);
	score->cases++;
	check(s, ENGINE_NATIVE, &r);
	score->native += among(result_word(&r), want);
	verdict(among(result_word(&r), want), "cases.tsv", name, ENGINE_NATIVE, result_word(&r), want);
	check(s, ENGINE_LIBRARY, &r);
	score->library += among(result_word(&r), want);
	if (miss)
		want = miss->value;
	verdict(among(result_word(&r), want), "cases.tsv", name, ENGINE_LIBRARY, result_word(&r), want);
	situation_free(s);
}

static void run_cases(struct score *score)
{
	FILE *f = must_open(DIR "cases.tsv");
	char *line = NULL, *fields[FIELDS_MAX];
	static struct notes changes, misses;
	size_t cap = 0;

	notes_read(&changes, DIR "rfc9989-changes.tsv");
	notes_read(&misses, DIR "libopendmarc.tsv");
	while (next_line(f, &line, &cap)) {
		if (*line == '#' || !*line)
			continue;
		if (split(line, fields) == 7) {
			case_run(fields, &changes, &misses, score);
		} else {
			printf("FAIL cases.tsv: not seven fields: %.60s\n", line);
			failed++;
		}
	}
	notes_free(&changes, DIR "rfc9989-changes.tsv");
	notes_free(&misses, DIR "libopendmarc.tsv");
	free(line);
	fclose(f);
}

/* ---- rfc9989.txt ---- */

struct block {
	char name[160], want[700], lib[64];
	int asked;
	struct situation s;
};

/* "fail reject example.com example.com spf,dkim". */
static void result_line(const struct dmarc_result *r, char *out, size_t size)
{
	const char *policy = r->policy_temperror ? "temperror" : r->has_policy ? dmarc_policy_name(r->policy) : "-";
	const char *aligned = r->aligned_spf ? r->aligned_dkim ? "spf,dkim" : "spf" : r->aligned_dkim ? "dkim" : "-";

	snprintf(out, size, "%s %s %s %s %s", dmarc_outcome_name(r->outcome), policy, r->record_domain[0] ? r->record_domain : "-",
	         r->org_domain[0] ? r->org_domain : "-", aligned);
}

static int records_asked(const struct dns_table *t)
{
	int n = 0;

	for (size_t i = 0; i < dns_table_asked(t); i++)
		n += dns_table_question(t, i)->type == DNS_TXT;
	return n;
}

static void block_run(struct block *b, struct score *score)
{
	char got[700], want[800];
	struct dmarc_result r;
	const char *rest;
	bool ok;

	dns_table_forget(b->s.zone);
	check(&b->s, ENGINE_NATIVE, &r);
	result_line(&r, got, sizeof got);
	ok = strcmp(got, b->want) == 0;
	score->cases++;
	score->native += ok;
	verdict(ok, "rfc9989.txt", b->name, ENGINE_NATIVE, got, b->want);
	if (b->asked > 0 && records_asked(b->s.zone) != b->asked) {
		printf("FAIL rfc9989.txt %s: %d names were asked, expected %d\n", b->name, records_asked(b->s.zone), b->asked);
		failed++;
	}
	/* The library's result and policy; the rest is the guard's. */
	rest = strchr(strchr(b->want, ' ') + 1, ' ');
	snprintf(want, sizeof want, "%s%s", b->lib, b->lib[0] ? rest : b->want);
	check(&b->s, ENGINE_LIBRARY, &r);
	result_line(&r, got, sizeof got);
	score->library += strcmp(got, b->want) == 0;
	verdict(strcmp(got, want) == 0, "rfc9989.txt", b->name, ENGINE_LIBRARY, got, want);
}

static void block_line(struct block *b, const char *key, size_t len, const char *value)
{
#define KEY(word) (len == sizeof word - 1 && memcmp(key, word, len) == 0)
	if (KEY("case"))
		snprintf(b->name, sizeof b->name, "%s", value);
	else if (KEY("zone"))
		dns_table_zone(b->s.zone, value);
	else if (KEY("from"))
		assert(domain_canonical(value, strlen(value), b->s.author) == 0);
	else if (KEY("spf"))
		names_read(&b->s.spf, value);
	else if (KEY("spf_temp"))
		names_read(&b->s.spf_temp, value);
	else if (KEY("dkim"))
		names_read(&b->s.dkim, value);
	else if (KEY("dkim_temp"))
		names_read(&b->s.dkim_temp, value);
	else if (KEY("want"))
		snprintf(b->want, sizeof b->want, "%s", value);
	else if (KEY("asked"))
		b->asked = atoi(value);
	else if (KEY("lib"))
		snprintf(b->lib, sizeof b->lib, "%s", value);
	else {
		printf("FAIL rfc9989.txt: unknown key in %s: %.*s\n", b->name, (int)len, key);
		failed++;
	}
#undef KEY
}

static void block_end(struct block *b, struct score *score)
{
	if (b->name[0])
		block_run(b, score);
	dns_table_free(b->s.zone);
	memset(b, 0, sizeof *b);
	b->s.zone = dns_table_new();
}

static void run_blocks(struct score *score)
{
	FILE *f = must_open(DIR "rfc9989.txt");
	struct block *b = calloc(1, sizeof *b);
	char *line = NULL;
	size_t cap = 0;

	b->s.zone = dns_table_new();
	while (next_line(f, &line, &cap)) {
		const char *colon = strchr(line, ':');

		if (*line == '#')
			continue;
		if (!*line)
			block_end(b, score);
		else if (colon)
			block_line(b, line, (size_t)(colon - line), colon[1] == ' ' ? colon + 2 : colon + 1);
	}
	block_end(b, score);
	dns_table_free(b->s.zone);
	free(b);
	free(line);
	fclose(f);
}

/* ---- the two engines on generated situations ---- */

static uint64_t seed = 0x9989;

static unsigned pick(unsigned n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned)(seed >> 33) % n;
}

static const char *one_of(const char *const *v, unsigned n)
{
	return v[pick(n)];
}

#define ONE_OF(v) one_of(v, sizeof v / sizeof *v)

static const char *const pool[] = {
	"example", "gov.example", "one.gov.example", "a.one.gov.example", "two.gov.example", "b.two.gov.example", "nx.one.gov.example", "badone.gov.example",
	"a.b.c.d.e.f.g.one.gov.example", "com", "example.com", "www.example.com",
};

static const char *const policies[] = { "none", "quarantine", "reject", "r", "" };

static void generate_record(char *out, size_t size)
{
	static const char *const tails[] = { "", "", "; adkim=s", "; aspf=s", "; adkim=s; aspf=s", "; t=y", "; psd=y", "; psd=n", "; t=y; psd=y", "; rua=mailto:a@b.c", ";;x=y; foo" };
	char sp[40] = "", np[40] = "";

	if (pick(3) == 0)
		snprintf(sp, sizeof sp, "; sp=%s", ONE_OF(policies));
	if (pick(3) == 0)
		snprintf(np, sizeof np, "; np=%s", ONE_OF(policies));
	snprintf(out, size, "v=DMARC1; p=%s%s%s%s%s", ONE_OF(policies), sp, np, ONE_OF(tails), ONE_OF(tails));
}

static void generate_names(struct names *n, unsigned max)
{
	n->count = 0;
	for (unsigned want = pick(max + 1); n->count < want; n->count++) {
		strcpy(n->text[n->count], ONE_OF(pool));
		n->p[n->count] = n->text[n->count];
	}
}

static void generate_situation(struct situation *s)
{
	char record[256];

	strcpy(s->author, ONE_OF(pool));
	for (size_t i = 0; i < sizeof pool / sizeof *pool; i++) {
		if (pick(3) == 0) {
			generate_record(record, sizeof record);
			add_txt(s->zone, pool[i], record);
		}
		if (pick(2) == 0)
			dns_table_add(s->zone, pool[i], "A", "192.0.2.1");
	}
	generate_names(&s->spf, 1);
	generate_names(&s->dkim, 3);
}

struct class {
	const char *name;
	long count;
};

/* All that may differ is the policy: np= or t= made it so, and that must be the whole difference. */
static const char *disagreement(const struct dmarc_result *native, const struct dmarc_result *lib)
{
	bool same_but_policy = native->outcome == lib->outcome && native->aligned_spf == lib->aligned_spf && native->aligned_dkim == lib->aligned_dkim &&
	                       strcmp(native->record_domain, lib->record_domain) == 0 && strcmp(native->org_domain, lib->org_domain) == 0;

	if (!same_but_policy)
		return NULL;
	if (native->testing && native->policy == dmarc_policy_milder(lib->policy))
		return "t=y";
	return native->testing ? "np= and t=y" : "np=";
}

static bool has_np(const struct situation *s, const struct dmarc_result *r)
{
	struct dmarc_walks *w = dmarc_walks_new(dns_table_dns(s->zone));
	struct dmarc_name n;

	dmarc_walk_own(w, r->record_domain, &n);
	dmarc_walks_free(w);
	return n.found && n.record.has_np && strcmp(r->record_domain, s->author) != 0;
}

static void run_differential(void)
{
	struct class classes[] = { { "t=y", 0 }, { "np=", 0 }, { "np= and t=y", 0 } };
	long outcomes[5] = { 0 }, runs = 20000, agreed = 0;

	for (long i = 0; i < runs; i++) {
		struct situation *s = situation_new();
		struct dmarc_result native, lib;
		const char *class;

		generate_situation(s);
		check(s, ENGINE_NATIVE, &native);
		check(s, ENGINE_LIBRARY, &lib);
		outcomes[native.outcome]++;
		class = disagreement(&native, &lib);
		if (class && native.policy == lib.policy) {
			agreed++;
		} else if (!class || (strncmp(class, "np", 2) == 0 && !has_np(s, &native))) {
			printf("FAIL differential: run %ld, From %s: native %s %s, libopendmarc %s %s\n", i, s->author, dmarc_outcome_name(native.outcome),
			       dmarc_policy_name(native.policy), dmarc_outcome_name(lib.outcome), dmarc_policy_name(lib.policy));
			failed++;
		}
		for (size_t c = 0; class && native.policy != lib.policy && c < sizeof classes / sizeof *classes; c++)
			classes[c].count += strcmp(classes[c].name, class) == 0;
		situation_free(s);
	}
	printf("differential, both engines: %ld runs (%ld none, %ld pass, %ld fail), %ld agree", runs, outcomes[DMARC_NONE], outcomes[DMARC_PASS], outcomes[DMARC_FAIL], agreed);
	for (size_t c = 0; c < sizeof classes / sizeof *classes; c++) {
		printf(", %ld by %s", classes[c].count, classes[c].name);
		verdict(classes[c].count > 0, "differential", classes[c].name, ENGINE_LIBRARY, "never seen", "seen");
	}
	printf("\n");
}

/* ---- the library's record parser alone, without our guard ---- */

/* What a text is made of; class: the known fault of the library that it calls out, "" for none. */
struct fragment {
	const char *text, *class;
};

static const struct fragment versions[] = {
	{ "v=DMARC1", "" }, { "v=DMARC1", "" }, { "v=DMARC1 ", "" }, { "v = DMARC1", "" },
	{ "v=dmarc1", "version: any case, anywhere, optional" }, { "x=1", "version: any case, anywhere, optional" },
	{ " v=DMARC1", "version: any case, anywhere, optional" },
};

static const struct fragment tags[] = {
	{ "; p=none", "" }, { ";p=quarantine", "" }, { "; p = reject ", "" }, { "; p=REJECT", "" }, { "; sp=none", "" }, { "; sp=reject", "" },
	{ "; adkim=s", "" }, { "; adkim=r", "" }, { "; aspf=s", "" }, { "; aspf=r", "" }, { "; x=y", "" }, { ";", "" }, { "; rua=mailto:a@b.c", "" }, { "; fo=1:d", "" },
	{ "; p=r", "abbreviations" }, { "; sp=quar", "abbreviations" }, { "; p=bogus", "a bad value drops the record" }, { "; sp=bogus", "a bad value drops the record" },
	{ "; adkim=x", "a bad value drops the record" }, { "; pct=abc", "a bad value drops the record" }, { "; ri=1d", "a bad value drops the record" },
	{ "; fo=z", "a bad value drops the record" }, { "; rf=zzz", "a bad value drops the record" }, { "; rf=iodef", "rf=iodef writes into aspf" },
};

struct parsed {
	bool is, strict_dkim, strict_spf, has_sp;
	enum dmarc_policy p, sp;
};

static enum dmarc_policy from_letter(int c)
{
	return c == DMARC_RECORD_P_REJECT ? DMARC_P_REJECT : c == DMARC_RECORD_P_QUARANTINE ? DMARC_P_QUARANTINE : DMARC_P_NONE;
}

static struct parsed library_parse(const char *text)
{
	DMARC_POLICY_T *ctx = opendmarc_policy_connect_init((u_char *)"0.0.0.0", DMARC_POLICY_IP_TYPE_IPV4);
	struct parsed r = { .is = false };
	int p = 0, sp = 0, adkim = 0, aspf = 0;

	r.is = opendmarc_policy_parse_dmarc(ctx, (u_char *)"example.com", (u_char *)text) == DMARC_PARSE_OKAY;
	if (r.is) {
		opendmarc_policy_fetch_p(ctx, &p);
		opendmarc_policy_fetch_sp(ctx, &sp);
		opendmarc_policy_fetch_adkim(ctx, &adkim);
		opendmarc_policy_fetch_aspf(ctx, &aspf);
		r = (struct parsed){ true, adkim == DMARC_RECORD_A_STRICT, aspf == DMARC_RECORD_A_STRICT, sp != 0, from_letter(p), from_letter(sp) };
	}
	opendmarc_policy_connect_shutdown(ctx);
	return r;
}

static struct parsed own_parse(const char *text)
{
	struct parsed r = { .is = false };
	struct dmarc_record d;

	if (dmarc_record_parse(text, strlen(text), &d) < 0 || !dmarc_record_applies(&d))
		return r;
	r = (struct parsed){ true, d.strict_dkim, d.strict_spf, d.has_sp, d.has_p ? d.p : DMARC_P_NONE, d.has_sp ? d.sp : DMARC_P_NONE };
	return r;
}

static bool parsed_same(const struct parsed *a, const struct parsed *b)
{
	if (a->is != b->is)
		return false;
	return !a->is || (a->p == b->p && a->has_sp == b->has_sp && a->sp == b->sp && a->strict_dkim == b->strict_dkim && a->strict_spf == b->strict_spf);
}

/* The tag's name in a fragment, its place in a set of those seen. */
static bool repeats(const char *all, const char *fragment)
{
	const char *name = fragment + strspn(fragment, "; ");
	size_t len = strcspn(name, " =");

	for (const char *p = all; len > 0 && (p = strchr(p, ';')); ) {
		p += strspn(p, "; ");
		if (strncmp(p, name, len) == 0 && (p[len] == '=' || p[len] == ' '))
			return true;
	}
	return false;
}

static void run_parsers(void)
{
	struct class classes[] = {
		{ "version: any case, anywhere, optional", 0 }, { "abbreviations", 0 }, { "a bad value drops the record", 0 }, { "rf=iodef writes into aspf", 0 },
		{ "duplicates: the last wins", 0 }, { "a missing p is an error in spite of a rua", 0 },
	};
	long runs = 50000, agreed = 0;

	for (long i = 0; i < runs; i++) {
		const struct fragment *v = &versions[pick(sizeof versions / sizeof *versions)];
		const char *class = v->class;
		char text[256];
		struct parsed own, lib;

		strcpy(text, v->text);
		for (unsigned n = pick(5); n > 0; n--) {
			const struct fragment *f = &tags[pick(sizeof tags / sizeof *tags)];

			if (!*class)
				class = f->class;
			if (!*class && repeats(text, f->text))
				class = "duplicates: the last wins";
			strcat(text, f->text);
		}
		own = own_parse(text);
		lib = library_parse(text);
		if (parsed_same(&own, &lib)) {
			agreed++;
			continue;
		}
		if (!*class && own.is && !strstr(text, " p") && !strstr(text, ";p"))
			class = "a missing p is an error in spite of a rua";
		for (size_t c = 0; c < sizeof classes / sizeof *classes; c++)
			classes[c].count += strcmp(classes[c].name, class) == 0;
		if (!*class) {
			printf("FAIL parsers differ on \"%s\" for no known reason\n", text);
			failed++;
		}
	}
	printf("differential, record parsers without the guard: %ld records, %ld read alike\n", runs, agreed);
	for (size_t c = 0; c < sizeof classes / sizeof *classes; c++) {
		printf("    %5ld  %s\n", classes[c].count, classes[c].name);
		verdict(classes[c].count > 0, "parsers", classes[c].name, ENGINE_LIBRARY, "never seen", "seen");
	}
}

/* ---- registrable domains ---- */

static void psl_vector(const char *suite, const char *name, const char *want)
{
	char domain[DOMAIN_MAX], expected[DOMAIN_MAX] = "";
	const char *got = NULL;
	bool ok;

	if (strcmp(name, "null") != 0 && domain_canonical(name, strlen(name), domain) == 0)
		got = regdomain_of(domain);
	if (strcmp(want, "null") != 0 && domain_canonical(want, strlen(want), expected) < 0)
		strcpy(expected, "?");
	ok = got ? strcmp(got, expected) == 0 : !expected[0];
	passed += ok;
	failed += !ok;
	if (!ok)
		printf("FAIL %s %s: got \"%s\", expected \"%s\"\n", suite, name, got ? got : "null", want);
}

static void run_psl(void)
{
	static const struct { const char *name, *want; } own[] = {
		{ "com", "null" },
		{ "example.com", "example.com" },
		{ "MAIL.Example.com.", "example.com" },
		{ "a.b.c.example.co.uk", "example.co.uk" },
		{ "co.uk", "null" },
		{ "a.co.uk", "a.co.uk" },
		{ "x.a.co.uk", "a.co.uk" },
		{ "unlisted", "null" },
		{ "a.unlisted", "a.unlisted" },
		{ "b.a.unlisted", "a.unlisted" },
		{ "ck", "null" },
		{ "org.ck", "null" },
		{ "b.org.ck", "b.org.ck" },
		{ "www.ck", "www.ck" },
		{ "a.www.ck", "www.ck" },
		{ "b\xc3\xbc" "cher.de", "xn--bcher-kva.de" },
		{ "a.xn--bcher-kva.de", "xn--bcher-kva.de" },
		{ ".com", "null" },
	};
	const char *dir = getenv("CONFORMANCE");
	char path[512], *line = NULL, *rest, *name;
	size_t cap = 0;
	int before;
	FILE *f;

	assert(regdomain_init(NULL) == 0);
	for (size_t i = 0; i < sizeof own / sizeof *own; i++)
		psl_vector("psl, own", own[i].name, own[i].want);
	if (!dir || !*dir) {
		printf("skipped: psl/tests.txt, %d vectors of the public suffix list (CONFORMANCE is not set)\n", PSL_CASES);
		skipped += PSL_CASES;
		regdomain_release();
		return;
	}
	before = passed + failed;
	snprintf(path, sizeof path, "%s/psl/tests.txt", dir);
	f = must_open(path);
	while (next_line(f, &line, &cap)) {
		if (!*line || strncmp(line, "//", 2) == 0)
			continue;
		rest = line;
		name = strsep(&rest, " ");
		psl_vector("psl/tests.txt", name, rest ? rest : "null");
	}
	free(line);
	fclose(f);
	if (passed + failed - before != PSL_CASES) {
		printf("FAIL psl/tests.txt has %d vectors, not %d\n", passed + failed - before, PSL_CASES);
		failed++;
	}
	regdomain_release();
}

int main(void)
{
	struct score cases = { 0 }, blocks = { 0 };

	setvbuf(stdout, NULL, _IOLBF, 0);
	run_cases(&cases);
	run_blocks(&blocks);
	run_differential();
	run_parsers();
	run_psl();
	printf("\n%-34s %6s %8s %14s\n", "suite", "cases", "native", "libopendmarc");
	printf("%-34s %6d %8d %14d\n", "cases.tsv, as RFC 9989 has them", cases.cases, cases.native, cases.library);
	printf("%-34s %6d %8d %14d\n", "rfc9989.txt", blocks.cases, blocks.native, blocks.library);
	printf("dmarc: %d passed, %d failed, %d skipped\n", passed, failed, skipped);
	return failed ? 1 : 0;
}
