#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/task.h"
#include "filters/arc.h"
#include "policy/conf.h"
#include "support/arc_hop.h"
#include "support/dns_table.h"

#define MESSAGE "From: Alice <alice@author.example>\r\nTo: list@lists.example\r\nSubject: hello\r\n\r\nOne line of text\r\nand another.\r\n"
#define SAYS(dmarc) "mx.x; spf=fail smtp.mailfrom=a@b; dkim=pass header.d=c; dmarc=" dmarc " header.from=author.example"

enum { LIST, FORWARD, EVIL, KEYS };

static const char *const domains[] = { "lists.example", "forward.example", "evil.example" };
static struct arc_key *key[KEYS];
static struct dns_table *dns;
static struct site site;
static int self;

static void keys_publish(void)
{
	dns_table_clear(dns);
	for (int i = 0; i < KEYS; i++)
		arc_key_publish(key[i], dns);
}

static int setup(void **state)
{
	fact_register_all();
	while (filters[self] != &filter_arc)
		self++;
	for (int i = 0; i < KEYS; i++)
		key[i] = arc_key_new(domains[i], "s", 0);
	dns = dns_table_new();
	keys_publish();
	return loop_init();
}

static int teardown(void **state)
{
	for (int i = 0; i < KEYS; i++)
		arc_key_free(key[i]);
	dns_table_free(dns);
	loop_release();
	return 0;
}

struct hop {
	int key;
	const char *results;
	const char *h, *cv, *more;
};

static char *carried(const char *message, const struct hop *hops, size_t count, size_t *len)
{
	char *p = strdup(message), *sealed;

	*len = strlen(p);
	for (size_t i = 0; i < count && hops[i].results; i++) {
		struct arc_hop hop = { .key = key[hops[i].key], .instance = (unsigned)i + 1, .cv = hops[i].cv ? hops[i].cv : i ? "pass" : "none",
				       .results = hops[i].results, .h = hops[i].h, .more = hops[i].more };

		sealed = arc_hop_seal(&hop, p, *len, len);
		free(p);
		p = sealed;
	}
	return p;
}

struct fixture {
	struct client client;
	struct txn txn;
	char *bytes;
	size_t len, body;
};

static int open_memfd(void *arg)
{
	return memfd_create("message", MFD_CLOEXEC);
}

static void begin(struct fixture *x, const char *message, const struct hop *hops, size_t count)
{
	static const struct message_limits lim = { .memory_bytes = 256 << 10, .header_bytes = 1 << 20, .header_fields = 3000 };

	memset(x, 0, sizeof(*x));
	memset(&site, 0, sizeof(site));
	dns_table_forget(dns);
	txn_init(&x->txn, &site, dns_table_dns(dns), &x->client);
	x->bytes = carried(message, hops, count, &x->len);
	x->txn.message = message_new(&lim, open_memfd, NULL);
	assert_non_null(x->txn.message);
	assert_int_equal(message_add(x->txn.message, x->bytes, x->len), 0);
	message_end(x->txn.message);
	x->body = message_body_offset(x->txn.message);
	x->txn.stage = STAGE_HEADER;
}

static void end(struct fixture *x)
{
	message_free(x->txn.message);
	x->txn.message = NULL;
	txn_release(&x->txn);
	client_release(&x->client);
	free(x->bytes);
}

/* The session's part: start at the end of the header, the body in chunks. */
static void session(struct fixture *x, size_t chunk)
{
	filters_start(&x->txn, STAGE_HEADER, 1u << self);
	for (size_t at = x->body; at < x->len; at += chunk)
		assert_int_equal(filters_body(&x->txn, 1u << self, x->bytes + at, x->len - at < chunk ? x->len - at : chunk), 0);
	x->txn.stage = STAGE_DATA;
}

static const struct fact *fact(struct fixture *x, const char *name)
{
	return filters_fact(&x->txn, fact_find(name, strlen(name)));
}

/* A fact in text: "?" unknown, "TEMP", a number, values with commas between. */
static void told(struct fixture *x, const char *name, struct buf *out)
{
	const struct fact *f = fact(x, name);
	const struct fact_def *d = fact_def(fact_find(name, strlen(name)));

	if (!f)
		buf_adds(out, "?");
	else if (f->state == FACT_TEMPERROR)
		buf_adds(out, "TEMP");
	else if (d->type == FACT_NUMBER)
		buf_addf(out, "%lld", (long long)f->number);
	for (size_t i = 0; f && f->state == FACT_KNOWN && d->type != FACT_NUMBER && i < f->count; i++)
		buf_addf(out, "%s%s", i ? "," : "", f->text[i]);
}

