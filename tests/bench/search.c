/*
 * search - how long the full-text search takes among many messages
 *
 *     make benches && build/tests/bench/search /tmp/search 1000000
 *
 * Makes, unless it is there (and goes on where it was left), an index of so many made-up messages of 200 to 500 words: German with compounds, English, Chinese, Japanese, Korean, words
 * distributed as Zipf found them; with addresses, numbers and words that chance made. Then asks, for each kind of question,
 * for the 50 newest: with the file in the system's cache, and out of it. The same numbers give the same messages.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "policy/search_index.h"
#include "policy/search_query.h"
#include "policy/store_id.h"

enum {
	STEMS = 20000, COMPOUNDS = 300000, ENGLISH = 60000, CHARACTERS = 4000, PAIRS = 60000, SYLLABLES = 1200,
	BATCH = 500, ROUNDS = 5, RESULTS = 50,
};

static const char *const known_stems[] = { "und", "die", "rechnung", "zahlung", "konto", "über", "prüfung", "bestell", "liefer", "gebühr" };
static const char *const known_english[] = { "the", "and", "invoice", "payment", "account", "information" };
static const char *const known_pairs[] = { "我们", "发票", "公司", "付款", "税务" };

static char stems[STEMS][24], compounds[COMPOUNDS][56], english[ENGLISH][24], pairs[PAIRS][8], korean[PAIRS][16], kana[PAIRS][24];
static uint64_t seed;

static uint64_t chance(void)
{
	uint64_t z = seed += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static unsigned below(unsigned n)
{
	return (unsigned)(chance() % n);
}

/* Rank 0 is the most frequent; the frequency falls as 1 / rank. */
static unsigned zipf(unsigned n)
{
	double u = (double)(chance() >> 11) / 9007199254740992.0;
	unsigned r = (unsigned)(pow(n + 1, u)) - 1;

	return r < n ? r : n - 1;
}

static void latin(char *out, int syllables, const char *const *ends, unsigned end_count)
{
	static const char *const on[] = { "b", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "w", "z", "sch", "st", "tr", "br", "v" };
	static const char *const vowel[] = { "a", "e", "i", "o", "u", "ei", "au", "ie", "ä", "ü", "e", "a" };

	*out = 0;
	for (int i = 0; i < syllables; i++) {
		strcat(out, on[below(20)]);
		strcat(out, vowel[below(12)]);
	}
	strcat(out, ends[below(end_count)]);
}

static void utf8(char *out, unsigned c)
{
	char text[] = { (char)(0xe0 | c >> 12), (char)(0x80 | (c >> 6 & 0x3f)), (char)(0x80 | (c & 0x3f)), 0 };

	strcat(out, text);
}

static void words_make(void)
{
	static const char *const german[] = { "", "n", "rt", "ng", "cht", "ll", "m", "ls" };
	static const char *const ends[] = { "", "", "ed", "ing", "s", "tion", "ly", "er" };
	static const char *const links[] = { "", "s", "en", "" };
	static const char *const inflections[] = { "", "en", "e", "s", "" };

	seed = 1;
	for (unsigned i = 0; i < STEMS; i++)
		latin(stems[i], 1 + (int)below(2) + (i > 500), german, 8);
	for (unsigned i = 0; i < sizeof(known_stems) / sizeof(*known_stems); i++)
		snprintf(stems[i < 2 ? i : 30 * i], sizeof(stems[0]), "%s", known_stems[i]);
	for (unsigned i = 0; i < COMPOUNDS; i++)
		snprintf(compounds[i], sizeof(compounds[0]), "%s%s%s%s", stems[zipf(STEMS)], links[below(4)], stems[2 + zipf(STEMS - 2)],
			 inflections[below(5)]);
	for (unsigned i = 0; i < ENGLISH; i++)
		latin(english[i], 1 + (int)below(2) + (i > 300), ends, 8);
	for (unsigned i = 0; i < sizeof(known_english) / sizeof(*known_english); i++)
		snprintf(english[i < 2 ? i : 40 * i], sizeof(english[0]), "%s", known_english[i]);
	for (unsigned i = 0; i < PAIRS; i++) {
		utf8(pairs[i], 0x4e00 + 5 * zipf(CHARACTERS));
		utf8(pairs[i], 0x4e00 + 5 * zipf(CHARACTERS));
		for (unsigned k = 2 + below(2); k > 0; k--)
			utf8(korean[i], 0xac00 + 9 * zipf(SYLLABLES));
		if (below(2))
			snprintf(kana[i], sizeof(kana[0]), "%s", pairs[i]);
		for (unsigned k = 1 + below(3); k > 0; k--)
			utf8(kana[i], (below(3) ? 0x3042 : 0x30a2) + below(70));
	}
	for (unsigned i = 0; i < sizeof(known_pairs) / sizeof(*known_pairs); i++)
		snprintf(pairs[20 * i], sizeof(pairs[0]), "%s", known_pairs[i]);
	snprintf(korean[200], sizeof(korean[0]), "세금");
	snprintf(kana[200], sizeof(kana[0]), "請求書");
}

