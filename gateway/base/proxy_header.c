#include "base/proxy_header.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

/* Section 2.2: chosen so that no text protocol begins with it. */
static const char signature[12] = "\r\n\r\n\0\r\nQUIT\n";
static const char word[] = "PROXY ";

enum { LOCAL = 0x20, PROXY = 0x21 };                                    /* version 2 and a command */
enum { UNSPEC = 0x00, TCP4 = 0x11, TCP6 = 0x21, UNIX_STREAM = 0x31 };   /* family and transport */
enum { TLV_HEAD = 3, TLV_CRC32C = 0x03, CRC_BYTES = 4 };

static bool begins(const char *p, size_t len, const char *with, size_t with_len)
{
	return memcmp(p, with, len < with_len ? len : with_len) == 0;
}

/* --- version 1 --- */

/* The next word of p..end, up to a blank or the end; *p is moved behind the blank. Empty: there is none. */
static size_t take_word(const char **p, const char *end, const char **out)
{
	const char *blank = memchr(*p, ' ', (size_t)(end - *p));
	size_t len = (size_t)((blank ? blank : end) - *p);

	*out = *p;
	*p = blank ? blank + 1 : end;
	/* A blank at the very end is followed by an empty word, which nothing accepts. */
	return len;
}

static bool v1_address(const char **p, const char *end, int family, struct net_addr *out)
{
	char text[NET_TEXT_MAX];
	const char *w;
	size_t len = take_word(p, end, &w);

	if (len == 0 || len >= sizeof(text) || memchr(w, 0, len))
		return false;
	memcpy(text, w, len);
	text[len] = '\0';
	/* An IPv4 address that is mapped in IPv6 is said as TCP6, and comes out as IPv4. */
	return (family == AF_INET6) == (strchr(text, ':') != NULL) && net_parse(text, out) == 0;
}

/* Decimal, 0 to 65535, no zeros in front. */
static bool v1_port(const char **p, const char *end, unsigned short *out)
{
	const char *w;
	size_t len = take_word(p, end, &w);
	unsigned n = 0;

	if (len == 0 || len > 5 || (w[0] == '0' && len > 1))
		return false;
	for (size_t i = 0; i < len; i++) {
		if (w[i] < '0' || w[i] > '9')
			return false;
		n = n * 10 + (unsigned)(w[i] - '0');
	}
	*out = (unsigned short)n;
	return n <= 65535;
}

/* What stands between "PROXY " and CRLF. */
static bool v1_line(const char *p, const char *end, struct proxy_header *out)
{
	const char *w;
	size_t len = take_word(&p, end, &w);
	int family = 0;

	/* Whatever follows UNKNOWN is to be ignored. */
	if (len == 7 && memcmp(w, "UNKNOWN", 7) == 0)
		return true;
	if (len == 4 && memcmp(w, "TCP4", 4) == 0)
		family = AF_INET;
	else if (len == 4 && memcmp(w, "TCP6", 4) == 0)
		family = AF_INET6;
	else
		return false;
	out->told = true;
	return v1_address(&p, end, family, &out->source) && v1_address(&p, end, family, &out->destination) &&
	       v1_port(&p, end, &out->source.port) && v1_port(&p, end, &out->destination.port) && p == end && end[-1] != ' ';
}

static enum proxy_parse v1_parse(const char *p, size_t len, struct proxy_header *out, size_t *used)
{
	const char *lf, *cr;
	size_t shown = len < PROXY_V1_MAX ? len : PROXY_V1_MAX;

	if (len < sizeof(word) - 1)
		return PROXY_MORE;
	lf = memchr(p, '\n', shown);
	cr = memchr(p, '\r', shown);
	if (!lf) {
		/* A CR must be followed by LF. */
		if (shown == PROXY_V1_MAX || (cr && cr != p + len - 1))
			return PROXY_BAD;
		return PROXY_MORE;
	}
	if (cr != lf - 1 || !v1_line(p + sizeof(word) - 1, cr, out))
		return PROXY_BAD;
	*used = (size_t)(lf - p) + 1;
	return PROXY_OK;
}

/* --- version 2 --- */

