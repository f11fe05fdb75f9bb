#include "base/http_reply.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

void http_reply_init(struct http_reply *r, size_t body_max)
{
	*r = (struct http_reply){ .why = "", .line = BUF_INIT(HTTP_LINE_MAX) };
	buf_init(&r->body, body_max);
}

void http_reply_release(struct http_reply *r)
{
	buf_release(&r->body);
	buf_release(&r->line);
}

static int bad(struct http_reply *r, const char *why)
{
	r->why = why;
	return -EBADMSG;
}

static int large(struct http_reply *r, const char *why)
{
	r->why = why;
	return -EMSGSIZE;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* "HTTP/1.1 200 OK"; RFC 9112 section 4. */
static int read_status(struct http_reply *r, const char *p, size_t len)
{
	if (len < 12 || memcmp(p, "HTTP/1.", 7) != 0 || !is_digit(p[7]) || p[8] != ' ' || !is_digit(p[9]) || !is_digit(p[10]) || !is_digit(p[11]) ||
	    (len > 12 && p[12] != ' '))
		return bad(r, "no HTTP reply");
	r->status = (p[9] - '0') * 100 + (p[10] - '0') * 10 + (p[11] - '0');
	if (r->status < 100 || r->status > 599)
		return bad(r, "a status that is none");
	r->state = HTTP_FIELDS;
	return 0;
}

static bool is(const char *p, size_t len, const char *word)
{
	return len == strlen(word) && strncasecmp(p, word, len) == 0;
}

static int read_length(struct http_reply *r, const char *p, size_t len)
{
	uint64_t n = 0;

	if (len < 1 || len > 18)
		return bad(r, "a malformed Content-Length");
	for (size_t i = 0; i < len; i++) {
		if (!is_digit(p[i]))
			return bad(r, "a malformed Content-Length");
		n = n * 10 + (uint64_t)(p[i] - '0');
	}
	if (r->has_length && r->left != n)
		return bad(r, "two lengths");
	r->has_length = true;
	r->left = n;
	return 0;
}

static void read_type(struct http_reply *r, const char *p, size_t len)
{
	size_t n = 0;

	while (n < len && p[n] != ';' && !is_blank(p[n]))
		n++;
	if (r->type[0] || n >= sizeof(r->type))
		n = 0;
	for (size_t i = 0; i < n; i++)
		r->type[i] = p[i] >= 'A' && p[i] <= 'Z' ? (char)(p[i] + 32) : p[i];
	if (n > 0)
		r->type[n] = '\0';
}

static int read_field(struct http_reply *r, const char *p, size_t len)
{
	const char *colon = memchr(p, ':', len), *end = p + len;
	size_t name;

	if (!colon || colon == p || is_blank(p[0]) || is_blank(colon[-1]))
		return bad(r, "a malformed header field");
	name = (size_t)(colon - p);
	for (colon++; colon < end && is_blank(*colon); colon++)
		;
	while (end > colon && is_blank(end[-1]))
		end--;
	len = (size_t)(end - colon);
	if (is(p, name, "Content-Length"))
		return read_length(r, colon, len);
	if (is(p, name, "Connection"))
		r->closes |= is(colon, len, "close");
	if (is(p, name, "Content-Type"))
		read_type(r, colon, len);
	if (is(p, name, "Transfer-Encoding")) {
		if (r->chunked || !is(colon, len, "chunked"))
			return bad(r, "an unknown transfer coding");
		r->chunked = true;
	}
	return 0;
}

/* RFC 9112 section 6.3. */
static int begin_body(struct http_reply *r)
{
	if (r->chunked && r->has_length)
		return bad(r, "two lengths");
	if (r->status < 200) {
		r->state = HTTP_STATUS;
		r->chunked = r->has_length = false;
		r->left = 0;
		return 0;
	}
	if (r->status == 204 || r->status == 304 || (r->has_length && r->left == 0)) {
		r->state = HTTP_DONE;
		return 1;
	}
	if (r->has_length && r->left > r->body.max)
		return large(r, "a body that is too long");
	r->state = r->chunked ? HTTP_CHUNK : r->has_length ? HTTP_BODY : HTTP_BODY_TO_END;
	return 0;
}

/* "1a;name=value"; section 7.1 */
static int read_chunk(struct http_reply *r, const char *p, size_t len)
{
	uint64_t n = 0;
	size_t i;

	for (i = 0; i < len && i < 9; i++) {
		char c = p[i];
		int v = is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;

		if (v < 0)
			break;
		n = n * 16 + (uint64_t)v;
	}
	if (i == 0 || i == 9 || (i < len && p[i] != ';' && !is_blank(p[i])))
		return bad(r, "a malformed chunk");
	if (n > r->body.max - r->body.len)
		return large(r, "a body that is too long");
	r->left = n;
	r->state = n > 0 ? HTTP_CHUNK_DATA : HTTP_TRAILER;
	return 0;
}

static int read_line(struct http_reply *r, const char *p, size_t len)
{
	if (memchr(p, '\r', len) || memchr(p, '\0', len))
		return bad(r, "a control character in a line");
	switch (r->state) {
	case HTTP_STATUS:
		return read_status(r, p, len);
	case HTTP_FIELDS:
		return len > 0 ? read_field(r, p, len) : begin_body(r);
	case HTTP_CHUNK:
		return read_chunk(r, p, len);
	case HTTP_CHUNK_END:
		r->state = HTTP_CHUNK;
		return len == 0 ? 0 : bad(r, "a malformed chunk");
	case HTTP_TRAILER:
		if (len == 0)
			r->state = HTTP_DONE;
		return len == 0;
	default:
		return bad(r, "no HTTP reply");
	}
}

/* A piece of a line; when its LF is there, the line is read. */
static int feed_line(struct http_reply *r, const char *p, size_t len, size_t *used)
{
	const char *lf = memchr(p, '\n', len);
	size_t n = lf ? (size_t)(lf - p) : len;
	int rc;

	*used = lf ? n + 1 : n;
	r->header_bytes += *used;
	if (r->header_bytes > HTTP_HEADER_MAX)
		return large(r, "a header that is too long");
	if (buf_add(&r->line, p, n) < 0)
		return large(r, "a line that is too long");
	if (!lf)
		return 0;
	n = r->line.len;
	if (n > 0 && r->line.data[n - 1] == '\r')
		n--;
	rc = read_line(r, buf_str(&r->line), n);
	buf_clear(&r->line);
	return rc;
}

static int feed_body(struct http_reply *r, const char *p, size_t len, size_t *used)
{
	bool bounded = r->state != HTTP_BODY_TO_END;

	*used = bounded && r->left < len ? (size_t)r->left : len;
	if (*used > r->body.max - r->body.len)
		return large(r, "a body that is too long");
	if (buf_add(&r->body, p, *used) < 0)
		return -ENOMEM;
	if (!bounded)
		return 0;
	r->left -= *used;
	if (r->left > 0)
		return 0;
	if (r->state == HTTP_CHUNK_DATA) {
		r->state = HTTP_CHUNK_END;
		return 0;
	}
	r->state = HTTP_DONE;
	return 1;
}

int http_reply_feed(struct http_reply *r, const char *p, size_t len)
{
	int rc = r->state == HTTP_DONE;

	while (len > 0 && rc == 0) {
		size_t used;

		if (r->state == HTTP_BODY || r->state == HTTP_BODY_TO_END || r->state == HTTP_CHUNK_DATA)
			rc = feed_body(r, p, len, &used);
		else
			rc = feed_line(r, p, len, &used);
		if (rc < 0)
			return rc;
		p += used;
		len -= used;
	}
	return rc;
}

int http_reply_end(struct http_reply *r)
{
	if (r->state == HTTP_BODY_TO_END)
		r->state = HTTP_DONE;
	return r->state == HTTP_DONE ? 1 : bad(r, "the connection was closed too early");
}