static void say(struct buf *b, const char *word, const char *between)
{
	buf_adds(b, word);
	buf_adds(b, between);
}

static void text_make(struct buf *b, unsigned language, unsigned words)
{
	for (unsigned i = 0; i < words; i++) {
		bool ends = below(12) == 0;

		if (language < 35)
			say(b, below(100) < 15 ? compounds[zipf(COMPOUNDS)] : stems[zipf(STEMS)], ends ? ". " : " ");
		else if (language < 65)
			say(b, english[zipf(ENGLISH)], ends ? ". " : " ");
		else if (language < 80)
			say(b, pairs[zipf(PAIRS)], ends ? "。" : "");
		else if (language < 90)
			say(b, kana[zipf(PAIRS)], ends ? "。" : "");
		else
			say(b, korean[zipf(PAIRS)], ends ? ". " : " ");
	}
}

/* Numbers of orders, links, and words against filters. */
static void noise_make(struct buf *b)
{
	for (int i = 0; i < 8; i++)
		buf_addf(b, " https://track%u.%s.example/%llx", below(50), english[zipf(ENGLISH)], (unsigned long long)chance());
	for (int i = 0; i < 2; i++) {
		buf_addc(b, ' ');
		for (unsigned k = 6 + below(8); k > 0; k--)
			buf_addc(b, (char)('a' + below(26)));
	}
}

static json_t *record_make_up(unsigned n)
{
	AUTO(buf) struct buf text = BUF_INIT(64 * 1024), subject = BUF_INIT(4096);
	char from[96], to[96], id[96];
	unsigned language;

	seed = 1000003ull * (n + 1);
	language = below(100);
	text_make(&subject, language, 4 + below(5));
	text_make(&text, language, 200 + below(300));
	noise_make(&text);
	snprintf(from, sizeof(from), "%s.%s@%s.example", english[zipf(ENGLISH)], english[zipf(ENGLISH)], english[zipf(ENGLISH)]);
	snprintf(to, sizeof(to), "%s@example.com", english[zipf(500)]);
	snprintf(id, sizeof(id), "<%llx.%u@%s>", (unsigned long long)chance(), n, strchr(from, '@') + 1);
	return json_pack("{s:{s:s, s:s}, s:{s:s, s:[{s:s}]}, s:{s:s, s:s, s:s}, s:s}", "client", "ip", "192.0.2.7", "helo",
			 "mail.sender.example", "envelope", "from", from, "rcpt", "address", to, "message", "id", id, "from", from,
			 "subject", buf_str(&subject), "text", buf_str(&text));
}

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1000 + (double)t.tv_nsec / 1e6;
}

static double cpu_ms(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000 + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1000;
}

static void id_make(unsigned n, char id[STORE_ID_MAX])
{
	store_id_make(1700000000000ll + n * 2000ll, n, id);
}

