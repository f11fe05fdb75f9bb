#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "imap/imap_scan_impl.h"
#include "imap/imap_structure.h"
#include "retrieval/notice.h"

enum { HEAD_MAX = 1024 * 1024 };

/* What is needed to replace; it stays for the session's next, which is about the same message as a rule. */
struct imap_shower {
	struct notice notice;
	uint32_t uid;                   /* whose notice it is; 0: of those that were not checked */
	bool made;
	/* a header that is being read, to be changed when it is complete */
	struct buf head;
	bool heading;
	uint64_t head_len;              /* octets before the body, once that is known */
};

void imap_shower_free(struct imap_shower *w)
{
	if (w)
		buf_release(&w->head);
	free(w);
}

/* --- which, and how --- */

/* The response is about message r->number: may it be seen? */
static void meet_message(struct imap_scan *x)
{
	uint32_t uid;

	x->seen = IMAP_SEEN_UNCHECKED;
	x->convict = NULL;
	x->replacing = false;
	if (!x->job || !x->asked || x->response.uidfetch || !imap_runs_uid(&x->job->runs, x->response.number, &uid))
		return;
	x->convict = imap_job_convict(x->job, uid);
	/* For a header nothing was scanned: content that nobody asked for stays unchecked. */
	if (x->convict)
		x->seen = IMAP_SEEN_NOTICE;
	else if (x->job->fetch.show == IMAP_SHOWS_CONTENT)
		x->seen = IMAP_SEEN_ALL;
}

static int shower_make(struct imap_scan *x)
{
	struct imap_shower *w = x->shower;
	uint32_t uid = x->convict ? x->convict->uid : 0;

	if (!w) {
		w = x->shower = calloc(1, sizeof(*w));
		if (!w)
			return -ENOMEM;
		buf_init(&w->head, HEAD_MAX);
	}
	if (!w->made || w->uid != uid) {
		notice_init(&w->notice, x->convict ? x->convict->reason : "it could not be checked before it was shown, fetch it again",
			    x->convict ? x->convict->id : NULL);
		w->uid = uid;
		w->made = true;
	}
	return 0;
}

static void warn_unchecked(struct imap_scan *x)
{
	if (x->seen != IMAP_SEEN_UNCHECKED || x->warned)
		return;
	x->warned = true;
	log_warning("imap-unchecked", "sid", x->s->id, "backend", x->s->backend.link.name, "error", "the server shows a message that was not asked for", NULL);
}

static int meet_item(struct imap_scan *x)
{
	struct imap_item *it = &x->item;
	int rc;

	imap_item_parse(x->response.name, x->response.name_len, it);
	x->replacing = it->show == IMAP_SHOWS_CONTENT ? x->seen != IMAP_SEEN_ALL : it->show == IMAP_SHOWS_HEADER && x->seen == IMAP_SEEN_NOTICE;
	if (!x->replacing)
		return 0;
	rc = shower_make(x);
	if (rc < 0)
		return rc;
	warn_unchecked(x);
	buf_clear(&x->shower->head);
	x->shower->head_len = 0;
	/* All of it comes: the header is changed as it passes. */
	x->shower->heading = !it->partial && x->seen == IMAP_SEEN_NOTICE &&
			     (it->section == IMAP_SECTION_WHOLE || it->section == IMAP_SECTION_HEADER);
	return 0;
}

/* --- octets --- */

/* What cannot stand between quotes becomes what can. */
static void make_quotable(char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)p[i] < 0x20 || (unsigned char)p[i] > 0x7e)
			p[i] = ' ';
		else if (p[i] == '"' || p[i] == '\\')
			p[i] = '\'';
}

static enum transfer_encoding encoding_of(const struct imap_scan *x)
{
	if (x->item.section != IMAP_SECTION_PART || !x->convict || !x->convict->structure)
		return TRANSFER_PLAIN;
	return imap_structure_encoding(x->convict->structure, x->convict->structure_len, x->item.part);
}

