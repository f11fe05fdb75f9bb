#include "filters/fact_wire.h"

#include <errno.h>
#include <string.h>

enum { NO_TEXT = UINT32_MAX, MARK = 0xfa, END = 0xed };

/* --- writing --- */

static int add_number(struct buf *out, uint64_t n, int octets)
{
	char p[8];

	for (int i = 0; i < octets; i++)
		p[i] = (char)(n >> (8 * i));
	return buf_add(out, p, (size_t)octets);
}

static int add_text(struct buf *out, const char *text)
{
	size_t len = text ? strlen(text) : 0;
	int rc = add_number(out, text ? len : NO_TEXT, 4);

	return rc < 0 ? rc : buf_add(out, text ? text : "", len);
}

static int add_fact(struct buf *out, const struct fact *e)
{
	int rc = add_number(out, MARK, 1);

	if (rc == 0)
		rc = add_number(out, (uint64_t)e->id, 2);
	if (rc == 0)
		rc = add_number(out, e->state, 1);
	if (rc == 0)
		rc = add_number(out, e->count, 2);
	if (rc == 0)
		rc = add_number(out, (uint64_t)e->number, 8);
	for (int i = 0; rc == 0 && i < e->count; i++)
		rc = add_text(out, e->text[i]);
	return rc < 0 ? rc : add_text(out, e->why);
}

int fact_wire_write(const struct facts *f, struct buf *out)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < f->count; i++)
		if (f->v[i].state != FACT_UNKNOWN)
			rc = add_fact(out, &f->v[i]);
	return rc < 0 ? rc : add_number(out, END, 1);
}

/* --- reading --- */

struct reader {
	const char *p, *end;
	bool broken;
};

static uint64_t number(struct reader *r, size_t octets)
{
	uint64_t n = 0;

	if (r->broken || (size_t)(r->end - r->p) < octets) {
		r->broken = true;
		return 0;
	}
	for (size_t i = 0; i < octets; i++)
		n |= (uint64_t)(unsigned char)r->p[i] << (8 * i);
	r->p += octets;
	return n;
}

/* Appended to scratch, with its NUL; false: there is none, or it is none of ours. */
static bool text(struct reader *r, struct buf *scratch)
{
	uint32_t len = (uint32_t)number(r, 4);

	buf_clear(scratch);
	if (r->broken || len == NO_TEXT)
		return false;
	if (len > (size_t)(r->end - r->p) || memchr(r->p, '\0', len) || buf_add(scratch, r->p, len) < 0) {
		r->broken = true;
		return false;
	}
	r->p += len;
	return true;
}

static bool is_word(const struct fact_def *d, const char *value)
{
	for (const char *const *w = d->words; w && *w; w++)
		if (strcmp(*w, value) == 0)
			return true;
	return d->type != FACT_WORD;
}

static bool is_number(const struct fact_def *d)
{
	return d->type == FACT_NUMBER || d->type == FACT_BOOL;
}

static int set_texts(struct reader *r, const struct fact_def *d, unsigned count, struct buf *scratch, struct facts *out)
{
	int rc = d->list ? facts_set_empty(out, d->name) : 0;

	for (unsigned i = 0; rc == 0 && i < count; i++) {
		if (!text(r, scratch) || !is_word(d, buf_str(scratch)))
			return -EPROTO;
		rc = d->list ? facts_add(out, d->name, buf_str(scratch)) : facts_set(out, d->name, buf_str(scratch));
	}
	return rc;
}

static int set(struct reader *r, const struct fact_def *d, int state, unsigned count, int64_t n, struct buf *scratch, struct facts *out)
{
	unsigned most = state != FACT_KNOWN || is_number(d) ? 0 : d->list ? FACT_LIST_MAX : 1;
	bool one = state == FACT_KNOWN && !is_number(d) && !d->list;
	int rc;

	if (r->broken || (state != FACT_KNOWN && state != FACT_TEMPERROR) || count > most || (one && count != 1))
		return -EPROTO;
	if (state == FACT_TEMPERROR)
		rc = facts_temperror(out, d->name, NULL);
	else if (d->type == FACT_NUMBER)
		rc = facts_set_num(out, d->name, n);
	else if (d->type == FACT_BOOL)
		rc = facts_set_bool(out, d->name, n != 0);
	else
		rc = set_texts(r, d, count, scratch, out);
	if (rc == 0 && text(r, scratch))
		rc = facts_why(out, d->name, "%s", buf_str(scratch));
	return rc < 0 ? rc : r->broken ? -EPROTO : 0;
}

/* Of a fact that these owners may set: NULL. */
static const struct fact_def *def(uint64_t id, uint32_t owners)
{
	int owner = id < (uint64_t)fact_count() ? fact_owner((int)id) : -1;

	return owner >= 0 && owner < 32 && owners & 1u << owner ? fact_def((int)id) : NULL;
}

int fact_wire_read(const char *p, size_t len, uint32_t owners, struct facts *out)
{
	struct reader r = { .p = p, .end = p + len };
	AUTO(buf) struct buf scratch = BUF_INIT(len + 1);
	uint64_t mark;
	int rc = 0;

	while (rc == 0 && (mark = number(&r, 1)) == MARK && !r.broken) {
		const struct fact_def *d = def(number(&r, 2), owners);
		int state = (int)number(&r, 1);
		unsigned count = (unsigned)number(&r, 2);
		int64_t n = (int64_t)number(&r, 8);

		rc = d ? set(&r, d, state, count, n, &scratch, out) : -EPROTO;
	}
	if (rc < 0)
		return scratch.failed && rc == -EPROTO ? -ENOMEM : rc;
	return r.broken || mark != END || r.p != r.end ? -EPROTO : 0;
}
