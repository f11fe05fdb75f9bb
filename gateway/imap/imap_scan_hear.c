#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "imap/imap_scan_impl.h"

enum { LINE_MAX = IMAP_HOLD_MAX + 1024 };

/* --- commands that are answered --- */

static void mailbox_set(struct imap_scan *x, char *mailbox)
{
	free(x->mailbox);
	x->mailbox = mailbox;
	x->selected = mailbox != NULL;
}

/* RFC 9051 sections 6.3.2 and 6.4.1. */
static void selection(struct imap_scan *x, struct imap_pending *p, enum imap_status status)
{
	if (p->deed == IMAP_DEED_SELECT && status == IMAP_STATUS_OK) {
		mailbox_set(x, p->mailbox);
		p->mailbox = NULL;
		memcpy(x->validity, x->validity_new, sizeof(x->validity));
	} else if ((p->deed == IMAP_DEED_SELECT && status == IMAP_STATUS_NO) || (p->deed == IMAP_DEED_CLOSE && status == IMAP_STATUS_OK)) {
		mailbox_set(x, NULL);
	}
	if (p->deed == IMAP_DEED_SELECT)
		x->validity_new[0] = '\0';
}

static void answered(struct imap_scan *x)
{
	const struct imap_span *tag = &x->response.tag;
	struct imap_pending **at = &x->first, *p;

	while (*at && (strlen((*at)->tag) != tag->len || memcmp((*at)->tag, tag->p, tag->len) != 0))
		at = &(*at)->next;
	p = *at;
	if (!p)
		return;                 /* nobody's: the client will see what it makes of it */
	*at = p->next;
	if (!*at)
		x->last = at;
	x->pending--;
	selection(x, p, x->response.status);
	if (p->deed == IMAP_DEED_FETCH)
		x->asked = false;       /* what comes behind its answer nobody asked for, and the job may go in the middle of it */
	if (x->current == p) {
		x->current = NULL;
		/* What was announced is not wanted; an IDLE is over, with or without DONE. */
		if (x->up == IMAP_UP_PLUS || x->up == IMAP_UP_IDLE)
			x->up = x->up == IMAP_UP_PLUS && x->plus_ours ? IMAP_UP_SKIP : IMAP_UP_COMMAND;
	}
	if (x->naming == p)
		x->naming = NULL;
	free(p->mailbox);
	free(p);
}

/* --- what the server says of itself --- */

static bool selecting(const struct imap_scan *x)
{
	for (const struct imap_pending *p = x->first; p; p = p->next)
		if (p->deed == IMAP_DEED_SELECT)
			return true;
	return false;
}

static void note_validity(struct imap_scan *x)
{
	char *to = selecting(x) ? x->validity_new : x->validity;
	struct imap_span arg;

	if (!imap_code_is(&x->response, "UIDVALIDITY", &arg))
		return;
	to[0] = '\0';
	if (arg.len == 0 || arg.len >= IMAP_VALIDITY_MAX)
		return;
	for (size_t i = 0; i < arg.len; i++)
		if (arg.p[i] < '0' || arg.p[i] > '9')
			return;
	memcpy(to, arg.p, arg.len);
	to[arg.len] = '\0';
}

/* The line as it is, or with capabilities that the client may see. */
static int pass_line(struct imap_scan *x, const struct imap_piece *p)
{
	AUTO(buf) struct buf line = BUF_INIT(LINE_MAX);
	size_t off, n;

	if (x->response.says == IMAP_SAYS_CONTINUE || !imap_caps_find(p->p, p->len - 2, &off, &n))
		return imap_wire_put(&x->client, p->p, p->len);
	buf_add(&line, p->p, off);
	imap_caps_adjust(&x->view, p->p + off, n, &line);
	buf_add(&line, p->p + off + n, p->len - off - n);
	return line.failed ? -ENOMEM : imap_wire_put(&x->client, line.data, line.len);
}

