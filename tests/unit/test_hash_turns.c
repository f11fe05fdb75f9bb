/*
 * Headers that take long to hash, with as many signatures over all of it as are looked at: others on the loop have their turn in between. Counted are their turns; how
 * long the longest time between two of them is, of the processor, is told only, as that hangs on the machine.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <errno.h>

#include "base/buf.h"
#include "base/task.h"
#include "filters/arc_verify.h"
#include "filters/dkim_verify.h"
#include "support/arc_hop.h"

enum { HEADER = 200 * 1024, FIELDS = 8, SETS = 8, SIGNATURES = 10 };

#define COVERED "x-long:x-long:x-long:x-long:x-long:x-long:x-long:x-long:from"
#define BH "bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="

static struct dns_table *dns;
static bool working, done;
static unsigned turns;
static double longest_us, since_us;

static double cpu_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void turn_ends(void)
{
	double us = cpu_us() - since_us;

	longest_us = us > longest_us ? us : longest_us;
}

static void other(void *arg)
{
	for (; !done; task_yield()) {
		if (!working)
			continue;
		turn_ends();
		turns++;
		since_us = cpu_us();
	}
	loop_stop();
}

static void begin(void)
{
	turns = 0;
	longest_us = 0;
	working = true;
	since_us = cpu_us();
}

static void end(const char *what, unsigned wanted)
{
	turn_ends();
	working = false;
	done = true;
	print_message("%s: %u turns, the longest time between two %.1f ms of the processor\n", what, turns, longest_us / 1e3);
	if (turns < wanted)
		fail_msg("%s: others had %u turns, wanted %u", what, turns, wanted);
}

static void run(task_fn *fn, void *arg)
{
	done = false;
	assert_int_equal(task_spawn("other", other, NULL, NULL), 0);
	assert_int_equal(task_spawn("worker", fn, arg, NULL), 0);
	loop_run();
}

/* What takes longest for its length: words of one letter. */
static void header_make(struct buf *out)
{
	for (int i = 0; i < FIELDS; i++) {
		buf_adds(out, "X-Long:");
		for (int k = 0; k < HEADER / FIELDS / 2; k++)
			buf_adds(out, k % 40 ? " x" : "\r\n x");
		buf_adds(out, "\r\n");
	}
	buf_adds(out, "From: Alice <alice@author.example>\r\nTo: b@example.net\r\nSubject: hello\r\n\r\nOne line of text.\r\n");
}

/* The fields of p to the verifier; the length of the header. */
static size_t fields_add(const char *p, void *v, int (*add)(void *v, const char *raw, size_t len))
{
	const char *from = p;

	while (strncmp(p, "\r\n", 2) != 0) {
		const char *stop = p;

		do
			stop = strstr(stop, "\r\n") + 2;
		while (*stop == ' ' || *stop == '\t');
		assert_int_equal(add(v, p, (size_t)(stop - p)), 0);
		p = stop;
	}
	return (size_t)(p + 2 - from);
}

/* ARC: as many sets as are read for their header, and one more; all hold. */

static int arc_add(void *v, const char *raw, size_t len)
{
	return arc_verify_field(v, raw, len);
}

static void arc(void *arg)
{
	AUTO(buf) struct buf text = BUF_INIT(1 << 20);
	struct arc_key *key = arc_key_new("lists.example", "s", 1024);
	struct arc_verify *v = arc_verify_new(dns_table_dns(dns));
	size_t len, head;
	struct arc_result r;
	char *p;

	arc_key_publish(key, dns);
	header_make(&text);
	p = strdup(buf_str(&text));
	len = strlen(p);
	for (unsigned i = 0; i < SETS; i++) {
		struct arc_hop hop = { .key = key, .instance = i + 1, .cv = i ? "pass" : "none", .results = "x; none", .h = COVERED };
		char *sealed = arc_hop_seal(&hop, p, len, &len);

		free(p);
		p = sealed;
	}
	begin();
	head = fields_add(p, v, arc_add);
	assert_int_equal(arc_verify_header_end(v), 0);
	assert_int_equal(arc_verify_body(v, p + head, len - head), 0);
	assert_int_equal(arc_verify_finish(v, &r), 0);
	end("arc", 15);
	assert_int_equal(r.state, ARC_PASS);
	assert_int_equal(r.count, SETS);
	assert_non_null(strstr(r.why, "too much header"));
	arc_verify_free(v);
	free(p);
	arc_key_free(key);
}

