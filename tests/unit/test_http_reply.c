/* http_reply: answers whole and byte by byte */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/http_reply.h"

#define OK "HTTP/1.1 200 OK\r\n"

static const struct {
	const char *name, *in;
	int rc;                 /* 2: complete only by the end of the connection */
	int status;
	const char *type, *body;
} rows[] = {
	{ "length", OK "Content-Type: text/plain; charset=utf-8\r\nContent-Length: 5\r\n\r\nhello", 1, 200, "text/plain", "hello" },
	{ "length, more behind", OK "Content-Length: 5\r\n\r\nhello, world", 1, 200, "", "hello" },
	{ "no body", OK "Content-Length: 0\r\n\r\n", 1, 200, "", "" },
	{ "to the end", OK "content-type:TEXT/Plain\r\n\r\nhello\r\n", 2, 200, "text/plain", "hello\r\n" },
	{ "HTTP/1.0", "HTTP/1.0 200\r\n\r\nhello", 2, 200, "", "hello" },
	{ "bare LF", "HTTP/1.1 200 OK\nContent-Length: 2\n\nhi", 1, 200, "", "hi" },
	{ "chunked", OK "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n", 1, 200, "", "hello" },
	{ "chunked, trailers", OK "Transfer-Encoding: Chunked\r\n\r\nA\r\n0123456789\r\n0\r\nX: y\r\nZ: 1\r\n\r\n", 1, 200, "", "0123456789" },
	{ "chunked, no chunk", OK "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 1, 200, "", "" },
	{ "interim", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" OK "Content-Length: 2\r\n\r\nhi", 1, 200, "", "hi" },
	{ "not found", "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", 1, 404, "", "no" },
	{ "no content", "HTTP/1.1 204 No Content\r\n\r\n", 1, 204, "", "" },
	{ "same length twice", OK "Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi", 1, 200, "", "hi" },
	{ "first type", OK "Content-Type: text/plain\r\nContent-Type: text/html\r\nContent-Length: 1\r\n\r\nx", 1, 200, "text/plain", "x" },
	{ "nothing", "", -EBADMSG, 0, "", "" },
	{ "not HTTP", "220 mx.example.com ESMTP\r\n", -EBADMSG, 0, "", "" },
	{ "HTTP/2", "HTTP/2.0 200 OK\r\n\r\n", -EBADMSG, 0, "", "" },
	{ "lower case", "http/1.1 200 OK\r\n\r\n", -EBADMSG, 0, "", "" },
	{ "short status", "HTTP/1.1 20\r\n\r\n", -EBADMSG, 0, "", "" },
	{ "long status", "HTTP/1.1 2000 OK\r\n\r\n", -EBADMSG, 0, "", "" },
	{ "status 600", "HTTP/1.1 600 OK\r\n\r\n", -EBADMSG, 600, "", "" },
	{ "status 099", "HTTP/1.1 099 OK\r\n\r\n", -EBADMSG, 99, "", "" },
	{ "only interim", "HTTP/1.1 100 Continue\r\n\r\n", -EBADMSG, 100, "", "" },
	{ "header cut", OK "Content-Length: 2\r\n", -EBADMSG, 200, "", "" },
	{ "body cut", OK "Content-Length: 5\r\n\r\nhell", -EBADMSG, 200, "", "hell" },
	{ "chunk cut", OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhell", -EBADMSG, 200, "", "hell" },
	{ "last chunk missing", OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", -EBADMSG, 200, "", "hello" },
	{ "trailer cut", OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", -EBADMSG, 200, "", "hello" },
	{ "two lengths", OK "Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi!", -EBADMSG, 200, "", "" },
	{ "length and chunked", OK "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", -EBADMSG, 200, "", "" },
	{ "chunked twice", OK "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", -EBADMSG, 200, "", "" },
	{ "gzip", OK "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", -EBADMSG, 200, "", "" },
	{ "negative length", OK "Content-Length: -1\r\n\r\n", -EBADMSG, 200, "", "" },
	{ "length with a sign", OK "Content-Length: +1\r\n\r\nx", -EBADMSG, 200, "", "" },
	{ "length list", OK "Content-Length: 1, 1\r\n\r\nx", -EBADMSG, 200, "", "" },
	{ "empty length", OK "Content-Length:\r\n\r\n", -EBADMSG, 200, "", "" },
	{ "length beyond numbers", OK "Content-Length: 99999999999999999999\r\n\r\n", -EBADMSG, 200, "", "" },
	{ "length beyond the bound", OK "Content-Length: 65\r\n\r\n", -EMSGSIZE, 200, "", "" },
	{ "chunk beyond the bound", OK "Transfer-Encoding: chunked\r\n\r\n41\r\n", -EMSGSIZE, 200, "", "" },
	{ "chunks beyond the bound", OK "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n40\r\n", -EMSGSIZE, 200, "", "x" },
	{ "chunk beyond numbers", OK "Transfer-Encoding: chunked\r\n\r\n1000000000\r\n", -EBADMSG, 200, "", "" },
	{ "chunk size that is none", OK "Transfer-Encoding: chunked\r\n\r\nx\r\n", -EBADMSG, 200, "", "" },
	{ "chunk size 0x5", OK "Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n", -EBADMSG, 200, "", "" },
	{ "chunk longer than said", OK "Transfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n", -EBADMSG, 200, "", "he" },
	{ "folded", OK "X: a\r\n b\r\n\r\n", -EBADMSG, 200, "", "" },
	{ "blank before colon", OK "Content-Length : 2\r\n\r\nhi", -EBADMSG, 200, "", "" },
	{ "no colon", OK "hello\r\n\r\n", -EBADMSG, 200, "", "" },
	{ "no name", OK ": x\r\n\r\n", -EBADMSG, 200, "", "" },
	{ "bare CR", OK "X: a\rContent-Length: 2\r\n\r\nhi", -EBADMSG, 200, "", "" },
};

static int run(struct http_reply *r, const char *in, size_t len, size_t step)
{
	int rc = 0;

	for (size_t at = 0; at < len && rc == 0; at += step)
		rc = http_reply_feed(r, in + at, len - at < step ? len - at : step);
	if (rc == 0)
		rc = http_reply_end(r) == 1 ? 2 : -EBADMSG;
	return rc;
}

static void test_replies(void **state)
{
	static const size_t steps[] = { 100000, 1, 2, 7 };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (size_t k = 0; k < 4; k++) {
			struct http_reply r;
			int rc;

			http_reply_init(&r, 64);
			rc = run(&r, rows[i].in, strlen(rows[i].in), steps[k]);
			if (rc != rows[i].rc || r.status != rows[i].status || strcmp(r.type, rows[i].type) != 0 || (rc < 0) != (*r.why != '\0'))
				fail_msg("%s, by %zu: %d status %d type %s: %s", rows[i].name, steps[k], rc, r.status, r.type, r.why);
			if (rc > 0 && strcmp(buf_str(&r.body), rows[i].body) != 0)
				fail_msg("%s: %s", rows[i].name, buf_str(&r.body));
			http_reply_release(&r);
		}
}

static void test_endless(void **state)
{
	static const struct {
		const char *name, *begin, *then;
	} endless[] = {
		{ "header", OK, "X: y\r\n" },
		{ "line", OK, "xxxxxxxxxxxxxxxx" },
		{ "status", "", "HTTP/1.1 100 Continue\r\n\r\n" },
		{ "trailer", OK "Transfer-Encoding: chunked\r\n\r\n0\r\n", "X: y\r\n" },
		{ "body", OK "\r\n", "0123456789abcdef" },
		{ "chunks", OK "Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n" },
		{ "chunk extension", OK "Transfer-Encoding: chunked\r\n\r\n1;", "xxxxxxxxxxxx" },
	};

	for (size_t i = 0; i < sizeof(endless) / sizeof(endless[0]); i++) {
		struct http_reply r;
		int rc = 0, n;

		http_reply_init(&r, 64);
		rc = http_reply_feed(&r, endless[i].begin, strlen(endless[i].begin));
		for (n = 0; n < 20000 && rc == 0; n++)
			rc = http_reply_feed(&r, endless[i].then, strlen(endless[i].then));
		if (rc != -EMSGSIZE)
			fail_msg("%s: %d after %d", endless[i].name, rc, n);
		http_reply_release(&r);
	}
}

/* Whether the connection is to be used again. */
static void test_closes(void **state)
{
	static const struct { const char *field; bool closes; } cases[] = {
		{ "", false }, { "Connection: close\r\n", true }, { "connection:\tClose \r\n", true }, { "Connection: keep-alive\r\n", false },
		{ "Connection: close\r\nConnection: keep-alive\r\n", true }, { "Proxy-Connection: close\r\n", false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		AUTO(buf) struct buf text = BUF_INIT(500);
		struct http_reply r;

		buf_addf(&text, "HTTP/1.1 200 OK\r\n%sContent-Length: 0\r\n\r\n", cases[i].field);
		http_reply_init(&r, 100);
		assert_int_equal(http_reply_feed(&r, text.data, text.len), 1);
		assert_int_equal(r.closes, cases[i].closes);
		http_reply_release(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_replies), cmocka_unit_test(test_endless), cmocka_unit_test(test_closes) };

	return cmocka_run_group_tests_name("http_reply", tests, NULL, NULL);
}
