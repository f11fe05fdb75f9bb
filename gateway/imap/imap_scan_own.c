#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "imap/imap_scan_impl.h"

enum {
	VALUE_MAX = 256 * 1024,         /* an item that goes on to the client; flags as a rule */
	HEADER_MAX = 1024 * 1024,
	STRUCTURE_MAX = 256 * 1024,
};

void imap_own_init(struct imap_own *own, enum imap_own_kind kind, bool by_uid)
{
	memset(own, 0, sizeof(*own));
	own->kind = kind;
	own->by_uid = by_uid;
	buf_init(&own->value, VALUE_MAX);
	buf_init(&own->others, VALUE_MAX);
	buf_init(&own->header, HEADER_MAX);
	buf_init(&own->structure, STRUCTURE_MAX);
}

void imap_own_release(struct imap_own *own)
{
	buf_release(&own->value);
	buf_release(&own->others);
	buf_release(&own->header);
	buf_release(&own->structure);
}

int imap_own_ask(struct imap_scan *x, struct imap_own *own, const char *what, size_t len)
{
	char head[64];
	int rc = 0;

	/* Of a response that the client hears already it hears the rest, too. */
	while (rc == 0 && !imap_response_between(&x->response))
		rc = imap_scan_move(x);
	if (rc < 0)
		return rc;
	snprintf(own->tag, sizeof(own->tag), "%s%u", x->prefix, ++x->serial);
	snprintf(head, sizeof(head), "%s %sFETCH ", own->tag, own->by_uid ? "UID " : "");
	rc = imap_wire_puts(&x->server, head);
	if (rc == 0)
		rc = imap_wire_put(&x->server, what, len);
	if (rc == 0)
		rc = imap_wire_puts(&x->server, "\r\n");
	x->own = own;
	while (rc == 0 && !own->done) {
		rc = imap_scan_move(x);
		if (rc == 0)
			rc = imap_job_tell(x);          /* a large message, from afar */
	}
	x->own = NULL;
	return rc;
}

/* --- what the server says meanwhile --- */

static bool named(const struct imap_scan *x, const char *name)
{
	return x->response.name_len == strlen(name) && strncasecmp(x->response.name, name, strlen(name)) == 0;
}

static enum imap_own_item item_of(const struct imap_scan *x)
{
	const struct imap_own *own = x->own;
	struct imap_item it;

	if (named(x, "UID"))
		return IMAP_OWN_UID;
	if (own->kind == IMAP_OWN_MESSAGE && named(x, "BODY[]"))
		return IMAP_OWN_BODY;
	if (own->kind == IMAP_OWN_DETAILS && named(x, "BODY[HEADER]"))
		return IMAP_OWN_HEADER;
	if (own->kind == IMAP_OWN_DETAILS && named(x, "BODYSTRUCTURE"))
		return IMAP_OWN_STRUCTURE;
	imap_item_parse(x->response.name, x->response.name_len, &it);
	/* Flags that have changed, and their like, are for the client; what shows something nobody asked for. */
	return it.show == IMAP_SHOWS_NOTHING && !x->response.name_cut ? IMAP_OWN_OTHER : IMAP_OWN_NOTHING;
}

static void item_begins(struct imap_scan *x)
{
	struct imap_own *own = x->own;

	own->item = item_of(x);
	own->ours |= own->item == IMAP_OWN_BODY || own->item == IMAP_OWN_HEADER || own->item == IMAP_OWN_STRUCTURE;
	buf_clear(&own->value);
	if (own->item == IMAP_OWN_BODY && own->got)
		own->rc = -EPROTO;                      /* twice: which of them will the client see? */
	if (own->item == IMAP_OWN_HEADER)
		buf_clear(&own->header);
	if (own->item == IMAP_OWN_STRUCTURE)
		buf_clear(&own->structure);
}

static void item_octets(struct imap_own *own, const struct imap_piece *p)
{
	bool content = p->kind == IMAP_PIECE_STRING;

	switch (own->item) {
	case IMAP_OWN_BODY:
		if (content)            /* what it does not take its end has a word for */
			retrieval_scan_add(own->scan, p->p + p->escaped, p->len - p->escaped);
		else if (!content && p->len && strchr("\"{~", p->p[0]))
			own->got = true;                /* no NIL; perhaps without an octet */
		break;
	case IMAP_OWN_HEADER:
		if (content)
			buf_add(&own->header, p->p + p->escaped, p->len - p->escaped);
		break;
	case IMAP_OWN_STRUCTURE:
		buf_add(&own->structure, p->p, p->len);
		break;
	case IMAP_OWN_UID:
	case IMAP_OWN_OTHER:
		buf_add(&own->value, p->p, p->len);
		break;
	case IMAP_OWN_NOTHING:
		break;
	}
}

static void item_ends(struct imap_scan *x)
{
	struct imap_own *own = x->own;

	if (own->item == IMAP_OWN_UID) {
		uint64_t n = strtoull(buf_str(&own->value), NULL, 10);

		own->uid = n <= UINT32_MAX ? (uint32_t)n : 0;
	} else if (own->item == IMAP_OWN_OTHER && !own->value.failed) {
		buf_addf(&own->others, "%s%.*s ", own->others.len ? " " : "", (int)x->response.name_len, x->response.name);
		buf_add(&own->others, buf_str(&own->value), own->value.len);
	}
	own->item = IMAP_OWN_NOTHING;
}

/* The response is complete: what was not for us goes on. */
static int response_ends(struct imap_scan *x)
{
	struct imap_own *own = x->own;
	uint32_t number = own->by_uid && !x->response.uidfetch ? own->uid : x->response.number;
	char head[80], uid[32] = "";

	if (own->kind == IMAP_OWN_UIDS && own->uid && own->rc == 0)
		own->rc = imap_runs_add(own->runs, x->response.number, own->uid);
	/* Content of another message than the one that was asked for. */
	if (own->ours && (number != own->number || (own->uid && own->uid != own->expected)))
		own->rc = -EPROTO;
	if (own->others.len == 0 || own->others.failed)
		return 0;
	if (own->by_uid && own->uid)
		snprintf(uid, sizeof(uid), "UID %u ", own->uid);
	snprintf(head, sizeof(head), "* %u %s (%s", x->response.number, x->response.uidfetch ? "UIDFETCH" : "FETCH", uid);
	if (imap_wire_puts(&x->client, head) < 0 || imap_wire_put(&x->client, own->others.data, own->others.len) < 0)
		return -ENOMEM;
	return imap_wire_puts(&x->client, ")\r\n");
}

int imap_own_piece(struct imap_scan *x, const struct imap_piece *p)
{
	struct imap_own *own = x->own;

	switch (p->kind) {
	case IMAP_PIECE_BEGIN:
		own->uid = 0;
		own->ours = false;
		own->item = IMAP_OWN_NOTHING;
		buf_clear(&own->others);
		break;
	case IMAP_PIECE_NAME:
		if (p->last)
			item_begins(x);
		break;
	case IMAP_PIECE_VALUE:
	case IMAP_PIECE_STRING:
		item_octets(own, p);
		if (p->kind == IMAP_PIECE_VALUE && p->last)
			item_ends(x);
		break;
	case IMAP_PIECE_END:
		return response_ends(x);
	default:
		break;
	}
	return 0;
}
