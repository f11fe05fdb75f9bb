/*
 * fuzz_command_words - words of an administrator's commands, which may have been copied from a message: moments, numbers, ids, addresses, networks,
 * conditions. What is understood is understood the same when it is written out
 */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "command/number.h"
#include "command/when.h"
#include "policy/login_view.h"
#include "policy/store_filter.h"
#include "policy/store_id.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char facts[] = "{\"spf\":\"fail\",\"dnsbl.score\":4,\"dkim.domains\":[\"a.example\",\"b.example\"],\"client.tls\":true,"
			    "\"dmarc\":{\"temperror\":\"timeout\"},\"x\":null}";

static void moment(const char *text)
{
	const int64_t now = 1795310000;
	char out[WHEN_TEXT_MAX];
	int64_t at, ago, twin;

	if (when_duration(text, &ago) == 0) {
		assert(ago >= 0 && when_parse(text, now, &at) == 0 && at == now - ago);
		return;
	}
	if (when_parse(text, now, &at) < 0)
		return;
	assert(strlen(when_text(at, out)) < WHEN_TEXT_MAX);
	assert(when_parse(out, 0, &twin) == 0 && twin == at);
}

static void number(const char *text)
{
	char out[32];
	int64_t n;

	for (int64_t max = INT64_MAX; max > 0; max /= 1000) {
		if (number_parse(text, max, &n) < 0)
			continue;
		assert(n >= 0 && n <= max);
		while (text[0] == '0' && text[1])
			text++;
		snprintf(out, sizeof(out), "%lld", (long long)n);
		assert(strcmp(out, text) == 0);
	}
}

static void id(const char *text)
{
	char day[STORE_DAY_MAX], out[STORE_ID_MAX];
	int64_t ms = store_id_ms(text);

	assert((ms >= 0) == (store_id_day(text, day) == 0));
	if (ms < 0)
		return;
	assert(strlen(text) == STORE_ID_LEN && strspn(text, "0123456789abcdefghijklmnopqrstuvwxyz") == STORE_ID_LEN);
	store_id_make(ms, 0, out);
	assert(strncmp(out, text, STORE_ID_TIME) == 0);
}

static void conditions(const char *text)
{
	static int (*const from[])(struct store_filter *, const char *, struct buf *) = { store_filter_to, store_filter_from, store_filter_client,
											  store_filter_fact };

	for (size_t i = 0; i < sizeof(from) / sizeof(from[0]); i++) {
		AUTO(buf) struct buf err = BUF_INIT(8192);
		AUTO(store_filter) struct store_filter f;
		int rc;

		store_filter_init(&f);
		assert(!store_filter_any(&f));
		rc = from[i](&f, text, &err);
		assert((rc < 0) == (err.len > 0) && (rc < 0 || store_filter_any(&f)));
		if (rc == 0 && f.fact_count > 0)
			store_fact_holds(&f.fact[0], facts, sizeof(facts) - 1);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = strndup((const char *)data, size);
	struct login_view v = { 0 };

	assert(text);
	setenv("TZ", "UTC", 1);
	tzset();
	moment(text);
	number(text);
	id(text);
	conditions(text);
	if (login_view_client(&v, text) == 0)
		assert(v.client.family && v.nearest < LOGIN_NETWORKS);
	free(text);
	return 0;
}
