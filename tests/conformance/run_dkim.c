/*
 * run_dkim - DKIM verification against vectors
 *
 * dkim/ beside this file: 97 messages of our own, and a few more in dkim/more, always. Where the environment's CONFORMANCE points, its dkim/corpus (the corpus of Mail::DKIM)
 * and dkim/stalwart too. What a vector expects is said per signature, from the top of the header down:
 *
 *     pass, fail          fail stands for every result that is neither pass nor temperror
 *     a|b                 either is right
 *     pass(l)             valid, and l= leaves text unsigned
 *     pass(from2)         valid, and there is a From field that it does not cover
 *
 * Both engines are judged. To each every message is brought whole, in chunks of 1, 7 and 1000 bytes: all must say the same. Beside the engines' columns
 * stands what the library says when it is used as it comes.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include <opendkim/dkim.h>

#include "filters/dkim_verify.h"
#include "filters/message.h"
#include "support/dns_table.h"

enum { WORDS_MAX = 512, PUBLIC_CASES = 54 };

enum { ENGINES = 2 };

static const struct dkim_engine *const engines[ENGINES] = { &dkim_engine_native, &dkim_engine_opendkim };

static struct {
	int passed, failed, skipped;    /* messages that both engines have right, and others */
	int cases, right[ENGINES];      /* of one directory, as the next two are */
	int raw_passed;
	char raw_missed[1024], missed[ENGINES][1024];
} score;

static void score_begin(void)
{
	score.cases = score.raw_passed = 0;
	score.raw_missed[0] = '\0';
	for (size_t i = 0; i < ENGINES; i++) {
		score.right[i] = 0;
		score.missed[i][0] = '\0';
	}
}

static void miss(char list[1024], const char *name)
{
	snprintf(list + strlen(list), 1024 - strlen(list), " %s", name);
}

static void score_engines(const char *dir)
{
	for (size_t i = 0; i < ENGINES; i++)
		printf("%s: engine %s: %d of %d; missed:%s\n", dir, engines[i]->name, score.right[i], score.cases, score.missed[i][0] ? score.missed[i] : " none");
}

static char *file_read(const char *dir, const char *name, size_t *len)
{
	char path[1024];
	char *p;
	FILE *f;
	long n;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "rb");
	if (!f)
		return NULL;
	fseek(f, 0, SEEK_END);
	n = ftell(f);
	rewind(f);
	p = malloc((size_t)n + 1);
	assert(p && fread(p, 1, (size_t)n, f) == (size_t)n);
	fclose(f);
	p[n] = '\0';
	*len = (size_t)n;
	return p;
}

/* The text with CRLF for each LF that stands alone. */
static char *with_crlf(const char *p, size_t len, size_t *out_len)
{
	char *out = malloc(2 * len + 1);
	size_t n = 0;

	assert(out);
	for (size_t i = 0; i < len; i++) {
		if (p[i] == '\n' && (i == 0 || p[i - 1] != '\r'))
			out[n++] = '\r';
		out[n++] = p[i];
	}
	out[n] = '\0';
	*out_len = n;
	return out;
}

static struct message *message_of(const char *p, size_t len)
{
	struct message_limits lim = { .memory_bytes = 64 << 20, .header_bytes = 4 << 20, .header_fields = 5000 };
	struct message *m = message_new(&lim, NULL, NULL);
	int rc;

	assert(m);
	rc = message_add(m, p, len);
	assert(rc == 0);
	message_end(m);
	return m;
}

static void body_feed(struct dkim_verify *v, const char *p, size_t len, size_t chunk)
{
	for (size_t at = 0; at < len; at += chunk) {
		int rc = dkim_verify_body(v, p + at, len - at < chunk ? len - at : chunk);

		assert(rc == 0);
	}
}

