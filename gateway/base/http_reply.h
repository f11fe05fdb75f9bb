/*
 * http_reply - the answer of a web server to one GET, RFC 9112, as its bytes come in
 *
 * No I/O. Bytes are fed as they come, in any pieces; the body is collected up to a bound. Understood are Content-Length, chunked (trailers passed over), and a
 * body that ends with the connection. Interim answers (1xx) are passed over. What could be read in two ways is refused: both lengths at once, two
 * different ones, folded lines, blanks before a colon, another transfer coding.
 */
#ifndef HTTP_REPLY_H
#define HTTP_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum { HTTP_LINE_MAX = 8192, HTTP_HEADER_MAX = 32 * 1024, HTTP_TYPE_MAX = 100 };

enum http_state { HTTP_STATUS, HTTP_FIELDS, HTTP_BODY, HTTP_BODY_TO_END, HTTP_CHUNK, HTTP_CHUNK_DATA, HTTP_CHUNK_END, HTTP_TRAILER, HTTP_DONE };

struct http_reply {
	int status;                     /* 100 to 599, once its line has come */
	char type[HTTP_TYPE_MAX];       /* the Content-Type without parameters, lower-case; "" when there was none */
	bool closes;                    /* the server says that the connection ends with this reply (Connection: close) */
	struct buf body;
	const char *why;                /* of an error, in words */
	/* private: */
	enum http_state state;
	struct buf line;
	size_t header_bytes;
	bool chunked, has_length;
	uint64_t left;                  /* of the body or chunk */
};

void http_reply_init(struct http_reply *r, size_t body_max);
void http_reply_release(struct http_reply *r);

/*
 * 1: the reply is complete (bytes behind it are not looked at); 0: more has to come; -EBADMSG: no HTTP; -EMSGSIZE: a body, line or header beyond its bound; -ENOMEM.
 */
int http_reply_feed(struct http_reply *r, const char *p, size_t len);

/* The server has closed the connection: 1 as above, or -EBADMSG: something is missing. */
int http_reply_end(struct http_reply *r);

#endif