static void test_arc(void **state)
{
	run(arc, NULL);
}

/* DKIM: as many signatures as are looked at by default. They need not fit: they are hashed if they have a key. */

static int dkim_add(void *v, const char *raw, size_t len)
{
	return dkim_verify_field(v, raw, len);
}

static void dkim(void *arg)
{
	struct dkim_limits lim = { .engine = arg };
	AUTO(buf) struct buf text = BUF_INIT(1 << 20);
	AUTO(dkim_verify) struct dkim_verify *v = dkim_verify_new(dns_table_dns(dns), &lim);
	AUTO(buf) struct buf record = BUF_INIT(4096);
	const struct dkim_result *r;
	size_t head, count;

	dns_table_clear(dns);
	buf_adds(&record, "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");    /* RFC 8463 appendix A.2 */
	dns_table_add(dns, "s._domainkey.lists.example", "TXT", buf_str(&record));
	for (int i = 0; i < SIGNATURES; i++)
		buf_adds(&text, "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; d=lists.example; s=s; h=" COVERED "; " BH "; b=AAAA\r\n");
	header_make(&text);
	begin();
	head = fields_add(buf_str(&text), v, dkim_add);
	assert_int_equal(dkim_verify_header_end(v), 0);
	assert_int_equal(dkim_verify_body(v, text.data + head, text.len - head), 0);
	assert_int_equal(dkim_verify_finish(v, &r, &count), 0);
	end(lim.engine->name, 25);
	assert_int_equal(count, SIGNATURES);
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(r[i].word, DKIM_RESULT_FAIL);
		assert_string_equal(r[i].why, "the signature does not fit the header");
	}
}

static void test_dkim(void **state)
{
	run(dkim, (void *)&dkim_engine_native);
	run(dkim, (void *)&dkim_engine_opendkim);
}

/*
 * DKIM, more fields than the library is given, as it compares each with every name of h= in one piece: 10 signatures and 9,000 fields of 2 octets took 67 ms. An engine
 * that is asked cannot do it here; one that is not has the native one in its place.
 */
static bool asked;

static int spy_verify(struct dkim_header *h, struct dkim_job *jobs, size_t count)
{
	asked = true;
	return -EPROTO;
}

static bool many_asks(size_t signatures, size_t many)
{
	static const struct dkim_engine spy = { .name = "spy", .verify = spy_verify };
	struct dkim_limits lim = { .engine = &spy };
	AUTO(buf) struct buf text = BUF_INIT(1 << 20);
	AUTO(dkim_verify) struct dkim_verify *v = dkim_verify_new(dns_table_dns(dns), &lim);
	const struct dkim_result *r;
	size_t count;

	asked = false;
	for (size_t i = 0; i < signatures; i++)
		buf_adds(&text, "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; d=lists.example; s=s; h=from; " BH "; b=AAAA\r\n");
	for (size_t i = 0; i < many; i++)
		buf_adds(&text, "A:\r\n");
	buf_adds(&text, "From: Alice <alice@author.example>\r\n\r\n");
	fields_add(buf_str(&text), v, dkim_add);
	assert_int_equal(dkim_verify_header_end(v), 0);
	assert_int_equal(dkim_verify_finish(v, &r, &count), 0);
	assert_int_equal(count, signatures);
	assert_string_equal(r[0].why, asked ? "the header cannot be verified" : "the signature does not fit the header");
	return asked;
}

static void many(void *arg)
{
	dns_table_clear(dns);
	dns_table_add(dns, "s._domainkey.lists.example", "TXT", "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
	assert_true(many_asks(1, 900));
	assert_false(many_asks(1, 1100));
	assert_true(many_asks(10, 50));
	assert_false(many_asks(10, 100));
	done = true;
}

static void test_many(void **state)
{
	run(many, NULL);
}

static int setup(void **state)
{
	dns = dns_table_new();
	return loop_init();
}

static int teardown(void **state)
{
	dns_table_free(dns);
	loop_release();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_arc), cmocka_unit_test(test_dkim), cmocka_unit_test(test_many) };

	return cmocka_run_group_tests(tests, setup, teardown);
}
