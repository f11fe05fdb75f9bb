/*
 * run_spf - tables of SPF cases through both engines
 *
 *     run_spf [FILE ...]
 *
 * The tables: tests/conformance/spf_table.txt, which is ours and always there, and the public RFC 7208 suite where the environment's
 * CONFORMANCE names the directory that holds it. The native engine must get all right. What the library
 * engine gets wrong is listed, by name and with the reason, in spf_libspf2_misses.txt: a miss that is not listed
 * fails, and so does a listed case that comes out right.
 *
 * A table is lines of a word and its value:
 *
 *     scenario WORDS          forget the zone
 *     zone NAME TYPE DATA     see support/dns_table.h
 *     case NAME               then what is asked, until "expect"
 *     client ADDRESS
 *     helo TEXT
 *     from ADDRESS            empty: the null sender; left out: the HELO identity
 *     explanation TEXT        exactly; DEFAULT: none
 *     why TEXT                the native engine's reason holds that
 *     mechanism TEXT          of the native engine, exactly
 *     domain NAME             that was checked
 *     asked N                 the native engine starts at most so many lookups
 *     expect WORD ...         any of these results; runs the case
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filters/spf_engine.h"
#include "support/dns_table.h"

enum { LINE_MAX_BYTES = 16 * 1024, MISSES_MAX = 512, SUITE_CASES = 203, TIMEOUT_MS = 20000 };

static const char misses_path[] = "tests/conformance/spf_libspf2_misses.txt";

struct spf_case {
	char *name, *client, *helo, *from, *explanation, *why, *mechanism, *domain, *expect;
	int asked;
};

struct tally {
	int pass, known, fail;
};

static struct {
	char *name[MISSES_MAX];
	size_t count;
} misses;

static void case_clear(struct spf_case *c)
{
	free(c->name);
	free(c->client);
	free(c->helo);
	free(c->from);
	free(c->explanation);
	free(c->why);
	free(c->mechanism);
	free(c->domain);
	free(c->expect);
	*c = (struct spf_case){ .asked = -1 };
}

static void misses_load(void)
{
	FILE *f = fopen(misses_path, "r");
	char line[512];

	if (!f) {
		fprintf(stderr, "%s: %s; run from the top of the tree\n", misses_path, strerror(errno));
		exit(1);
	}
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, " \t\r\n#")] = '\0';
		assert(misses.count < MISSES_MAX);
		if (line[0])
			misses.name[misses.count++] = strdup(line);
	}
	fclose(f);
}

static bool is_known_miss(const char *set, const char *name)
{
	char full[256];

	snprintf(full, sizeof(full), "%s/%s", set, name);
	for (size_t i = 0; i < misses.count; i++)
		if (strcmp(misses.name[i], full) == 0)
			return true;
	return false;
}

/* ---- one case ---- */

static bool word_in(const char *word, const char *list)
{
	size_t n = strlen(word);

	for (const char *p = list; *p; p += strspn(p, " ")) {
		size_t len = strcspn(p, " ");

		if (len == n && memcmp(p, word, n) == 0)
			return true;
		p += len;
	}
	return false;
}

/* NULL when as expected, else what differs. native: all of it. */
static const char *differs(const struct spf_case *c, const struct spf_result *r, bool native)
{
	if (!word_in(spf_code_name(r->code), c->expect))
		return "result";
	if (c->explanation && strcmp(c->explanation, r->explanation ? r->explanation : "DEFAULT") != 0)
		return "explanation";
	if (c->domain && strcmp(c->domain, r->domain) != 0)
		return "domain";
	if (!native)
		return NULL;
	if (c->why && !strstr(r->why, c->why))
		return "why";
	if (c->mechanism && strcmp(c->mechanism, r->mechanism ? r->mechanism : "") != 0)
		return "mechanism";
	if (c->asked >= 0 && r->asked > c->asked)
		return "asked";
	return NULL;
}

static void case_run(const char *set, const struct spf_case *c, enum engine engine, struct dns *dns, struct tally *t)
{
	struct spf_query q = { .helo = c->helo, .sender = c->from, .receiver = "gw.example", .timeout_ms = TIMEOUT_MS, .explain = true };
	AUTO(spf_result) struct spf_result r = { 0 };
	bool native = engine == ENGINE_NATIVE, known = !native && is_known_miss(set, c->name);
	const char *wrong;

	if (net_parse(c->client, &q.client) < 0 || spf_check(engine, &q, dns, &r) < 0) {
		printf("FAIL %s/%s: cannot be run\n", set, c->name);
		t->fail++;
		return;
	}
	wrong = differs(c, &r, native);
	if (!wrong && !known) {
		t->pass++;
	} else if (wrong && known) {
		t->known++;
	} else {
		t->fail++;
		printf("FAIL %s/%s, %s: %s; got %s, expected %s\n     %s\n     explanation: %s, asked %d\n", set, c->name,
		       native ? "native" : "libspf2", wrong ? wrong : "right, but it is listed as a miss", spf_code_name(r.code),
		       c->expect, r.why, r.explanation ? r.explanation : "DEFAULT", r.asked);
	}
}