static bool is_there(struct search_index *x, unsigned n)
{
	char id[STORE_ID_MAX];

	id_make(n, id);
	return search_index_has(x, id);
}

/* As the keeper does when it rests. */
static int merge(struct search_index *x)
{
	double start = cpu_ms();
	int rc;

	do {
		rc = search_index_begin(x);
		if (rc == 0)
			rc = search_index_merge(x, 1000);
		if (rc >= 0 && search_index_commit(x) < 0)
			rc = -EIO;
		search_index_checkpoint(x);
	} while (rc > 0);
	printf("merged: %.0f ms of CPU\n", cpu_ms() - start);
	return rc;
}

static int fill(struct search_index *x, unsigned count, unsigned batch)
{
	double making = 0, start = cpu_ms(), longest = 0;
	unsigned first = 0;

	while (first < count && is_there(x, first))
		first += batch;
	for (unsigned n = first; n < count;) {
		double begun = now_ms();
		int rc = search_index_begin(x);

		for (unsigned i = 0; i < batch && n < count && rc == 0; i++, n++) {
			char id[STORE_ID_MAX];
			double t = cpu_ms();
			json_t *record = record_make_up(n);

			making += cpu_ms() - t;
			id_make(n, id);
			rc = search_index_add(x, id, record);
			json_decref(record);
		}
		if (rc == 0)
			rc = search_index_commit(x);
		if (rc < 0)
			return rc;
		longest = fmax(longest, now_ms() - begun);
		search_index_checkpoint(x);
		if (n % 50000 == 0)
			fprintf(stderr, "%u messages, %.3f ms of CPU each\n", n, (cpu_ms() - start - making) / (n - first));
	}
	if (first >= count)
		return merge(x);
	printf("indexed: %u messages, %.3f ms of CPU each, longest batch of %u: %.0f ms\n", count - first,
	       (cpu_ms() - start - making) / (count - first), batch, longest);
	return merge(x);
}

struct answer {
	int count;
};

static int on_id(void *arg, const char *id)
{
	return ++((struct answer *)arg)->count == RESULTS;
}

static double ask(struct search_index *x, const char *text, int *count, bool *many)
{
	AUTO(search_query) struct search_query *q = search_query_new();
	struct answer a = { 0 };
	double start = now_ms();
	int rc = search_query_add(q, text);

	if (rc == 0)
		rc = search_query_check(q);
	if (rc == 0)
		rc = search_index_find(x, q, on_id, &a, many);
	if (rc < 0)
		printf("%s: %s\n", text, rc == -EINVAL ? q->error : strerror(-rc));
	*count = a.count;
	return now_ms() - start;
}

