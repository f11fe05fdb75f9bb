/*
 * run_dkim_dkimpy - signatures that we make verified by dkimpy, and those that dkimpy makes by us, with both engines
 *
 * Random messages (folds, blanks, 8 bits, repeated fields, odd bodies), RSA and Ed25519, all four canonical forms. What one of them has signed passes with all
 * others, and with another From with none. Where dkimpy is not installed that is said.
 *
 * DKIMPY_COUNT (default 96) and DKIMPY_SEED (default 1) choose how many each way and which.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/task.h"
#include "filters/dkim_signer.h"
#include "filters/dkim_verify.h"
#include "support/dns_table.h"
#include "support/random.h"

#define SCRIPT "/usr/bin/python3 tests/conformance/dkim_dkimpy.py"

enum { ENGINES = 2, FILE_MAX = 1 << 20 };

static const struct dkim_engine *const engines[ENGINES] = { &dkim_engine_native, &dkim_engine_opendkim };
static char *fields[] = { "From", "To", "Cc", "Subject", "Date", "Message-ID", "X-A", "Received" };
static char *oversigned[] = { "From", "Subject" };
static struct dkim_sign_key keys[] = { { .selector = (char *)"rsa" }, { .selector = (char *)"ed" } };
static struct dkim_sign_conf conf = {
	.domain = (char *)"example.com", .key = keys, .key_count = 2, .field = fields, .field_count = 8, .oversign = oversigned, .oversign_count = 2,
};
static char directory[160];
static struct dns_table *dns;
static int passed, failed;

static void count(bool good, const char *what, int i)
{
	passed += good;
	failed += !good;
	if (!good)
		printf("FAIL %s, message %d\n", what, i);
}

static void path_of(char out[200], const char *name)
{
	snprintf(out, 200, "%s/%s", directory, name);
}

static void file_write(const char *name, const char *p, size_t len)
{
	char path[200];
	FILE *f;

	path_of(path, name);
	f = fopen(path, "wb");
	assert(f && fwrite(p, 1, len, f) == len && fclose(f) == 0);
}

static void file_read(const char *name, struct buf *out)
{
	static char chunk[4096];
	char path[200];
	size_t n;
	FILE *f;

	path_of(path, name);
	f = fopen(path, "rb");
	assert(f);
	while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0)
		assert(buf_add(out, chunk, n) == 0);
	fclose(f);
}

static void keys_make(void)
{
	dns = dns_table_new();
	keys[0].key = dkim_private_make(DKIM_KEY_RSA, 2048);
	keys[1].key = dkim_private_make(DKIM_KEY_ED25519, 0);
	for (size_t i = 0; i < 2; i++) {
		AUTO(buf) struct buf pem = BUF_INIT(8192), record = BUF_INIT(4096);
		char name[64];

		assert(keys[i].key && dkim_private_pem(keys[i].key, &pem) == 0 && dkim_private_record(keys[i].key, &record) == 0);
		snprintf(name, sizeof(name), "%s.pem", keys[i].selector);
		file_write(name, pem.data, pem.len);
		snprintf(name, sizeof(name), "%s.txt", keys[i].selector);
		file_write(name, record.data, record.len);
		snprintf(name, sizeof(name), "%s._domainkey.example.com", keys[i].selector);
		dns_table_add(dns, name, "TXT", buf_str(&record));
	}
}

static struct message *message_of(const char *p, size_t len)
{
	static const struct message_limits lim = { .memory_bytes = 8 << 20, .header_bytes = 1 << 20, .header_fields = 3000 };
	struct message *m = message_new(&lim, NULL, NULL);
	int rc;

	assert(m);
	rc = message_add(m, p, len);
	assert(rc == 0);
	message_end(m);
	return m;
}

static size_t passes(const struct dkim_engine *engine, const struct buf *text)
{
	AUTO(message) struct message *m = message_of(text->data, text->len);
	struct dkim_limits lim = { .engine = engine };
	AUTO(dkim_verify) struct dkim_verify *v = dkim_verify_new(dns_table_dns(dns), &lim);
	const struct dkim_result *r;
	size_t off = message_body_offset(m), n = 0, all;
	int rc = 0;

	for (size_t i = 0; i < message_field_count(m); i++)
		rc |= dkim_verify_field(v, message_field(m, i)->raw, message_field(m, i)->raw_len);
	rc |= dkim_verify_header_end(v);
	rc |= dkim_verify_body(v, text->data + off, text->len - off);
	rc |= dkim_verify_finish(v, &r, &all);
	assert(rc == 0);
	for (size_t i = 0; i < all; i++)
		n += r[i].word == DKIM_RESULT_PASS;
	return n;
}

static void message_make(struct buf *out)
{
	static const char *const names[] = { "Subject", "To", "Cc", "X-A", "Date", "Message-ID", "subject", "X-Other", "Received" };
	static const char *const pieces[] = { "a", "word", " ", "  ", "\t", "\r\n ", "\r\n\t", ".", ";", ":", "=", "\xc3\xa4", "=20", "b=c" };
	static const char *const lines[] = { "\r\n", "\r\n", "\r\n.\r\n", "\r\n\r\n", " \r\n", "\t \r\n", "\r\n..\r\n" };
	unsigned n = pick(8), from = pick(n + 1), words = pick(60);

	for (unsigned i = 0; i <= n; i++) {
		if (i == from)
			buf_adds(out, "From: a@example.com\r\n");
		buf_addf(out, "%s:", ONE_OF(names));
		for (unsigned k = pick(12); k > 0; k--)
			buf_adds(out, ONE_OF(pieces));
		buf_adds(out, "x\r\n");
	}
	buf_adds(out, "\r\nbody ");
	for (unsigned i = 0; i < words; i++)
		buf_adds(out, pick(4) ? ONE_OF(pieces) : ONE_OF(lines));
	buf_adds(out, "\r\n");
}

static void ours_make(int i)
{
	AUTO(buf) struct buf text = BUF_INIT(FILE_MAX), wire = BUF_INIT(FILE_MAX);
	struct dkim_signer *s;
	struct message *m;
	const char *why;
	char name[32];

	message_make(&text);
	m = message_of(text.data, text.len);
	s = dkim_signer_new(text.data, message_body_offset(m));
	conf.form = (enum dkim_sign_form)(i / 2 % 4);
	assert(s && dkim_signer_sign(s, &conf, engines[i % 2], m, clock_wall_s(), &wire, &why) == 0);
	assert(buf_add(&wire, text.data, text.len) == 0);
	snprintf(name, sizeof(name), "o%d", i);
	file_write(name, wire.data, wire.len);
	for (size_t k = 0; k < ENGINES; k++)
		count(passes(engines[k], &wire) == 2, engines[k]->name, i);
	dkim_signer_free(s);
	message_free(m);
}

/* One line from each of its messages. */
static void ours_judged(int n)
{
	char command[400], line[64];
	FILE *f;

	snprintf(command, sizeof(command), SCRIPT " verify %s %d", directory, n);
	f = popen(command, "r");
	assert(f);
	for (int i = 0; i < n; i++)
		count(fgets(line, sizeof(line), f) && atoi(line) == 2, "dkimpy, of ours", i);
	count(pclose(f) == 0, "dkimpy's end", n);
}