static unsigned be16(const unsigned char *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

/* Castagnoli's polynomial, reflected (RFC 4960 appendix B), of len octets; those at hole count as zero. */
static uint32_t crc32c(const unsigned char *p, size_t len, size_t hole)
{
	uint32_t crc = 0xffffffff;

	for (size_t i = 0; i < len; i++) {
		crc ^= i >= hole && i < hole + CRC_BYTES ? 0 : p[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return ~crc;
}

/* The values from `at` to the end of the header, which must fill it. */
static bool v2_values(const unsigned char *p, size_t at, size_t end)
{
	while (at < end) {
		size_t len = end - at < TLV_HEAD ? SIZE_MAX : be16(p + at + 1);

		if (len > end - at || len + TLV_HEAD > end - at)
			return false;
		at += TLV_HEAD;
		if (p[at - TLV_HEAD] == TLV_CRC32C) {
			if (len != CRC_BYTES ||
			    crc32c(p, end, at) != ((uint32_t)be16(p + at) << 16 | be16(p + at + 2)))
				return false;
		}
		at += len;
	}
	return true;
}

static void v2_address(const unsigned char *ip, int family, const unsigned char *port, struct net_addr *out)
{
	struct net_addr a = { .family = family, .port = (unsigned short)be16(port) };
	struct sockaddr_storage ss;

	memcpy(a.ip, ip, family == AF_INET ? 4 : 16);
	net_to_sockaddr(&a, &ss);
	net_from_sockaddr((struct sockaddr *)&ss, out);         /* unfolds a mapped one */
}

/* What follows the fixed part, when all of it is there. */
static bool v2_block(const unsigned char *p, size_t end, struct proxy_header *out)
{
	const unsigned char *a = p + PROXY_V2_FIXED;
	size_t have = end - PROXY_V2_FIXED;
	int family = p[13] == TCP4 ? AF_INET : AF_INET6;
	size_t ip = p[13] == TCP4 ? 4 : 16, need = 2 * ip + 4;

	/* Of a LOCAL connection, and of one that is unspecified, the rest is to be ignored, whatever it says. */
	if (p[12] == LOCAL || p[13] == UNSPEC)
		return true;
	if (p[13] == UNIX_STREAM)
		return have >= 216 && v2_values(p, PROXY_V2_FIXED + 216, end);
	/* A datagram does not come by TCP; other families do not exist. */
	if ((p[13] != TCP4 && p[13] != TCP6) || have < need || !v2_values(p, PROXY_V2_FIXED + need, end))
		return false;
	out->told = true;
	v2_address(a, family, a + 2 * ip, &out->source);
	v2_address(a + ip, family, a + 2 * ip + 2, &out->destination);
	return true;
}

static enum proxy_parse v2_parse(const unsigned char *p, size_t len, struct proxy_header *out, size_t *used)
{
	size_t end;

	if (len > 12 && p[12] != LOCAL && p[12] != PROXY)
		return PROXY_BAD;
	if (len < PROXY_V2_FIXED)
		return PROXY_MORE;
	end = PROXY_V2_FIXED + be16(p + 14);
	if (end > PROXY_HEADER_MAX)
		return PROXY_BAD;
	if (len < end)
		return PROXY_MORE;
	if (!v2_block(p, end, out))
		return PROXY_BAD;
	*used = end;
	return PROXY_OK;
}

enum proxy_parse proxy_header_parse(const void *p, size_t len, struct proxy_header *out, size_t *used)
{
	struct proxy_header h = { 0 };
	enum proxy_parse rc = PROXY_BAD;

	if (len == 0)
		return PROXY_MORE;
	if (begins(p, len, word, sizeof(word) - 1))
		rc = v1_parse(p, len, &h, used);
	else if (begins(p, len, signature, sizeof(signature)))
		rc = v2_parse(p, len, &h, used);
	if (rc == PROXY_OK)
		*out = h;
	return rc;
}

/* --- writing --- */

/* The sixteen octets of an address, IPv4 mapped. */
static void as_ipv6(const struct net_addr *a, unsigned char *out)
{
	static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff };

	if (a->family == AF_INET6) {
		memcpy(out, a->ip, 16);
		return;
	}
	memcpy(out, mapped, 12);
	memcpy(out + 12, a->ip, 4);
}

static int v1_write(const struct proxy_header *h, bool v4, struct buf *out)
{
	const struct net_addr *both[] = { &h->source, &h->destination };

	buf_adds(out, v4 ? "PROXY TCP4" : "PROXY TCP6");
	for (int i = 0; i < 2; i++) {
		char text[NET_TEXT_MAX];

		buf_addf(out, " %s%s", !v4 && both[i]->family == AF_INET ? "::ffff:" : "", net_text(both[i], text));
	}
	return buf_addf(out, " %u %u\r\n", h->source.port, h->destination.port);
}

static int v2_write(const struct proxy_header *h, bool v4, struct buf *out)
{
	unsigned char b[4 + 36] = { h->told ? PROXY : LOCAL, !h->told ? UNSPEC : v4 ? TCP4 : TCP6 };
	size_t ip = v4 ? 4 : 16, len = h->told ? 2 * ip + 4 : 0;
	unsigned char *p = b + 4;

	b[3] = (unsigned char)len;
	if (v4) {
		memcpy(p, h->source.ip, 4);
		memcpy(p + 4, h->destination.ip, 4);
	} else {
		as_ipv6(&h->source, p);
		as_ipv6(&h->destination, p + 16);
	}
	p += 2 * ip;
	p[0] = (unsigned char)(h->source.port >> 8);
	p[1] = (unsigned char)h->source.port;
	p[2] = (unsigned char)(h->destination.port >> 8);
	p[3] = (unsigned char)h->destination.port;
	buf_add(out, signature, sizeof(signature));
	return buf_add(out, b, 4 + len);
}

int proxy_header_write(enum proxy_version version, const struct proxy_header *h, struct buf *out)
{
	bool v4 = h->source.family == AF_INET && h->destination.family == AF_INET;

	if (version == PROXY_V2)
		return v2_write(h, v4, out);
	return h->told ? v1_write(h, v4, out) : buf_adds(out, "PROXY UNKNOWN\r\n");
}
