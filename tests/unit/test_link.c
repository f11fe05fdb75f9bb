/* link: the hosts that links lead to, in attributes and in text */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "filters/link.h"

static const struct { const char *in, *host; } urls[] = {
	{ "http://bad.example/x", "bad.example" },
	{ "HTTPS://BAD.example:8443?x", "bad.example" },
	{ "ftp://bad.example", "bad.example" },
	{ "//bad.example/x.png", "bad.example" },
	{ " \t\nhttp://bad.example", "bad.example" },
	{ "http:\\\\bad.example\\x", "bad.example" },
	{ "http:////bad.example", "bad.example" },
	{ "http://good.example@bad.example/", "bad.example" },
	{ "http://good.example:x@y@bad.example:80/", "bad.example" },
	{ "http://b%61d.example", "bad.example" },
	{ "http://bad.example.", "bad.example" },
	{ "http://bad.example#@good.example", "bad.example" },
	{ "http://bad.example?@good.example", "bad.example" },
	{ "http://b\303\274cher.example", "xn--bcher-kva.example" },
	{ "http://xn--bcher-kva.example", "xn--bcher-kva.example" },
	{ "http://192.0.2.7/", "192.0.2.7" },
	{ "http://3221225991/", "192.0.2.7" },
	{ "http://0xc0000207", "192.0.2.7" },
	{ "http://0300.0.2.7:80", "192.0.2.7" },
	{ "http://192.0.519", "192.0.2.7" },
	{ "http://[2001:db8::7]:80/", "2001:db8::7" },
	{ "http://[::ffff:192.0.2.7]", "192.0.2.7" },
	{ "", NULL },
	{ "/", NULL },
	{ "//", NULL },
	{ "http:", NULL },
	{ "http://", NULL },
	{ "http:///", NULL },
	{ "http://@", NULL },
	{ "http://:80", NULL },
	{ "http://localhost", NULL },
	{ "http://256.1.1.1", NULL },
	{ "http://1.2.3.4.5", NULL },
	{ "http://0x", NULL },
	{ "http://[192.0.2.7", NULL },
	{ "http://[x]", NULL },
	{ "http://[]", NULL },
	{ "http://a..example", NULL },
	{ "http://a b.example", NULL },
	{ "http://bad%00.example", NULL },
	{ "http://bad[.]example", NULL },
	{ "hxxp://bad.example", NULL },
	{ "mailto:x@bad.example", NULL },
	{ "javascript://bad.example", NULL },
	{ "cid:x@bad.example", NULL },
	{ "data:text/html,//x", NULL },
	{ "x/http://bad.example", NULL },
	{ "bad.example", NULL },
	{ "#top", NULL },
};

static const char *text_of(const struct link_host *h, char *out)
{
	return h->domain[0] ? h->domain : net_text(&h->addr, out);
}

static void attributes(void **state)
{
	for (size_t i = 0; i < sizeof(urls) / sizeof(*urls); i++) {
		size_t len = strlen(urls[i].in);
		char *p = malloc(len ? len : 1), ip[NET_TEXT_MAX];
		struct link_host h;
		bool leads;

		assert_non_null(p);
		memcpy(p, urls[i].in, len);
		leads = link_parse(p, len, &h);
		if (leads != (urls[i].host != NULL) || (leads && strcmp(text_of(&h, ip), urls[i].host) != 0))
			fail_msg("%s: %s", urls[i].in, leads ? text_of(&h, ip) : "nowhere");
		free(p);
	}
}

static int list(void *arg, const struct link_host *h)
{
	char ip[NET_TEXT_MAX];

	buf_addf(arg, "%s ", text_of(h, ip));
	return 0;
}

static void texts(void **state)
{
	static const struct { const char *in, *hosts; } rows[] = {
		{ "see http://a.example/x and https://b.example.", "a.example b.example " },
		{ "(http://a.example) <http://b.example> \"http://c.example\"", "a.example b.example c.example " },
		{ "www.a.example, WWW.b.example/x", "www.a.example www.b.example " },
		{ "http://www.a.example", "www.a.example " },
		{ "http://a.example@b.example/ x@www.c.example awww.d.example", "b.example " },
		{ "http://r.example/?u=http://a.example", "r.example a.example " },
		{ "http://a.example:80,http://b.example;x", "a.example b.example " },
		{ "http://192.0.2.7/x http://[2001:db8::1]/", "192.0.2.7 2001:db8::1 " },
		{ "http:// http:// www. hhttp://a.example", "a.example " },
		{ "hxxp://a.example a.example bob@a.example", "" },
		{ "http", "" },
		{ "w", "" },
		{ "", "" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO(buf) struct buf out = BUF_INIT(4096);

		assert_int_equal(link_scan(rows[i].in, strlen(rows[i].in), list, &out), 0);
		if (strcmp(buf_str(&out), rows[i].hosts) != 0)
			fail_msg("%s: %s", rows[i].in, buf_str(&out));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(attributes), cmocka_unit_test(texts) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