static void want(struct fixture *x, const char *of, const char *name, const char *wanted)
{
	AUTO(buf) struct buf have = BUF_INIT(4000);

	told(x, name, &have);
	if (strcmp(buf_str(&have), wanted) != 0)
		fail_msg("%s: %s is %s, wanted %s", of, name, buf_str(&have), wanted);
}

static const struct {
	const char *name, *message;
	struct hop hops[4];
	const char *away;               /* a key that cannot be looked up */
	const char *arc, *sealer, *sealers, *dmarc_sealers, *instance, *oldest, *spf, *dkim, *dmarc;
} rows[] = {
	{ "none", MESSAGE, { { 0 } }, NULL, "none", "?", "", "", "0", "?", "none", "none", "none" },
	{ "one", MESSAGE, { { .key = LIST, .results = SAYS("pass") } }, NULL, "pass", "lists.example", "lists.example", "lists.example", "1", "0", "fail", "pass", "pass" },
	{ "it failed there", MESSAGE, { { .key = LIST, .results = SAYS("fail") } }, NULL, "pass", "lists.example", "lists.example", "", "1", "0", "fail", "pass", "fail" },
	{ "list, forwarder", MESSAGE, { { .key = LIST, .results = SAYS("pass") }, { .key = FORWARD, .results = SAYS("fail") } }, NULL,
	  "pass", "forward.example", "forward.example,lists.example", "forward.example,lists.example", "2", "0", "fail", "pass", "fail" },
	{ "list, forwarder, both saw it", MESSAGE, { { .key = LIST, .results = SAYS("pass") }, { .key = FORWARD, .results = SAYS("pass") } }, NULL,
	  "pass", "forward.example", "forward.example,lists.example", "forward.example", "2", "0", "fail", "pass", "pass" },
	/* Whoever forges the first set has to stand in the list himself. */
	{ "forged first set", MESSAGE, { { .key = EVIL, .results = SAYS("pass") }, { .key = LIST, .results = SAYS("fail") } }, NULL,
	  "pass", "lists.example", "lists.example,evil.example", "lists.example,evil.example", "2", "0", "fail", "pass", "fail" },
	{ "forged between", MESSAGE, { { .key = LIST, .results = SAYS("pass") }, { .key = EVIL, .results = SAYS("fail") }, { .key = FORWARD, .results = SAYS("fail") } }, NULL,
	  "pass", "forward.example", "forward.example,evil.example,lists.example", "forward.example,evil.example,lists.example", "3", "0", "fail", "pass", "fail" },
	{ "forged on top", MESSAGE, { { .key = LIST, .results = SAYS("fail") }, { .key = EVIL, .results = SAYS("pass") } }, NULL,
	  "pass", "evil.example", "evil.example,lists.example", "evil.example", "2", "0", "fail", "pass", "pass" },
	/* Of another author. */
	{ "another author", MESSAGE, { { .key = LIST, .results = "mx.x; dmarc=pass header.from=evil.example" } }, NULL, "pass", "lists.example", "lists.example", "", "1", "0", "none", "none", "none" },
	{ "a parent of the author", MESSAGE, { { .key = LIST, .results = "mx.x; dmarc=pass header.from=example" } }, NULL, "pass", "lists.example", "lists.example", "", "1", "0", "none", "none", "none" },
	{ "no author", MESSAGE, { { .key = LIST, .results = "mx.x; dmarc=pass" } }, NULL, "pass", "lists.example", "lists.example", "", "1", "0", "none", "none", "none" },
	{ "author in other letters", MESSAGE, { { .key = LIST, .results = "mx.x; dmarc=pass header.from=AUTHOR.Example." } }, NULL,
	  "pass", "lists.example", "lists.example", "lists.example", "1", "0", "none", "none", "pass" },
	{ "older set of another author", MESSAGE, { { .key = LIST, .results = "mx.x; dmarc=pass header.from=evil.example" }, { .key = FORWARD, .results = SAYS("fail") } }, NULL,
	  "pass", "forward.example", "forward.example,lists.example", "", "2", "0", "fail", "pass", "fail" },
	{ "two From fields", "From: x@author.example\r\n" MESSAGE, { { .key = LIST, .results = SAYS("pass") } }, NULL, "pass", "lists.example", "lists.example", "", "1", "0", "fail", "pass", "none" },
	{ "two From fields, both signed", "From: x@author.example\r\n" MESSAGE, { { .key = LIST, .results = SAYS("pass"), .h = "from:from" } }, NULL,
	  "pass", "lists.example", "lists.example", "", "1", "0", "fail", "pass", "none" },
	{ "From is not signed", MESSAGE, { { .key = LIST, .results = SAYS("pass"), .h = "to:subject" } }, NULL, "pass", "lists.example", "lists.example", "", "1", "0", "fail", "pass", "none" },
	/* An older message signature that leaves something open: who had the message next could have put in what he liked, and an honest hop sealed it. */
	{ "l= in an older set", MESSAGE, { { .key = LIST, .results = SAYS("pass"), .more = "l=5; " }, { .key = FORWARD, .results = SAYS("fail") } }, NULL,
	  "pass", "forward.example", "forward.example,lists.example", "", "2", "2", "fail", "pass", "fail" },
	{ "l= in a set between", MESSAGE, { { .key = LIST, .results = SAYS("pass") }, { .key = FORWARD, .results = SAYS("fail"), .more = "l=5; " }, { .key = FORWARD, .results = SAYS("fail") } }, NULL,
	  "pass", "forward.example", "forward.example,forward.example,lists.example", "", "3", "3", "fail", "pass", "fail" },
	{ "l= below the set that counts", MESSAGE, { { .key = LIST, .results = SAYS("fail"), .more = "l=5; " }, { .key = FORWARD, .results = SAYS("pass") } }, NULL,
	  "pass", "forward.example", "forward.example,lists.example", "forward.example", "2", "2", "fail", "pass", "pass" },
	{ "From is not signed in an older set", MESSAGE, { { .key = LIST, .results = SAYS("pass"), .h = "to:subject" }, { .key = FORWARD, .results = SAYS("fail") } }, NULL,
	  "pass", "forward.example", "forward.example,lists.example", "", "2", "0", "fail", "pass", "fail" },
	{ "in quotes", MESSAGE, { { .key = LIST, .results = "mx.x; spf=pass smtp.mailfrom=\"; dmarc=pass header.from=author.example; \"@x; dmarc=fail header.from=author.example" } }, NULL,
	  "pass", "lists.example", "lists.example", "", "1", "0", "pass", "none", "fail" },
	{ "smuggled without quotes", MESSAGE, { { .key = LIST, .results = "mx.x; spf=pass smtp.mailfrom=;dmarc=pass header.from=author.example;x@x; dmarc=fail header.from=author.example" } }, NULL,
	  "pass", "lists.example", "lists.example", "", "1", "0", "none", "none", "none" },
	{ "says nothing readable", MESSAGE, { { .key = LIST, .results = "rubbish rubbish" } }, NULL, "pass", "lists.example", "lists.example", "", "1", "0", "none", "none", "none" },
	{ "cv=fail", MESSAGE, { { .key = LIST, .results = SAYS("pass") }, { .key = FORWARD, .results = SAYS("pass"), .cv = "fail" } }, NULL, "fail", "?", "", "", "2", "?", "none", "none", "none" },
	{ "a fault", "ARC-Seal: i=3\r\n" MESSAGE, { { .key = LIST, .results = SAYS("pass") } }, NULL, "fail", "?", "", "", "3", "?", "none", "none", "none" },
	{ "no number", "ARC-Seal: x\r\n" MESSAGE, { { 0 } }, NULL, "fail", "?", "", "", "0", "?", "none", "none", "none" },
	{ "a key does not exist", MESSAGE, { { .key = LIST, .results = SAYS("pass") } }, "s._domainkey.lists.example NXDOMAIN", "fail", "?", "", "", "1", "?", "none", "none", "none" },
	{ "a key is away", MESSAGE, { { .key = LIST, .results = SAYS("pass") } }, "s._domainkey.lists.example", "TEMP", "TEMP", "TEMP", "TEMP", "1", "TEMP", "TEMP", "TEMP", "TEMP" },
	{ "a key is away, nothing is claimed", MESSAGE, { { .key = LIST, .results = SAYS("fail") } }, "s._domainkey.lists.example", "TEMP", "TEMP", "TEMP", "", "1", "TEMP", "TEMP", "TEMP", "TEMP" },
	{ "a key is away, another author", MESSAGE, { { .key = LIST, .results = "mx.x; dmarc=pass header.from=evil.example" } }, "s._domainkey.lists.example",
	  "TEMP", "TEMP", "TEMP", "", "1", "TEMP", "TEMP", "TEMP", "none" },
};

