#include "pop3/pop3_notice.h"

#include <errno.h>
#include <string.h>

enum {
	PIECE = 1024,
	HELD = 6,                       /* the last octets of a notice depend on where it ends (notice_read) */
};

void pop3_notice_begin(struct pop3_notice *n)
{
	buf_init(&n->header, POP3_NOTICE_HEADER_MAX);
}

void pop3_notice_release(struct pop3_notice *n)
{
	buf_release(&n->header);
}

/* --- the header --- */

/* Whether the octet still belongs to the header; *ends: it is its last. */
static bool in_header(struct pop3_notice *n, char c, bool *ends)
{
	bool after_cr = n->cr;

	*ends = false;
	if (n->empty_cr) {
		*ends = true;
		return c == '\n';
	}
	n->cr = c == '\r';
	if (c == '\n' && after_cr)
		return true;
	if (c != '\r' && c != '\n') {
		n->text = true;
		return true;
	}
	if (!n->text) {
		n->empty_cr = c == '\r';
		*ends = c == '\n';
	}
	n->text = false;
	return true;
}

/* How many of these are the header's. */
static size_t header_octets(struct pop3_notice *n, const char *p, size_t len)
{
	size_t room = POP3_NOTICE_HEADER_MAX - n->header.len, i = 0;

	while (i < len && i < room && !n->in_body) {
		bool ends;

		i += in_header(n, p[i], &ends);
		n->in_body = ends;
	}
	n->in_body |= i == room;
	return i;
}

static int say_header(struct pop3_notice *n)
{
	int rc;

	if (n->header.len == 0)
		return 0;
	notice_header_fix(n->header.data, n->header.len);
	rc = n->put(n->arg, n->header.data, n->header.len);
	buf_release(&n->header);
	return rc;
}

/* --- the body --- */

/* How many of p[0..len) may go: whole lines while there are any left. */
static size_t within_lines(struct pop3_notice *n, const char *p, size_t len)
{
	size_t i = 0;

	while (i < len && n->lines > 0)
		if (p[i++] == '\n')
			n->lines--;
	return i;
}

/* The notice up to the octet `to` of the body, which has `total`. */
static int say(struct pop3_notice *n, uint64_t to, uint64_t total)
{
	char piece[PIECE];

	while (n->said < to && !(n->top && n->lines == 0)) {
		size_t len = to - n->said < PIECE ? (size_t)(to - n->said) : PIECE;
		int rc;

		notice_read(&n->notice, TRANSFER_PLAIN, total, n->said, piece, len);
		n->said += len;
		if (n->top)
			len = within_lines(n, piece, len);
		rc = n->put(n->arg, piece, len);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int pop3_notice_add(struct pop3_notice *n, const char *p, size_t len)
{
	size_t used = 0;
	int rc;

	if (!n->in_body) {
		used = header_octets(n, p, len);
		if (buf_add(&n->header, p, used) < 0)
			return -ENOMEM;
		rc = n->in_body ? say_header(n) : 0;
		if (rc < 0)
			return rc;
	}
	n->octets += len - used;
	return n->octets > HELD ? say(n, n->octets - HELD, NOTICE_ENDLESS) : 0;
}

int pop3_notice_end(struct pop3_notice *n)
{
	int rc = n->in_body ? 0 : say_header(n);

	return rc < 0 ? rc : say(n, n->octets, n->octets);
}
