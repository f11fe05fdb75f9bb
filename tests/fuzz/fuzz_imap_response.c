/*
 * fuzz_imap_response - a server's bytes: all of them come out again, in the same pieces however they come in; what its items and structures name
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "imap/imap_fetch.h"
#include "imap/imap_response.h"
#include "imap/imap_structure.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
	size_t at;              /* octets that were eaten */
	size_t responses, names, strings;
	uint64_t content;       /* a sum over the octets of strings */
	bool wrong;
};

static void look(struct seen *s, const struct imap_response *r, const struct imap_piece *p)
{
	struct imap_item item;
	struct imap_span arg;

	switch (p->kind) {
	case IMAP_PIECE_LINE:
		assert(p->len >= 2 && p->p[p->len - 1] == '\n' && imap_response_between(r));
		imap_code_is(r, "UIDVALIDITY", &arg);
		s->responses++;
		break;
	case IMAP_PIECE_END:
		assert(imap_response_between(r));
		s->responses++;
		break;
	case IMAP_PIECE_NAME:
		if (p->last) {
			s->names++;
			imap_item_parse(r->name, r->name_len, &item);
			assert(item.show <= IMAP_SHOWS_CONTENT && item.part.len <= r->name_len);
		}
		break;
	case IMAP_PIECE_STRING:
		assert(!p->escaped || p->len == 2);
		for (size_t i = 0; i < p->len; i++)
			s->content = (s->content ^ (unsigned char)p->p[i]) * 1099511628211u;
		s->strings += p->len;
		break;
	default:
		break;
	}
}

static struct seen run(const char *data, size_t size, size_t chunk)
{
	struct seen s = { 0 };
	struct imap_response r;
	size_t have = 0;

	imap_response_init(&r);
	while (!s.wrong) {
		struct imap_piece p;
		enum imap_piece_kind kind = imap_response_read(&r, data + s.at, have - s.at, &p);

		if (kind == IMAP_PIECE_MORE) {
			assert(have - s.at < IMAP_HOLD_MAX);
			if (have == size)
				break;
			have = size - have < chunk ? size : have + chunk;
			continue;
		}
		assert(p.p == data + s.at && p.len <= have - s.at && p.kind == kind);
		s.wrong = kind == IMAP_PIECE_WRONG;
		look(&s, &r, &p);
		s.at += p.len;
	}
	return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *p = (const char *)data;
	struct seen whole = run(p, size, size ? size : 1), pieces = run(p, size, 3);
	const char *dot = memchr(p, '\n', size);

	/* how much of what is wrong was taken before hangs on how it came */
	assert(whole.wrong == pieces.wrong);
	if (!whole.wrong)
		assert(whole.at == pieces.at && whole.responses == pieces.responses && whole.names == pieces.names && whole.strings == pieces.strings &&
		       whole.content == pieces.content);
	/* the first line as a part, the rest as a structure */
	if (dot)
		imap_structure_encoding(dot + 1, size - (size_t)(dot + 1 - p), (struct imap_span){ p, (size_t)(dot - p) });
	return 0;
}