static void forget(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	(void)fdatasync(fd);
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	close(fd);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Each time with a new connection, as the command has it. */
static double ask_fresh(const char *path, const char *text, bool cold, int *count, bool *many, double *cpu)
{
	struct search_index *x = NULL;
	double ms, start;

	*cpu = cpu_ms();

	if (cold)
		forget(path);
	start = now_ms();
	if (search_index_open(path, &x) < 0)
		return -1;
	(void)ask(x, text, count, many);
	ms = now_ms() - start;
	search_index_close(x);
	*cpu = cpu_ms() - *cpu;
	return ms;
}

static void measure(const char *path, const char *what, const char *text)
{
	double warm[ROUNDS], cpu[ROUNDS], cold;
	int count = 0;
	bool many = false;

	cold = ask_fresh(path, text, true, &count, &many, cpu);
	for (int i = 0; i < ROUNDS; i++)
		warm[i] = ask_fresh(path, text, false, &count, &many, &cpu[i]);
	qsort(cpu, ROUNDS, sizeof(*cpu), compare);
	qsort(warm, ROUNDS, sizeof(*warm), compare);
	printf("%-34s %-32s %5d%s %8.1f %8.1f %8.1f\n", what, text, count, many ? "+" : " ", warm[ROUNDS / 2],
	       cpu[ROUNDS / 2], cold);
}

static void measure_all(const char *path, unsigned count)
{
	json_t *newest = record_make_up(count - 1), *oldest = record_make_up(7);
	const char *id = json_string_value(json_object_get(json_object_get(oldest, "message"), "id"));
	char two[128], phrase[160];

	printf("\n%-34s %-32s %6s %8s %8s %8s\n", "question", "", "found", "warm ms", "its CPU", "cold ms");
	measure(path, "the most frequent word", "und");
	measure(path, "a frequent word", "invoice");
	measure(path, "a frequent word and its compounds", "rechnung");
	measure(path, "an umlaut, in compounds", "gebühr");
	measure(path, "the same, written out", "gebuehr");
	measure(path, "a rare word", english[ENGLISH - 3]);
	measure(path, "a rare compound", compounds[COMPOUNDS - 2]);
	measure(path, "the middle of a compound", stems[9000]);
	measure(path, "four letters of very many words", "tion");
	measure(path, "four letters of many words", "scht");
	measure(path, "no hit", "qqqqxxxx");
	measure(path, "no hit, without expansion", "q1");
	measure(path, "Chinese, two characters, frequent", "发票");
	measure(path, "Chinese, rare", pairs[PAIRS - 5]);
	measure(path, "Chinese, one character", "票");
	snprintf(two, sizeof(two), "%s%s", pairs[0], pairs[20]);
	measure(path, "Chinese, four characters", two);
	measure(path, "Japanese", "請求書");
	measure(path, "Japanese, two characters", "請求");
	measure(path, "Korean, two characters", "세금");
	measure(path, "two frequent words", "invoice payment");
	snprintf(two, sizeof(two), "the %s", english[ENGLISH - 3]);
	measure(path, "a frequent and a rare word", two);
	snprintf(two, sizeof(two), "%s %s", english[200], english[240]);
	measure(path, "two middling words", two);
	measure(path, "frequent words, never together", "the und");
	measure(path, "German and Chinese, never together", "rechnung 发票");
	measure(path, "frequent, without another", "und -rechnung");
	snprintf(phrase, sizeof(phrase), "\"%s %s\"", english[0], english[1]);
	measure(path, "a phrase", phrase);
	snprintf(phrase, sizeof(phrase), "\"%s %s %s\"", english[3000], english[4000], english[5000]);
	measure(path, "a phrase without a hit", phrase);
	measure(path, "in the subject", "subject:rechnung");
	measure(path, "from a domain", "from:invoice.example");
	measure(path, "to an address", "to:information@example.com");
	measure(path, "an address that is in all", "example.com");
	measure(path, "a Message-ID", id);
	json_decref(newest);
	json_decref(oldest);
}

int main(int argc, char **argv)
{
	struct search_index *x = NULL;
	unsigned count = argc > 2 ? (unsigned)atoi(argv[2]) : 1000000, batch = argc > 3 ? (unsigned)atoi(argv[3]) : BATCH;
	char path[256];
	struct stat st;
	int rc;

	if (argc < 2 || argc > 4 || !count || !batch) {
		fprintf(stderr, "usage: search DIRECTORY [MESSAGES (1000000) [A BATCH (500)]]\n");
		return 1;
	}
	(void)mkdir(argv[1], 0700);
	snprintf(path, sizeof(path), "%s/search-%u.db", argv[1], count);
	words_make();
	rc = search_index_open(path, &x);
	if (rc == 0)
		rc = fill(x, count, batch);
	search_index_close(x);
	if (rc < 0 || stat(path, &st) < 0) {
		fprintf(stderr, "search: %s: %s\n", path, strerror(-rc));
		return 1;
	}
	printf("index: %.0f MiB, %.0f octets a message\n", (double)st.st_size / 1048576, (double)st.st_size / count);
	measure_all(path, count);
	return 0;
}
