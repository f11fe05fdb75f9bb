/*
 * run_arc_sign - the public ARC suite's signing cases through arc_sealer
 *
 * Where the environment's CONFORMANCE points, its arc/arc-draft-sign-tests.yml, by way of arc_sign_yaml.py, whose lines are
 *
 *     scenario DOMAIN SELECTOR    forgets the key of the one before
 *     pem LINE                    a line of the private key
 *     case NAME TIME AUTHSERV-ID
 *     headers NAME:NAME           h=
 *     AAR TEXT, AMS TEXT, AS TEXT what is expected behind the colon, on one line; empty: no set is made
 *     |LINE                       a line of the message
 *     end                         the message is whole
 *
 * As RSA signs the same text the same way each time, b= is expected, too: octet by octet, but for blanks within it. What was found of the chain that came is what
 * the message's Authentication-Results say of it (arc=), as the suite has it.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "filters/arc_sealer.h"
#include "filters/dkim_signer.h"
#include "filters/message.h"
#include "policy/authres.h"

enum { SUITE_CASES = 17, TEXT_MAX = 1 << 20, NAMES = 32 };

static int passed, failed;

struct one {
	char domain[128], selector[128], name[128], id[128], *headers, *want[3];       /* AAR, AMS, AS */
	long long now_s;
	struct buf pem, text;
};

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

static enum arc_cv found_in(const char *results)
{
	const char *p = strstr(results, "arc=");

	return !p ? ARC_CV_UNREAD : strncmp(p + 4, "pass", 4) == 0 ? ARC_CV_PASS : strncmp(p + 4, "fail", 4) == 0 ? ARC_CV_FAIL : ARC_CV_NONE;
}

/* The set, or nothing; why. */
static int seal(const struct one *o, struct buf *out, const char **why)
{
	AUTO(message) struct message *m = message_of(&o->text);
	AUTO(dkim_private) struct dkim_private *key = dkim_private_read(buf_str(&o->pem), o->pem.len, why);
	AUTO(buf) struct buf results = BUF_INIT(TEXT_MAX);
	char *names = strdup(o->headers), *name[NAMES], *rest = names;
	struct arc_seal_conf conf = { .domain = (char *)o->domain, .selector = (char *)o->selector, .key = key, .field = name, .as_listed = true };
	struct arc_seal_order order = { .conf = &conf, .header = o->text.data, .len = message_body_offset(m), .now_s = o->now_s };
	const struct header_field *h;
	int rc;

	assert(key && names);
	while (conf.field_count < NAMES && (name[conf.field_count] = strsep(&rest, ":")))
		conf.field_count++;
	for (size_t i = 0; (h = message_find(m, "Authentication-Results", i)); i++)
		authres_gather(h->body, h->body_len, o->id, &results);
	order.results = buf_str(&results);
	order.results_len = results.len;
	order.found = found_in(order.results);
	rc = dkim_signer_body(m, true, order.body_hash);
	assert(rc == 0);
	rc = arc_sealer_seal(&order, out, why);
	free(names);
	return rc;
}

/* The field of that name in the set, behind its colon, blanks as one. */
static void field_text(const struct buf *set, const char *name, struct buf *out)
{
	const char *p = strstr(buf_str(set), name);
	bool blank = false;

	for (p = p ? p + strlen(name) + 1 : ""; *p && !(*p == '\n' && p[1] != '\t' && p[1] != ' '); p++) {
		if (strchr(" \t\r\n", *p)) {
			blank = out->len > 0;
			continue;
		}
		if (blank)
			buf_addc(out, ' ');
		blank = false;
		buf_addc(out, *p);
	}
}

static void without_blanks_in_b(char *text)
{
	char *at = strstr(text, " b=");

	for (at = at ? at + 3 : NULL; at && *at && *at != ';'; at++)
		while (*at == ' ')
			memmove(at, at + 1, strlen(at));
}

static void compare(const struct one *o)
{
	static const char *const names[] = { "ARC-Authentication-Results", "ARC-Message-Signature", "ARC-Seal" };
	AUTO(buf) struct buf set = BUF_INIT(ARC_SEAL_MAX);
	const char *why = "";
	bool wanted = o->want[0][0], ok;
	int rc = seal(o, &set, &why);

	ok = wanted ? rc == 0 : rc == 1 && set.len == 0;
	for (size_t i = 0; i < 3 && ok && wanted; i++) {
		AUTO(buf) struct buf got = BUF_INIT(TEXT_MAX);

		field_text(&set, names[i], &got);
		if (i > 0)
			without_blanks_in_b(o->want[i]);
		if (strcmp(buf_str(&got), o->want[i]) != 0) {
			printf("%s: got      %s\n%s: expected %s\n", names[i], buf_str(&got), names[i], o->want[i]);
			ok = false;
		}
	}
	passed += ok;
	failed += !ok;
	printf("%-4s %-24s %s\n", ok ? "ok" : "FAIL", o->name, rc == 0 ? "sealed" : why);
}

static void line_take(struct one *o, char *line)
{
	static const char *const kinds[] = { "AAR ", "AMS ", "AS " };
	int n;

	if (line[0] == '|') {
		buf_addf(&o->text, "%s\r\n", line + 1);
	} else if (strncmp(line, "scenario ", 9) == 0) {
		n = sscanf(line + 9, "%127s %127s", o->domain, o->selector);
		assert(n == 2);
		o->pem.len = 0;
	} else if (strncmp(line, "pem ", 4) == 0) {
		buf_addf(&o->pem, "%s\n", line + 4);
	} else if (strncmp(line, "case ", 5) == 0) {
		n = sscanf(line + 5, "%127s %lld %127s", o->name, &o->now_s, o->id);
		assert(n == 3);
		o->text.len = 0;
	} else if (strncmp(line, "headers ", 8) == 0) {
		free(o->headers);
		o->headers = strdup(line + 8);
	} else if (strcmp(line, "end") == 0) {
		compare(o);
	}
	for (size_t i = 0; i < 3; i++)
		if (strncmp(line, kinds[i], strlen(kinds[i])) == 0) {
			free(o->want[i]);
			o->want[i] = strdup(line + strlen(kinds[i]));
		}
}

static void cases_run(FILE *f)
{
	struct one o = { .pem = BUF_INIT(TEXT_MAX), .text = BUF_INIT(TEXT_MAX) };
	char *line = NULL;
	size_t room = 0;
	ssize_t n;

	while ((n = getline(&line, &room, f)) > 0) {
		line[n - 1] = '\0';
		line_take(&o, line);
	}
	for (size_t i = 0; i < 3; i++)
		free(o.want[i]);
	free(o.headers);
	buf_release(&o.pem);
	buf_release(&o.text);
	free(line);
}

int main(void)
{
	const char *dir = getenv("CONFORMANCE");
	FILE *f;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!dir || !*dir) {
		printf("skipped: arc/arc-draft-sign-tests.yml, %d cases (CONFORMANCE is not set)\n", SUITE_CASES);
		printf("arc-sign: 0 passed, 0 failed, %d skipped\n", SUITE_CASES);
		return 0;
	}
	f = popen("/usr/bin/python3 tests/conformance/arc_sign_yaml.py \"$CONFORMANCE/arc/arc-draft-sign-tests.yml\"", "r");
	assert(f);
	cases_run(f);
	if (pclose(f) != 0 || passed + failed != SUITE_CASES) {
		printf("FAIL the suite of %d cases could not be read from %s\n", SUITE_CASES, dir);
		failed++;
	}
	printf("arc-sign: %d passed, %d failed, 0 skipped\n", passed, failed);
	return failed ? 1 : 0;
}