/* Octets [at, at + len) of the content are replaced, where the header, changed already, is known. */
static void fill(struct imap_scan *x, uint64_t at, char *p, size_t len)
{
	const struct imap_convict *c = x->convict;
	bool whole = x->item.section == IMAP_SECTION_WHOLE || x->item.section == IMAP_SECTION_HEADER;
	uint64_t head_len = whole && c && c->header && x->item.partial ? c->header_len : 0;

	if (at < head_len) {
		size_t n = head_len - at < len ? (size_t)(head_len - at) : len;

		memcpy(p, c->header + at, n);
		p += n;
		len -= n;
		at += n;
	}
	if (len)
		notice_read(&x->shower->notice, encoding_of(x), NOTICE_ENDLESS, at - head_len, p, len);
}

/* Where the header that is being read ends: behind its empty line. 0: not yet. */
static size_t head_end(const struct buf *b, size_t seen)
{
	for (size_t i = seen > 3 ? seen - 3 : 0; i < b->len; i++) {
		const char *p = b->data + i;

		if (*p != '\n')
			continue;
		if (i == 0 || (i == 1 && p[-1] == '\r'))
			return i + 1;
		if (b->len - i > 1 && p[1] == '\n')
			return i + 2;
		if (b->len - i > 2 && p[1] == '\r' && p[2] == '\n')
			return i + 3;
	}
	return 0;
}

/* The header has come, or as much of it as is looked at: changed, it goes. */
static int head_done(struct imap_scan *x)
{
	struct imap_shower *w = x->shower;

	w->heading = false;
	w->head_len = w->head.len;
	if (w->head.len)
		notice_header_fix(w->head.data, w->head.len);
	return imap_wire_put(&x->client, buf_str(&w->head), w->head.len);
}

/* Octets of a literal that holds the whole message, or its whole header. */
static int read_head(struct imap_scan *x, const struct imap_piece *p, size_t *used)
{
	struct imap_shower *w = x->shower;
	size_t seen = w->head.len, room = HEAD_MAX - 1 - seen, n = p->len < room ? p->len : room, end;

	if (buf_add(&w->head, p->p, n) < 0)
		return -ENOMEM;
	*used = n;
	end = head_end(&w->head, seen);
	if (end) {
		*used = end - seen;
		w->head.len = end;
	}
	if (end || w->head.len >= HEAD_MAX - 1 || (p->last && *used == p->len))
		return head_done(x);
	return 0;
}

static int replace(struct imap_scan *x, const struct imap_piece *piece)
{
	struct imap_shower *w = x->shower;
	uint64_t at = piece->offset + (x->item.partial ? x->item.origin : 0);
	char *p = (char *)piece->p;     /* in our own buffer */
	size_t len = piece->len, used = 0;

	if (piece->quoted) {            /* short, and without a line's end: no header */
		if (piece->escaped) {
			p[1] = '"';
		} else {
			fill(x, at, p, len);
			make_quotable(p, len);
		}
		return imap_wire_put(&x->client, p, len);
	}
	if (w->heading) {
		int rc = read_head(x, piece, &used);

		if (rc < 0 || used == len)
			return rc;
	}
	fill(x, at + used - w->head_len, p + used, len - used);
	return imap_wire_put(&x->client, p + used, len - used);
}

int imap_show_piece(struct imap_scan *x, const struct imap_piece *p)
{
	int rc = 0;

	if (p->kind == IMAP_PIECE_BEGIN)
		meet_message(x);
	else if (p->kind == IMAP_PIECE_NAME && p->last)
		rc = meet_item(x);
	else if (p->kind == IMAP_PIECE_STRING && x->replacing)
		return replace(x, p);
	else if (p->kind == IMAP_PIECE_VALUE && p->last)
		x->replacing = false;
	return rc < 0 ? rc : imap_wire_put(&x->client, p->p, p->len);
}
