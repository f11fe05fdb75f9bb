/*
 * run_dkim_diff - random headers through both engines of DKIM: the same hash for every signature
 *
 * Headers are made from a seeded grammar of odd names, folds, blanks and octets, with a signature that covers some of them. The engines may disagree only where a
 * known deviation of libopendkim explains it (support/dkim_diff.h); what stays unexplained fails and is printed.
 *
 * DKIM_DIFF_COUNT (default 20000) and DKIM_DIFF_SEED (default 1) choose how many and which.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "support/dkim_diff.h"
#include "support/random.h"

enum { SHOWN_MAX = 8 };

static const char *const names[] = { "From", "To", "Subject", "Date", "Received", "X-A", "X-AB", "Message-ID", "B", "X_1" };

static void add_blanks(struct buf *b, bool fold)
{
	static const char *const blanks[] = { "", " ", " ", " ", "  ", "\t", " \t ", "\t\t " }, *const folds[] = { "\r\n ", " \r\n\t", "\r\n \r\n ", "\r\n  \t" };

	buf_adds(b, fold && pick(4) == 0 ? ONE_OF(folds) : ONE_OF(blanks));
}

static void add_name(struct buf *b, const char *name)
{
	unsigned how = pick(3);

	for (; *name; name++)
		buf_addc(b, how == 1 && *name >= 'a' && *name <= 'z' ? *name - 32 : how == 2 && *name >= 'A' && *name <= 'Z' ? *name + 32 : *name);
}

static void add_word(struct buf *b, unsigned odd)
{
	static const char *const plain[] = { "a", "word", "x@y.example", "=?utf-8?q?a?=", "b=c", ";", ":", "\"q s\"", "(c)", "<a@b>" };
	static const char *const strange[] = { "gr\xc3\xbc\xc3\x9f", "\xff\xfe", "\x01", "\x7f", "\v", "\f", "\r", "\n", "\r\r\n x", "%s", "\xa0" };

	buf_adds(b, pick(100) < odd ? ONE_OF(strange) : ONE_OF(plain));
	if (pick(100) < odd && pick(4) == 0)
		buf_addc(b, '\0');
}

static void add_field(struct buf *b, unsigned odd)
{
	static const char *const before[] = { " ", "  ", " ", "  ", "   ", "\t" };
	unsigned words = pick(6);

	add_name(b, pick(20) == 0 ? "DKIM-Signature" : ONE_OF(names));
	if (pick(10) == 0)
		buf_adds(b, ONE_OF(before));
	buf_addc(b, ':');
	add_blanks(b, true);
	for (unsigned i = 0; i < words; i++) {
		add_word(b, odd);
		add_blanks(b, true);
	}
	buf_adds(b, "\r\n");
}

static void add_fws(struct buf *b)
{
	static const char *const fws[] = { "", "", "", " ", "\r\n\t", "  ", "\r\n ", "\t" };

	buf_adds(b, ONE_OF(fws));
}

static void add_tag(struct buf *b, const char *name, const char *value)
{
	add_fws(b);
	buf_adds(b, name);
	if (name[0] != 'b' || pick(30) == 0)
		add_fws(b);
	buf_addc(b, '=');
	add_fws(b);
	buf_adds(b, value);
	add_fws(b);
	buf_addc(b, ';');
}

static void add_signature(struct buf *b)
{
	static const char *const forms[] = { "relaxed", "simple", "relaxed/simple", "simple/relaxed", "relaxed/relaxed", "simple/simple", "Relaxed/Simple" };
	AUTO(buf) struct buf h = BUF_INIT(4096);
	unsigned count = pick(8), at = pick(count + 1);
	bool early = pick(3) == 0;              /* b= somewhere, or at the end */

	for (unsigned i = 0; i <= count; i++) {
		if (i)
			buf_addc(&h, ':');
		add_fws(&h);
		add_name(&h, i == at ? "From" : pick(100) == 0 ? "DKIM-Signature" : ONE_OF(names));
		add_fws(&h);
	}
	add_name(b, "DKIM-Signature");
	buf_addc(b, ':');
	add_tag(b, "v", "1");
	add_tag(b, "a", "rsa-sha256");
	if (early)
		add_tag(b, "b", "dGhlIHF1 aWNr");
	if (pick(6))
		add_tag(b, "c", ONE_OF(forms));
	add_tag(b, "d", "example.com");
	add_tag(b, "s", "s");
	add_tag(b, "h", buf_str(&h));
	if (pick(4) == 0)
		add_tag(b, "z", "From:a@b|b=c");
	add_tag(b, "bh", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
	if (!early)
		add_tag(b, "b", pick(2) ? "dGhlIHF1\r\n\taWNr" : "dGhl\r\n IHF1\taWNr IA==");
	if (pick(3) == 0)
		b->len--;                       /* without the last semicolon */
	buf_adds(b, "\r\n");
}

static void make(struct buf *b)
{
	unsigned fields = pick(10), place = pick(3) ? 0 : pick(fields + 1), odd = pick(4) ? 0 : 8;

	for (unsigned i = 0; i <= fields; i++) {
		if (i == place)
			add_signature(b);
		else
			add_field(b, odd);
	}
	buf_adds(b, "From: a@example.com\r\n\r\n");
}

static void show(const char *name, const struct buf *b)
{
	printf("---- %s\n", name);
	for (size_t i = 0; i < b->len; i++) {
		unsigned char c = (unsigned char)b->data[i];

		if (c == '\n')
			printf("\\n\n");
		else if (c < 0x20 || c >= 0x7f)
			printf("\\x%02x", c);
		else
			putchar(c);
	}
}

static unsigned setting(const char *name, unsigned otherwise)
{
	const char *s = getenv(name);

	return s && *s ? (unsigned)strtoul(s, NULL, 10) : otherwise;
}

int main(void)
{
	unsigned count = setting("DKIM_DIFF_COUNT", 20000), passed = 0, failed = 0, unread = 0, known[DKIM_DIFF_KNOWN] = { 0 };

	random_seed(setting("DKIM_DIFF_SEED", 1));
	for (unsigned i = 0; i < count; i++) {
		AUTO(buf) struct buf b = BUF_INIT(1 << 16);
		struct dkim_diff d;

		make(&b);
		dkim_diff(b.data, b.len, &d);
		unread += !d.signature;
		for (size_t k = 0; k < DKIM_DIFF_KNOWN && d.signature && !d.same; k++)
			known[k] += d.known == dkim_diff_known[k].name;
		passed += d.signature && (d.same || d.known);
		if (!d.signature || d.same || d.known)
			continue;
		if (failed++ < SHOWN_MAX)
			show(d.why[1], &b);
	}
	printf("%u headers: %u without a signature that can be read; different for a known reason:\n", count, unread);
	for (size_t k = 0; k < DKIM_DIFF_KNOWN; k++)
		printf("%8u %-8s %s\n", known[k], dkim_diff_known[k].name, dkim_diff_known[k].what);
	printf("dkim-diff: %u passed, %u failed, 0 skipped\n", passed, failed);
	return failed ? 1 : 0;
}