static void facts(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct fixture x;

		if (rows[i].away) {
			char name[100];

			snprintf(name, sizeof(name), "%.*s", (int)strcspn(rows[i].away, " "), rows[i].away);
			dns_table_remove(dns, name);
			if (!strchr(rows[i].away, ' '))
				dns_table_add(dns, name, "SERVFAIL", "");
		}
		begin(&x, rows[i].message, rows[i].hops, 4);
		session(&x, i % 3 ? 7 : 10000);
		want(&x, rows[i].name, "arc", rows[i].arc);
		want(&x, rows[i].name, "arc.sealer", rows[i].sealer);
		want(&x, rows[i].name, "arc.sealers", rows[i].sealers);
		want(&x, rows[i].name, "arc.dmarc_sealers", rows[i].dmarc_sealers);
		want(&x, rows[i].name, "arc.instance", rows[i].instance);
		want(&x, rows[i].name, "arc.oldest_pass", rows[i].oldest);
		want(&x, rows[i].name, "arc.spf", rows[i].spf);
		want(&x, rows[i].name, "arc.dkim", rows[i].dkim);
		want(&x, rows[i].name, "arc.dmarc", rows[i].dmarc);
		end(&x);
		keys_publish();
	}
}

static const struct hop one[] = { { .key = LIST, .results = SAYS("pass") } };