/* Our results, as the vectors write them. why: the first reason. */
static void ours(struct dns_table *t, const struct dkim_engine *engine, const char *p, size_t len, size_t chunk, char out[WORDS_MAX], char why[160])
{
	struct dkim_limits lim = { .signatures = 64, .body_hashes = 64, .engine = engine };
	AUTO(message) struct message *m = message_of(p, len);
	AUTO(dkim_verify) struct dkim_verify *v = dkim_verify_new(dns_table_dns(t), &lim);
	const struct dkim_result *r;
	size_t off = message_body_offset(m), n = 0, count;
	int rc;

	assert(v);
	for (size_t i = 0; i < message_field_count(m); i++) {
		rc = dkim_verify_field(v, message_field(m, i)->raw, message_field(m, i)->raw_len);
		assert(rc == 0);
	}
	rc = dkim_verify_header_end(v);
	assert(rc == 0);
	body_feed(v, p + off, len - off, chunk);
	rc = dkim_verify_finish(v, &r, &count);
	assert(rc == 0);
	out[0] = why[0] = '\0';
	for (size_t i = 0; i < count; i++) {
		const char *word = r[i].word == DKIM_RESULT_PASS || r[i].word == DKIM_RESULT_TEMPERROR ? dkim_word_name(r[i].word) : "fail";
		bool pass = r[i].word == DKIM_RESULT_PASS;

		n += (size_t)snprintf(out + n, WORDS_MAX - n, "%s%s%s%s", i ? "," : "", word, pass && r[i].partial ? "(l)" : "",
				      pass && r[i].from_added ? "(from2)" : "");
		if (!why[0] && r[i].why[0])
			snprintf(why, 160, "%s", r[i].why);
	}
	if (count == 0)
		snprintf(out, WORDS_MAX, "none");
}

/* The library as it comes: its DNS is our table, nothing else is changed. */

static struct dns_table *raw_table;

static DKIM_CBSTAT raw_key(DKIM *dkim, DKIM_SIGINFO *sig, unsigned char *buf, size_t room)
{
	char name[600];
	struct dns_lookup *l;
	const struct dns_answer *a;
	DKIM_CBSTAT st = DKIM_CBSTAT_NOTFOUND;
	size_t len = 0;
	char *text = NULL;

	snprintf(name, sizeof(name), "%s._domainkey.%s", dkim_sig_getselector(sig), dkim_sig_getdomain(sig));
	if (dns_start(dns_table_dns(raw_table), name, DNS_TXT, &l) < 0)
		return DKIM_CBSTAT_ERROR;
	a = dns_wait(l);
	if (a->status == DNS_OK && dns_txt(&a->rr[0], &text, &len) == 0 && len < room) {
		memcpy(buf, text, len + 1);
		st = DKIM_CBSTAT_CONTINUE;
	}
	free(text);
	dns_drop(l);
	return st;
}

static void raw(struct dns_table *t, const char *p, size_t len, size_t want, char out[WORDS_MAX])
{
	AUTO(message) struct message *m = message_of(p, len);
	size_t off = message_body_offset(m), n = 0;
	DKIM_SIGINFO **sigs = NULL;
	DKIM_LIB *lib = dkim_init(NULL, NULL);
	DKIM_STAT st, end = DKIM_STAT_OK;
	DKIM *dkim;
	int count = 0;

	raw_table = t;
	assert(lib);
	dkim_set_key_lookup(lib, raw_key);
	dkim = dkim_verify(lib, (const unsigned char *)"raw", NULL, &st);
	assert(dkim);
	for (size_t i = 0; i < message_field_count(m); i++)
		dkim_header(dkim, (unsigned char *)message_field(m, i)->raw, message_field(m, i)->raw_len - 2);
	st = dkim_eoh(dkim);
	if (st == DKIM_STAT_OK) {
		if (len > off)
			dkim_body(dkim, (unsigned char *)p + off, len - off);
		end = dkim_eom(dkim, NULL);
		dkim_getsiglist(dkim, &sigs, &count);
	}
	out[0] = '\0';
	for (size_t i = 0; i < want; i++) {
		bool ok = i < (size_t)count && end != DKIM_STAT_SYNTAX && dkim_sig_geterror(sigs[i]) == DKIM_SIGERROR_OK && DKIM_SIG_CHECK(sigs[i]);

		n += (size_t)snprintf(out + n, WORDS_MAX - n, "%s%s", i ? "," : "", ok ? "pass" : "fail");
	}
	dkim_free(dkim);
	dkim_close(lib);
}

/* Comparing. */

/* One word of the vectors against one of ours; bare: what stands in brackets does not count. */
static bool word_fits(const char *want, size_t want_len, const char *have, size_t have_len, bool bare)
{
	while (want_len > 0) {
		const char *bar = memchr(want, '|', want_len);
		size_t n = bar ? (size_t)(bar - want) : want_len, cmp = n;
		const char *paren = memchr(want, '(', n);

		if (bare && paren)
			cmp = (size_t)(paren - want);
		if (cmp == have_len && memcmp(want, have, cmp) == 0)
			return true;
		want += bar ? n + 1 : n;
		want_len -= bar ? n + 1 : n;
	}
	return false;
}