static bool is_own(const struct imap_scan *x)
{
	const struct imap_span *tag = &x->response.tag;

	return x->own && strlen(x->own->tag) == tag->len && memcmp(x->own->tag, tag->p, tag->len) == 0;
}

static void own_answered(struct imap_scan *x, const struct imap_piece *p)
{
	size_t skip = x->response.tag.len + 1;
	size_t len = p->len - 2 > skip ? p->len - 2 - skip : 0;

	x->own->done = true;
	x->own->status = x->response.status;
	snprintf(x->own->words, sizeof(x->own->words), "%.*s", (int)len, p->p + skip);
	x->own = NULL;                  /* what comes behind it is the client's, though it may lie here already */
}

static int hear_line(struct imap_scan *x, const struct imap_piece *p)
{
	struct imap_response *r = &x->response;

	switch (r->says) {
	case IMAP_SAYS_TAGGED:
		if (is_own(x)) {
			own_answered(x, p);
			return 0;
		}
		answered(x);
		break;
	case IMAP_SAYS_CONTINUE:
		if (x->up != IMAP_UP_PLUS)
			break;
		x->up = x->up_after;
		if (x->plus_ours)
			return 0;
		break;
	case IMAP_SAYS_STATUS:
		x->farewell |= r->status == IMAP_STATUS_BYE;
		note_validity(x);
		break;
	case IMAP_SAYS_EXPUNGE:
		if (x->job && imap_runs_expunge(&x->job->runs, r->number) < 0)
			return -ENOMEM;
		break;
	case IMAP_SAYS_VANISHED:        /* QRESYNC was not enabled; whose numbers they had is not known */
		if (x->job)
			imap_runs_release(&x->job->runs);
		break;
	default:
		break;
	}
	return pass_line(x, p);
}

/* A response of several pieces begins; is_long: it is no FETCH. */
static int hear_begin(struct imap_scan *x, const struct imap_piece *p)
{
	struct imap_response *r = &x->response;

	if (r->says == IMAP_SAYS_TAGGED)
		answered(x);
	if (r->says == IMAP_SAYS_VANISHED && x->job)
		imap_runs_release(&x->job->runs);
	/* Capabilities, a word that the client's literal waits for, or something whose end would have to be seen: of that length nobody sends it. */
	if (r->says == IMAP_SAYS_CAPABILITY || r->says == IMAP_SAYS_CONTINUE || (r->says == IMAP_SAYS_TAGGED && is_own(x)) ||
	    ((r->says == IMAP_SAYS_TAGGED || r->says == IMAP_SAYS_STATUS) && memmem(p->p, p->len < 200 ? p->len : 200, "[CAPABILITY", 11))) {
		imap_response_init(r);          /* the client hears none of it: BYE instead */
		return -EMSGSIZE;
	}
	return imap_wire_put(&x->client, p->p, p->len);
}

static int hear(struct imap_scan *x, const struct imap_piece *p)
{
	if (p->kind == IMAP_PIECE_LINE)
		return hear_line(x, p);
	if (x->response.says == IMAP_SAYS_FETCH)
		return x->own ? imap_own_piece(x, p) : imap_show_piece(x, p);
	if (p->kind == IMAP_PIECE_BEGIN)
		return hear_begin(x, p);
	return imap_wire_put(&x->client, p->p, p->len);
}

int imap_scan_hear(struct imap_scan *x)
{
	while (x->server.have) {
		struct imap_piece p;
		int rc;

		if (imap_response_read(&x->response, imap_wire_in(&x->server), x->server.have, &p) == IMAP_PIECE_MORE)
			return 0;
		rc = p.kind == IMAP_PIECE_WRONG ? -EPROTO : hear(x, &p);
		if (rc == -EPROTO || rc == -EMSGSIZE)
			return imap_scan_bye(x, "backend lost", "what it says cannot be understood", "[UNAVAILABLE] the mail server behind cannot be understood");
		if (rc < 0)
			return rc;
		imap_wire_eat(&x->server, p.len);
	}
	return 0;
}