/* ---- a table ---- */

static bool case_word(struct spf_case *c, const char *word, const char *value)
{
	const struct { const char *word; char **to; } words[] = {
		{ "case", &c->name }, { "client", &c->client }, { "helo", &c->helo }, { "from", &c->from },
		{ "explanation", &c->explanation }, { "why", &c->why }, { "mechanism", &c->mechanism },
		{ "domain", &c->domain }, { "expect", &c->expect },
	};

	if (strcmp(word, "asked") == 0) {
		c->asked = atoi(value);
		return true;
	}
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
		if (strcmp(words[i].word, word) == 0) {
			free(*words[i].to);
			*words[i].to = strdup(value);
			return true;
		}
	}
	return false;
}

static void table_line(const char *set, char *line, struct dns_table *zone, struct spf_case *c, struct tally t[2])
{
	char *value = line + strcspn(line, " ");

	if (*value)
		*value++ = '\0';
	if (strcmp(line, "scenario") == 0) {
		dns_table_clear(zone);
	} else if (strcmp(line, "zone") == 0) {
		dns_table_zone(zone, value);
	} else if (!case_word(c, line, value)) {
		fprintf(stderr, "%s: a line that begins with \"%s\"\n", set, line);
		exit(1);
	}
	if (c->expect) {
		assert(c->name && c->client);
		case_run(set, c, ENGINE_NATIVE, dns_table_dns(zone), &t[ENGINE_NATIVE]);
		case_run(set, c, ENGINE_LIBRARY, dns_table_dns(zone), &t[ENGINE_LIBRARY]);
		case_clear(c);
	}
}

static void table_run(const char *set, FILE *f, struct tally t[2])
{
	AUTO(dns_table) struct dns_table *zone = dns_table_new();
	struct spf_case c = { .asked = -1 };
	char *line = malloc(LINE_MAX_BYTES);

	assert(line);
	while (fgets(line, LINE_MAX_BYTES, f)) {
		line[strcspn(line, "\n")] = '\0';
		if (line[0] && line[0] != '#')
			table_line(set, line, zone, &c, t);
	}
	case_clear(&c);
	free(line);
}

static void print_row(const char *set, const char *engine, const struct tally *t)
{
	printf("%-22s %-8s %6d %12d %6d\n", set, engine, t->pass, t->known, t->fail);
}

static void own_table(const char *path, struct tally t[2])
{
	FILE *f = fopen(path, "r");

	if (!f) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		exit(1);
	}
	table_run("table", f, t);
	fclose(f);
}

/* False: skipped. */
static bool public_suite(struct tally t[2])
{
	const char *dir = getenv("CONFORMANCE");
	char command[1024];
	FILE *f;

	if (!dir || !*dir)
		return false;
	setenv("SPF_SUITE", dir, 1);
	snprintf(command, sizeof(command), "/usr/bin/python3 tests/conformance/spf_yaml.py \"$SPF_SUITE/spf/rfc7208-tests.yml\"");
	f = popen(command, "r");
	assert(f);
	table_run("rfc7208", f, t);
	if (pclose(f) != 0 || t[ENGINE_NATIVE].pass + t[ENGINE_NATIVE].fail != SUITE_CASES) {
		printf("FAIL rfc7208: the suite of %d cases could not be read from %s\n", SUITE_CASES, dir);
		t[ENGINE_NATIVE].fail++;
	}
	return true;
}

int main(int argc, char **argv)
{
	struct tally own[2] = { { 0 } }, suite[2] = { { 0 } };
	bool ran;
	int failed;

	setvbuf(stdout, NULL, _IOLBF, 0);
	misses_load();
	for (int i = 1; i < argc; i++)
		own_table(argv[i], own);
	if (argc == 1)
		own_table("tests/conformance/spf_table.txt", own);
	ran = public_suite(suite);
	printf("%-22s %-8s %6s %12s %6s\n", "cases", "engine", "pass", "known misses", "fail");
	print_row("own table", "native", &own[ENGINE_NATIVE]);
	print_row("own table", "libspf2", &own[ENGINE_LIBRARY]);
	if (ran) {
		print_row("RFC 7208 suite", "native", &suite[ENGINE_NATIVE]);
		print_row("RFC 7208 suite", "libspf2", &suite[ENGINE_LIBRARY]);
	} else {
		printf("skipped: spf/rfc7208-tests.yml, %d cases (CONFORMANCE is not set)\n", SUITE_CASES);
	}
	for (size_t i = 0; i < misses.count; i++)
		free(misses.name[i]);
	/* Counted are our engine's cases; what the library gets wrong unexpectedly fails, too. */
	failed = own[0].fail + own[1].fail + suite[0].fail + suite[1].fail;
	printf("spf: %d passed, %d failed, %d skipped\n", own[ENGINE_NATIVE].pass + suite[ENGINE_NATIVE].pass, failed, ran ? 0 : SUITE_CASES);
	return failed ? 1 : 0;
}