/* Without a chain: nothing is kept, asked or waited for. */
static void costs_nothing(void **state)
{
	struct fixture x;
	int id = fact_find("arc", 3);

	begin(&x, MESSAGE, NULL, 0);
	filters_start(&x.txn, STAGE_HEADER, 1u << self);
	x.txn.stage = STAGE_DATA;
	assert_true(filters_at_hand(&x.txn, id));
	want(&x, "none", "arc", "none");
	assert_int_equal(dns_table_asked(dns), 0);
	end(&x);

	begin(&x, MESSAGE, one, 1);
	filters_start(&x.txn, STAGE_HEADER, 1u << self);
	assert_int_equal(dns_table_asked(dns), 1);
	x.txn.stage = STAGE_DATA;
	assert_false(filters_at_hand(&x.txn, id));
	end(&x);                        /* and the session may end here: nothing leaks */
}

/* A rule asks at the end of data, and nobody has started the filter; or it was started in the middle of the body. */
static void asked_late(void **state)
{
	struct fixture x;

	begin(&x, MESSAGE, one, 1);
	x.txn.stage = STAGE_DATA;
	want(&x, "late", "arc", "pass");
	end(&x);
	begin(&x, MESSAGE, one, 1);
	filters_start(&x.txn, STAGE_HEADER, 1u << self);
	assert_int_equal(filters_body(&x.txn, 1u << self, x.bytes + x.len - 5, 5), 0);
	x.txn.stage = STAGE_DATA;
	want(&x, "half", "arc", "pass");
	end(&x);
}

static void ours(void **state)
{
	struct fixture x;

	begin(&x, MESSAGE, one, 1);
	x.client.relay = true;
	session(&x, 1000);
	want(&x, "ours", "arc", "none");
	want(&x, "ours", "arc.sealers", "");
	want(&x, "ours", "arc.dmarc_sealers", "");
	want(&x, "ours", "arc.instance", "0");
	assert_non_null(strstr(fact(&x, "arc")->why, "one of ours"));
	assert_int_equal(dns_table_asked(dns), 0);
	end(&x);
}

static void reasons(void **state)
{
	struct fixture x;

	begin(&x, MESSAGE, one, 1);
	session(&x, 1000);
	assert_string_equal(fact(&x, "arc")->why, "i=1 d=lists.example s=s");
	end(&x);
	begin(&x, "ARC-Seal: i=3\r\n" MESSAGE, one, 1);
	session(&x, 1000);
	assert_non_null(strstr(fact(&x, "arc")->why, "ARC-Seal i=3: no cv="));
	end(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(facts),
		cmocka_unit_test(costs_nothing),
		cmocka_unit_test(asked_late),
		cmocka_unit_test(ours),
		cmocka_unit_test(reasons),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
