/*
 * A message of 50 MB is signed and verified, with each engine, and the memory of the process does not grow with it: the message lies in a file, which is read once for
 * each. What counts is the most that the process has had in between; the file's pages are not its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/task.h"
#include "filters/dkim_signer.h"
#include "filters/dkim_verify.h"
#include "support/dns_table.h"

enum { BODY = 50 << 20, ALLOWED_KIB = 1024 };

#define HEAD "From: A <a@example.com>\r\nTo: b@example.net\r\nSubject: s\r\nDate: Sun, 22 Nov 2026 06:00:00 +0000\r\n\r\n"

static const struct dkim_engine *const engines[] = { &dkim_engine_native, &dkim_engine_opendkim };
static struct dns_table *dns;
static char *fields[] = { "From", "To", "Subject", "Date" };
static struct dkim_sign_key keys[] = { { .selector = (char *)"rsa" }, { .selector = (char *)"ed" } };
static struct dkim_sign_conf conf = { .domain = (char *)"example.com", .key = keys, .key_count = 2, .field = fields, .field_count = 4 };

/* Of this process: VmRSS, what it has now, or VmHWM, the most that it has had. */
static long memory_kib(const char *what)
{
	FILE *f = fopen("/proc/self/status", "r");
	size_t n = strlen(what);
	char line[128];
	long kib = -1;

	assert_non_null(f);
	while (kib < 0 && fgets(line, sizeof(line), f))
		if (strncmp(line, what, n) == 0 && line[n] == ':')
			kib = atol(line + n + 1);
	fclose(f);
	assert_true(kib >= 0);
	return kib;
}

/* VmHWM begins anew with what there is: proc(5). */
static void peak_forget(void)
{
	FILE *f = fopen("/proc/self/clear_refs", "w");

	assert_non_null(f);
	assert_true(fputs("5", f) > 0 && fclose(f) == 0);
}

static void put(int fd, const char *p, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, p, len);

		assert_true(n > 0);
		p += n;
		len -= (size_t)n;
	}
}

/* Lines of every kind: what relaxed form has to do differs from one to the next. */
static struct message *message_make(const struct buf *above, size_t body)
{
	static const struct message_limits lim = { .memory_bytes = 256 << 10, .header_bytes = 1 << 20, .header_fields = 3000 };
	static const char lines[] = "The quick brown fox jumps over the lazy dog, and so on and so forth, 0123456789.\r\n"
				    "two  blanks \t and a tab \t\r\n \r\n\r\n\r\n.\r\nbase64base64base64base64base64base64base64base64base64base64base64base64==\r\n";
	struct message *m = message_new(&lim, NULL, NULL);
	int fd = memfd_create("message", MFD_CLOEXEC);
	static char chunk[64 * (sizeof(lines) - 1)];

	for (size_t i = 0; i < 64; i++)
		memcpy(chunk + i * (sizeof(lines) - 1), lines, sizeof(lines) - 1);
	if (above)
		put(fd, above->data, above->len);
	put(fd, HEAD, strlen(HEAD));
	for (size_t n = 0; n < body; n += sizeof(chunk))
		put(fd, chunk, sizeof(chunk));
	assert_int_equal(message_adopt(m, fd), 0);
	return m;
}

static void sign(const struct dkim_engine *engine, struct message *m, struct buf *out)
{
	struct dkim_signer *s = dkim_signer_new(HEAD, strlen(HEAD));
	const char *why;

	assert_non_null(s);
	assert_int_equal(dkim_signer_sign(s, &conf, engine, m, clock_wall_s(), out, &why), 0);
	dkim_signer_free(s);
}

static void verify(const struct dkim_engine *engine, struct message *m)
{
	struct dkim_limits lim = { .engine = engine };
	struct dkim_verify *v = dkim_verify_new(dns_table_dns(dns), &lim);
	size_t off = message_body_offset(m), count, len;
	const struct dkim_result *r;
	const char *p;

	for (size_t i = 0; i < message_field_count(m); i++)
		assert_int_equal(dkim_verify_field(v, message_field(m, i)->raw, message_field(m, i)->raw_len), 0);
	assert_int_equal(dkim_verify_header_end(v), 0);
	while (message_read(m, off, &p, &len) == 0 && len > 0) {
		assert_int_equal(dkim_verify_body(v, p, len), 0);
		off += len;
	}
	assert_int_equal(off, message_size(m));
	assert_int_equal(dkim_verify_finish(v, &r, &count), 0);
	assert_int_equal(count, 2);
	assert_int_equal(r[0].word, DKIM_RESULT_PASS);
	assert_int_equal(r[1].word, DKIM_RESULT_PASS);
	dkim_verify_free(v);
}

/* The most that a message of that size takes beyond what was there before. */
static long taken_kib(const struct dkim_engine *engine, size_t body)
{
	AUTO(buf) struct buf above = BUF_INIT(1 << 16);
	struct message *m = message_make(NULL, body), *signed_m;
	long from_kib;

	peak_forget();
	from_kib = memory_kib("VmRSS");
	sign(engine, m, &above);
	message_free(m);
	signed_m = message_make(&above, body);
	verify(engine, signed_m);
	message_free(signed_m);
	return memory_kib("VmHWM") - from_kib;
}

static void test_memory(void **state)
{
	for (int form = DKIM_FORM_RELAXED; form <= DKIM_FORM_SIMPLE; form += DKIM_FORM_SIMPLE - DKIM_FORM_RELAXED) {
		conf.form = (enum dkim_sign_form)form;
		for (size_t i = 0; i < 2; i++) {
			long small, large;

			taken_kib(engines[i], 1 << 20);         /* what is done once in a process's life */
			small = taken_kib(engines[i], 1 << 20);
			large = taken_kib(engines[i], BODY);
			print_message("%s: 1 MB %ld KiB, 50 MB %ld KiB\n", engines[i]->name, small, large);
			if (large > small + ALLOWED_KIB)
				fail_msg("%s: 50 MB take %ld KiB, 1 MB %ld", engines[i]->name, large, small);
		}
	}
}

static int setup(void **state)
{
	keys[0].key = dkim_private_make(DKIM_KEY_RSA, 1024);
	keys[1].key = dkim_private_make(DKIM_KEY_ED25519, 0);
	dns = dns_table_new();
	for (size_t i = 0; i < 2; i++) {
		AUTO(buf) struct buf record = BUF_INIT(4096);
		char name[64];

		assert_non_null(keys[i].key);
		assert_int_equal(dkim_private_record(keys[i].key, &record), 0);
		snprintf(name, sizeof(name), "%s._domainkey.example.com", keys[i].selector);
		dns_table_add(dns, name, "TXT", buf_str(&record));
	}
	return loop_init();
}

static int teardown(void **state)
{
	for (size_t i = 0; i < 2; i++)
		dkim_private_free(keys[i].key);
	dns_table_free(dns);
	loop_release();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_memory) };

	return cmocka_run_group_tests(tests, setup, teardown);
}
