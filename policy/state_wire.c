#include "policy/state_wire.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

struct reader {
	const unsigned char *p;
	size_t left;
	bool bad;
};

static void put_u8(struct buf *b, unsigned v)
{
	buf_addc(b, (char)v);
}

static void put_i64(struct buf *b, int64_t v)
{
	unsigned char raw[8];

	for (int i = 0; i < 8; i++)
		raw[i] = (unsigned char)((uint64_t)v >> (8 * i));
	buf_add(b, raw, sizeof(raw));
}

/* size: of the array that holds s; text that fills it has no end. */
static int put_str(struct buf *b, const char *s, size_t size)
{
	size_t len = strnlen(s, size);

	if (len == size)
		return -EINVAL;
	put_u8(b, len & 255);
	put_u8(b, (unsigned)(len >> 8));
	buf_add(b, s, len);
	return 0;
}

static const unsigned char *take(struct reader *r, size_t len)
{
	const unsigned char *p = r->p;

	if (r->bad || r->left < len) {
		r->bad = true;
		return NULL;
	}
	r->p += len;
	r->left -= len;
	return p;
}

static unsigned get_u8(struct reader *r)
{
	const unsigned char *p = take(r, 1);

	return p ? *p : 0;
}

static int64_t get_i64(struct reader *r)
{
	const unsigned char *p = take(r, 8);
	uint64_t v = 0;

	for (int i = 7; p && i >= 0; i--)
		v = v << 8 | p[i];
	return (int64_t)v;
}

static void get_str(struct reader *r, char *out, size_t size)
{
	const unsigned char *p = take(r, 2);
	size_t len = p ? (size_t)(p[0] | p[1] << 8) : 0;

	p = take(r, len);
	memset(out, 0, size);
	if (!p)
		return;
	if (len >= size || memchr(p, 0, len))
		r->bad = true;
	else
		memcpy(out, p, len);
}

static int finished(struct buf *out, int rc)
{
	if (rc < 0)
		return rc;
	return out->failed ? -ENOSPC : 0;
}

int state_wire_request(struct buf *out, const struct state_op *ops, size_t count)
{
	int rc = 0;

	if (count == 0 || count > STATE_OPS_MAX)
		return -EINVAL;
	put_u8(out, (unsigned)count);
	for (size_t i = 0; i < count && rc == 0; i++) {
		put_u8(out, ops[i].verb);
		rc = put_str(out, ops[i].space, sizeof(ops[i].space));
		if (rc == 0)
			rc = put_str(out, ops[i].key, sizeof(ops[i].key));
		put_i64(out, ops[i].ttl_s);
		put_i64(out, ops[i].add);
		if (rc == 0)
			rc = put_str(out, ops[i].text, sizeof(ops[i].text));
	}
	return finished(out, rc);
}

int state_wire_answer(struct buf *out, const struct state_op *ops, size_t count)
{
	int rc = 0;

	if (count == 0 || count > STATE_OPS_MAX)
		return -EINVAL;
	put_u8(out, (unsigned)count);
	for (size_t i = 0; i < count && rc == 0; i++) {
		put_u8(out, ops[i].found != 0);
		put_i64(out, ops[i].first_s);
		put_i64(out, ops[i].last_s);
		put_i64(out, ops[i].count);
		rc = put_str(out, ops[i].text, sizeof(ops[i].text));
	}
	return finished(out, rc);
}

int state_wire_read_request(const char *p, size_t len, struct state_op *ops)
{
	struct reader r = { (const unsigned char *)p, len, false };
	unsigned count = get_u8(&r);

	if (count == 0 || count > STATE_OPS_MAX)
		return -EBADMSG;
	for (unsigned i = 0; i < count && !r.bad; i++) {
		unsigned verb = get_u8(&r);

		memset(&ops[i], 0, sizeof(ops[i]));
		if (verb > STATE_DELETE)
			return -EBADMSG;
		ops[i].verb = (enum state_verb)verb;
		get_str(&r, ops[i].space, sizeof(ops[i].space));
		get_str(&r, ops[i].key, sizeof(ops[i].key));
		ops[i].ttl_s = get_i64(&r);
		ops[i].add = get_i64(&r);
		get_str(&r, ops[i].text, sizeof(ops[i].text));
	}
	return r.bad || r.left > 0 ? -EBADMSG : (int)count;
}

int state_wire_read_answer(const char *p, size_t len, struct state_op *ops, size_t count)
{
	struct reader r = { (const unsigned char *)p, len, false };

	if (get_u8(&r) != count)
		return -EBADMSG;
	for (size_t i = 0; i < count && !r.bad; i++) {
		ops[i].found = get_u8(&r) != 0;
		ops[i].first_s = get_i64(&r);
		ops[i].last_s = get_i64(&r);
		ops[i].count = get_i64(&r);
		get_str(&r, ops[i].text, sizeof(ops[i].text));
	}
	return r.bad || r.left > 0 ? -EBADMSG : 0;
}