static bool fits(const char *want, const char *have, bool bare)
{
	for (;;) {
		size_t w = strcspn(want, ","), h = strcspn(have, ",");

		if (!word_fits(want, w, have, h, bare))
			return false;
		want += w;
		have += h;
		if (!*want || !*have)
			return !*want && !*have;
		want++;
		have++;
	}
}

static size_t words_in(const char *list)
{
	size_t n = 1;

	for (; *list; list++)
		n += *list == ',';
	return n;
}

/* All chunk sizes must agree; the answer of the whole. False, with a line, if not. */
static bool verified(struct dns_table *t, const struct dkim_engine *engine, const char *name, const char *p, size_t len, char out[WORDS_MAX], char why[160])
{
	static const size_t chunks[] = { 1, 7, 1000 };
	char other[WORDS_MAX], other_why[160];

	ours(t, engine, p, len, len ? len : 1, out, why);
	for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
		ours(t, engine, p, len, chunks[i], other, other_why);
		if (strcmp(other, out) == 0 && strcmp(other_why, why) == 0)
			continue;
		printf("%-40s %s: chunks of %zu: %s (%s), whole: %s (%s)\n", name, engine->name, chunks[i], other, other_why, out, why);
		return false;
	}
	return true;
}

static void compare(struct dns_table *t, const char *name, const char *p, size_t len, const char *want, const char *note, bool with_raw)
{
	char have[ENGINES][WORDS_MAX], lib[WORDS_MAX] = "", why[160];
	bool ok = true, raw_ok = true;

	for (size_t i = ENGINES; i-- > 0;) {
		bool right = verified(t, engines[i], name, p, len, have[i], why) && fits(want, have[i], false);

		score.right[i] += right;
		if (!right)
			miss(score.missed[i], name);
		ok = ok && right;
	}
	score.cases++;
	if (with_raw) {
		raw(t, p, len, words_in(want), lib);
		raw_ok = fits(want, lib, true);
		score.raw_passed += raw_ok;
		if (!raw_ok)
			miss(score.raw_missed, name);
	}
	score.passed += ok;
	score.failed += !ok;
	printf("%-4s %-40s %-14.14s %-14.14s %-14.14s %-14.14s%s %s%s%s\n", ok ? "ok" : "FAIL", name, want, have[0], have[1], lib, with_raw ? raw_ok ? "     " : " MISS" : "",
	       note, note[0] && why[0] ? "; " : "", why);
}

static bool lines_next(char **pos, char **line)
{
	char *end;

	if (!**pos)
		return false;
	*line = *pos;
	end = strchr(*pos, '\n');
	*pos = end ? end + 1 : *pos + strlen(*pos);
	if (end)
		*end = '\0';
	if (end && end > *line && end[-1] == '\r')
		end[-1] = '\0';
	return true;
}

/* Lines "name blanks text". */
static void keys_add(struct dns_table *t, char *text)
{
	char *line;

	while (lines_next(&text, &line)) {
		char *value = line + strcspn(line, " \t");

		if (!*line || *line == '#' || !*value)
			continue;
		*value++ = '\0';
		value += strspn(value, " \t");
		if (strcmp(value, "NXDOMAIN") == 0)
			continue;
		if (strncmp(value, "~~", 2) == 0)
			dns_table_add(t, line, "SERVFAIL", "");
		else
			dns_table_add(t, line, "TXT", value);
	}
}

static void run_generated(const char *dir)
{
	AUTO(dns_table) struct dns_table *t = dns_table_new();
	size_t len;
	char *keys = file_read(dir, "keys.txt", &len), *list = file_read(dir, "expected.tsv", &len), *pos = list, *line;

	if (!keys || !list) {
		printf("%s: no vectors here; run from the top of the repository\n", dir);
		exit(1);
	}
	keys_add(t, keys);
	score_begin();
	printf("%-4s %-40s %-14s %-14s %-14s %-14s\n", "", "message", "expected", engines[0]->name, engines[1]->name, "library raw");
	while (lines_next(&pos, &line)) {
		char *name = strtok(line, "\t"), *want = strtok(NULL, "\t"), *note = strtok(NULL, "\t"), file[256], *p;

		if (!want)
			continue;
		snprintf(file, sizeof(file), "%s.eml", name);
		p = file_read(dir, file, &len);
		assert(p);
		compare(t, name, p, len, want, note ? note : "", true);
		free(p);
	}
	free(keys);
	free(list);
	printf("\n");
	score_engines(dir);
	printf("%s: libopendkim as it comes: %d of %d; missed:%s\n\n", dir, score.raw_passed, score.cases, score.raw_missed[0] ? score.raw_missed : " none");
}