static void theirs_judged(int n)
{
	for (int i = 0; i < n; i++) {
		AUTO(buf) struct buf text = BUF_INIT(FILE_MAX);
		char name[32], *word;

		snprintf(name, sizeof(name), "p%d", i);
		file_read(name, &text);
		for (size_t k = 0; k < ENGINES; k++)
			count(passes(engines[k], &text) == 1, engines[k]->name, i);
		word = strstr(buf_str(&text), "From: a@");
		assert(word);
		word[6] = 'b';
		for (size_t k = 0; k < ENGINES; k++)
			count(passes(engines[k], &text) == 0, "changed, and passes", i);
	}
}

static int setting(const char *name, int otherwise)
{
	const char *s = getenv(name);

	return s && *s ? atoi(s) : otherwise;
}

int main(void)
{
	int n = setting("DKIMPY_COUNT", 96), seed = setting("DKIMPY_SEED", 1), status, skipped = 0;
	char command[400];

	snprintf(directory, sizeof(directory), "%.120s/dkimpy-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	assert(mkdtemp(directory) && loop_init() == 0);
	random_seed((uint64_t)seed);
	keys_make();
	for (int i = 0; i < n; i++)
		ours_make(i);
	snprintf(command, sizeof(command), SCRIPT " sign %s %d %d", directory, n, seed);
	status = system(command);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 3) {
		printf("skipped: dkimpy is not installed (python3-dkim)\n");
		skipped = 1;
	} else {
		count(status == 0, "dkimpy signs", n);
		if (status == 0)
			theirs_judged(n);
		ours_judged(n);
	}
	snprintf(command, sizeof(command), "rm -r %s", directory);
	count(system(command) == 0, "the directory goes", n);
	for (size_t i = 0; i < 2; i++)
		dkim_private_free(keys[i].key);
	dns_table_free(dns);
	loop_release();
	printf("dkim-dkimpy: %d passed, %d failed, %d skipped\n", passed, failed, skipped);
	return failed ? 1 : 0;
}
