/*
 * run_arc - chains of the public ARC suite through arc_verify
 *
 * Where the environment's CONFORMANCE points, its arc/arc-draft-validation-tests.yml, by way of arc_yaml.py, whose lines are
 *
 *     scenario WORDS              forgets the keys of the one before
 *     key NAME TEXT               a TXT record
 *     case NAME none|pass|fail    and what is expected
 *     |LINE                       a line of the message
 *     end                         the message is whole
 *
 * Every message is brought with its body whole and in chunks of 1 and 7 bytes: all must say the same.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "filters/arc_verify.h"
#include "filters/message.h"
#include "support/dns_table.h"

enum { SUITE_CASES = 171 };

static int passed, failed;

static struct message *message_of(const struct buf *b)
{
	struct message_limits lim = { .memory_bytes = 1 << 20, .header_bytes = 1 << 20, .header_fields = 1000 };
	struct message *m = message_new(&lim, NULL, NULL);
	int rc;

	assert(m);
	rc = message_add(m, b->data, b->len);
	assert(rc == 0);
	message_end(m);
	return m;
}

static void verify(struct dns_table *t, const struct buf *text, size_t chunk, struct arc_result *out)
{
	AUTO(message) struct message *m = message_of(text);
	AUTO(arc_verify) struct arc_verify *v = arc_verify_new(dns_table_dns(t));
	size_t off = message_body_offset(m);
	int rc = 0;

	assert(v);
	for (size_t i = 0; i < message_field_count(m) && rc == 0; i++)
		rc = arc_verify_field(v, message_field(m, i)->raw, message_field(m, i)->raw_len);
	assert(rc == 0);
	rc = arc_verify_header_end(v);
	assert(rc == 0);
	for (size_t at = off; at < text->len; at += chunk) {
		rc = arc_verify_body(v, text->data + at, text->len - at < chunk ? text->len - at : chunk);
		assert(rc == 0);
	}
	rc = arc_verify_finish(v, out);
	assert(rc == 0);
}

static void compare(struct dns_table *t, const char *name, const char *want, const struct buf *text)
{
	static const size_t chunks[] = { 1, 7 };
	struct arc_result whole, other;
	bool ok;

	verify(t, text, text->len + 1, &whole);
	ok = strcmp(arc_state_name(whole.state), want) == 0;
	for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
		verify(t, text, chunks[i], &other);
		ok = ok && other.state == whole.state && other.oldest_pass == whole.oldest_pass && strcmp(other.why, whole.why) == 0;
	}
	passed += ok;
	failed += !ok;
	printf("%-4s %-32s %-5s %-5s i=%zu oldest-pass=%u %s\n", ok ? "ok" : "FAIL", name, want, arc_state_name(whole.state), whole.count,
	       whole.oldest_pass, whole.why);
}

static void cases_run(FILE *f)
{
	AUTO(dns_table) struct dns_table *t = dns_table_new();
	AUTO(buf) struct buf text = BUF_INIT(1 << 20);
	char name[128] = "", want[16] = "", *line = NULL;
	size_t room = 0;
	ssize_t n;

	while ((n = getline(&line, &room, f)) > 0) {
		line[n - 1] = '\0';
		if (line[0] == '|') {
			buf_adds(&text, line + 1);
			buf_adds(&text, "\r\n");
		} else if (strncmp(line, "scenario ", 9) == 0) {
			dns_table_clear(t);
		} else if (strncmp(line, "key ", 4) == 0) {
			char *blank = strchr(line + 4, ' ');

			assert(blank);
			*blank = '\0';
			dns_table_add(t, line + 4, "TXT", blank + 1);
		} else if (strncmp(line, "case ", 5) == 0) {
			n = sscanf(line + 5, "%127s %15s", name, want);
			assert(n == 2);
			text.len = 0;
		} else if (strcmp(line, "end") == 0) {
			compare(t, name, want, &text);
		}
	}
	free(line);
}

int main(void)
{
	const char *dir = getenv("CONFORMANCE");
	FILE *f;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!dir || !*dir) {
		printf("skipped: arc/arc-draft-validation-tests.yml, %d cases (CONFORMANCE is not set)\n", SUITE_CASES);
		printf("arc: 0 passed, 0 failed, %d skipped\n", SUITE_CASES);
		return 0;
	}
	f = popen("/usr/bin/python3 tests/conformance/arc_yaml.py \"$CONFORMANCE/arc/arc-draft-validation-tests.yml\"", "r");
	assert(f);
	cases_run(f);
	if (pclose(f) != 0 || passed + failed != SUITE_CASES) {
		printf("FAIL the suite of %d cases could not be read from %s\n", SUITE_CASES, dir);
		failed++;
	}
	printf("arc: %d passed, %d failed, 0 skipped\n", passed, failed);
	return failed ? 1 : 0;
}