/*
 * The corpus says what was right under RFC 4871. Today only version 1, a key of 1024 bits or more and another algorithm than rsa-sha1 can
 * pass; everything else must fail whatever the file says.
 */
static void run_corpus(const char *dir)
{
	AUTO(dns_table) struct dns_table *t = dns_table_new();
	size_t len;
	char *keys = file_read(dir, "FAKE_DNS.dat", &len), *list = file_read(dir, "expected.tsv", &len), *pos = list, *line;

	assert(keys && list);
	keys_add(t, keys);
	score_begin();
	while (lines_next(&pos, &line)) {
		char *name = strtok(line, "\t"), *said = strtok(NULL, "\t"), *v1 = strtok(NULL, "\t"), *bits = strtok(NULL, "\t"), *p, *file;
		char have[WORDS_MAX], why[160], note[80];
		size_t file_len;
		bool can, ok = true;

		if (!bits || *name == '#')
			continue;
		file = file_read(dir, name, &file_len);
		assert(file);
		p = with_crlf(file, file_len, &len);
		can = strcmp(said, "pass") == 0 && strcmp(v1, "yes") == 0 && (atoi(bits) == 0 || atoi(bits) >= 1024) &&
		      (strstr(p, "rsa-sha256") || strstr(p, "ed25519-sha256"));
		for (size_t i = ENGINES; i-- > 0;) {
			bool right = verified(t, engines[i], name, p, len, have, why) && can == (strstr(have, "pass") != NULL);

			score.right[i] += right;
			if (!right)
				miss(score.missed[i], name);
			ok = ok && right;
		}
		score.cases++;
		snprintf(note, sizeof(note), "suite says %s, v=1: %s, bits %s", said, v1, bits);
		score.passed += ok;
		score.failed += !ok;
		printf("%-4s corpus/%-33s %-14s %-14.14s %s; %s\n", ok ? "ok" : "FAIL", name, can ? "pass" : "no pass", have, note, why);
		free(file);
		free(p);
	}
	score_engines("corpus");
	free(keys);
	free(list);
}

/* Key records, an empty line, the message. */
static void run_stalwart(const char *dir)
{
	size_t len;
	char *list = file_read(dir, "expected.tsv", &len), *pos = list, *line;

	assert(list);
	score_begin();
	while (lines_next(&pos, &line)) {
		AUTO(dns_table) struct dns_table *t = dns_table_new();
		char *name = strtok(line, "\t"), *want = strtok(NULL, "\t"), *note = strtok(NULL, "\t"), *file, *p, *gap, label[64];
		size_t file_len;

		if (!want || *name == '#')
			continue;
		file = file_read(dir, name, &file_len);
		assert(file);
		gap = strstr(file, "\n\n");
		assert(gap);
		p = with_crlf(gap + 2, file_len - (size_t)(gap + 2 - file), &len);
		*gap = '\0';
		keys_add(t, file);
		snprintf(label, sizeof(label), "stalwart/%s", name);
		if (note && strstr(note, "later: expired"))
			want = (char *)"fail";
		compare(t, label, p, len, want, note ? note : "", false);
		free(file);
		free(p);
	}
	score_engines("stalwart");
	free(list);
}

int main(int argc, char **argv)
{
	const char *suites = getenv("CONFORMANCE");
	char dir[900];
	int own;                /* cases that are here, whatever CONFORMANCE is */

	run_generated(argc > 1 ? argv[1] : "tests/conformance/dkim");
	if (argc == 1)
		run_generated("tests/conformance/dkim/more");
	own = score.passed + score.failed;
	if (suites && *suites) {
		snprintf(dir, sizeof(dir), "%s/dkim/corpus", suites);
		run_corpus(dir);
		snprintf(dir, sizeof(dir), "%s/dkim/stalwart", suites);
		run_stalwart(dir);
		if (score.passed + score.failed - own != PUBLIC_CASES) {
			printf("FAIL the public suites have %d messages, not %d\n", score.passed + score.failed - own, PUBLIC_CASES);
			score.failed++;
		}
	} else {
		printf("skipped: dkim/corpus and dkim/stalwart, %d messages (CONFORMANCE is not set)\n", PUBLIC_CASES);
		score.skipped = PUBLIC_CASES;
	}
	printf("dkim: %d passed, %d failed, %d skipped\n", score.passed, score.failed, score.skipped);
	return score.failed ? 1 : 0;
}
