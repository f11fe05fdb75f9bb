#include "base/dns_packet.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_BYTES = 12, CLASS_IN = 1, JUMPS_MAX = 127 };     /* as many as a name can have labels */

struct reader {
	const uint8_t *p;
	size_t len, off;
};

struct record {
	unsigned type, class;
	uint32_t ttl_s;
	size_t name;                    /* offset of its owner's name */
	size_t data, data_len;          /* offset and length of its RDATA */
};

static unsigned get16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

/*
 * The name at *off, which moves behind it; expanded into out (DNS_WIRE_MAX bytes) unless NULL. Its expanded length, or
 * -EBADMSG. A pointer must point before the labels that led to it: so it ends.
 */
static int name_read(const struct reader *r, size_t *off, uint8_t *out)
{
	size_t at = *off, start = *off, total = 0;
	int jumps = 0;

	for (;;) {
		size_t n;

		if (at >= r->len)
			return -EBADMSG;
		n = r->p[at];
		if (n >= 192) {
			if (at + 1 >= r->len)
				return -EBADMSG;
			n = (n & 63) << 8 | r->p[at + 1];
			if (n >= start || jumps == JUMPS_MAX)
				return -EBADMSG;
			if (jumps++ == 0)
				*off = at + 2;
			at = start = n;
			continue;
		}
		if (n > 63 || n + 1 > r->len - at || total + n + 1 > DNS_WIRE_MAX)
			return -EBADMSG;
		if (out)
			memcpy(out + total, r->p + at, n + 1);
		total += n + 1;
		at += n + 1;
		if (n == 0)
			break;
	}
	if (jumps == 0)
		*off = at;
	return (int)total;
}

static int record_read(struct reader *r, struct record *out)
{
	out->name = r->off;
	if (name_read(r, &r->off, NULL) < 0 || r->len - r->off < 10)
		return -EBADMSG;
	out->type = get16(r->p + r->off);
	out->class = get16(r->p + r->off + 2);
	out->ttl_s = get32(r->p + r->off + 4);
	out->data_len = get16(r->p + r->off + 8);
	out->data = r->off + 10;
	if (out->data_len > r->len - out->data)
		return -EBADMSG;
	r->off = out->data + out->data_len;
	return 0;
}

/* How RDATA of a type is made: fixed bytes, names, fixed bytes. RFC 3597 section 4: only these are ever compressed. */
static void data_shape(unsigned type, size_t *before, int *names, size_t *after)
{
	*before = type == DNS_MX ? 2 : 0;
	*after = type == DNS_SOA ? 20 : 0;
	*names = type == DNS_SOA ? 2 : type == DNS_MX || type == DNS_NS || type == DNS_CNAME || type == DNS_PTR ? 1 : 0;
}

/* RDATA with its names expanded into out, which has room, or NULL to measure. Its length or -EBADMSG. */
static int data_expand(const struct reader *r, const struct record *rec, uint8_t *out)
{
	size_t before, after, off = rec->data, total;
	int names;

	data_shape(rec->type, &before, &names, &after);
	if (names == 0) {
		if (out)
			memcpy(out, r->p + rec->data, rec->data_len);
		return (int)rec->data_len;
	}
	if (rec->data_len < before)
		return -EBADMSG;
	if (out)
		memcpy(out, r->p + off, before);
	off += before;
	total = before;
	for (; names > 0; names--) {
		int n = name_read(r, &off, out ? out + total : NULL);

		if (n < 0 || off > rec->data + rec->data_len)
			return -EBADMSG;
		total += (size_t)n;
	}
	if (rec->data + rec->data_len - off != after)
		return -EBADMSG;
	if (out)
		memcpy(out + total, r->p + off, after);
	return (int)(total + after);
}

/* The name at an offset, as text; DNS_NAME_MAX bytes. */
static void name_text(const struct reader *r, size_t off, char *out)
{
	uint8_t wire[DNS_WIRE_MAX];
	int n = name_read(r, &off, wire);

	if (n < 0 || dns_name(&(struct dns_rr){ .data = wire, .len = (size_t)n }, 0, out) < 0)
		*out = '\0';
}

/* Walks `left` records of the answer section; counts and measures, or (rr not NULL) writes. owner: of the first that is kept. */
static int answers_walk(struct reader *r, unsigned left, enum dns_type type, struct dns_packet *pkt, struct dns_rr *rr, size_t *bytes,
			size_t *owner)
{
	uint8_t *space = rr ? (uint8_t *)(rr + pkt->count) : NULL;
	size_t count = 0;

	*bytes = 0;
	for (; left > 0; left--) {
		struct record rec;
		int n;

		if (record_read(r, &rec) < 0)
			return -EBADMSG;
		if (rec.class != CLASS_IN)
			continue;
		if (rec.ttl_s < pkt->ttl_s)
			pkt->ttl_s = rec.ttl_s;
		if (rec.type != (unsigned)type || count == DNS_RR_MAX)
			continue;
		n = data_expand(r, &rec, space ? space + *bytes : NULL);
		if (n < 0)
			return -EBADMSG;
		if (count == 0)
			*owner = rec.name;
		if (rr)
			rr[count] = (struct dns_rr){ .data = space + *bytes, .len = (size_t)n };
		*bytes += (size_t)n;
		count++;
	}
	pkt->count = count;
	return 0;
}

/* RFC 2308 section 5: the lesser of the SOA's own time and its last field. */
static void negative_ttl(struct reader *r, unsigned left, struct dns_packet *pkt)
{
	struct record rec;

	for (; left > 0 && record_read(r, &rec) == 0; left--) {
		uint32_t minimum;

		if (rec.type != DNS_SOA || rec.data_len < 22)
			continue;
		minimum = get32(r->p + rec.data + rec.data_len - 4);
		if (rec.ttl_s < minimum)
			minimum = rec.ttl_s;
		if (minimum < pkt->ttl_s)
			pkt->ttl_s = minimum;
	}
}

int dns_packet_read(const uint8_t *p, size_t len, enum dns_type type, struct dns_packet *out)
{
	struct reader r = { .p = p, .len = len, .off = HEADER_BYTES };
	struct dns_packet pkt = { .ttl_s = UINT32_MAX };
	size_t answers, bytes, owner = 0;

	if (len < HEADER_BYTES)
		return -EBADMSG;
	pkt.rcode = p[3] & 15;
	for (unsigned left = get16(p + 4); left > 0; left--) {
		if (name_read(&r, &r.off, NULL) < 0 || r.len - r.off < 4)
			return -EBADMSG;
		r.off += 4;
	}
	answers = r.off;
	if (answers_walk(&r, get16(p + 6), type, &pkt, NULL, &bytes, &owner) < 0)
		return -EBADMSG;
	if (pkt.count > 0) {
		char text[DNS_NAME_MAX], *name;

		name_text(&r, owner, text);
		pkt.rr = malloc(pkt.count * sizeof(*pkt.rr) + bytes + strlen(text) + 1);
		if (!pkt.rr)
			return -ENOMEM;
		r.off = answers;
		answers_walk(&r, get16(p + 6), type, &pkt, pkt.rr, &bytes, &owner);
		name = (char *)(pkt.rr + pkt.count) + bytes;
		pkt.owner = strcpy(name, text);
	} else {
		negative_ttl(&r, get16(p + 8), &pkt);
	}
	if (pkt.ttl_s == UINT32_MAX)
		pkt.ttl_s = 0;
	*out = pkt;
	return 0;
}
