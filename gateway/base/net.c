#include "base/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const unsigned char mapped_prefix[12] = { [10] = 0xff, [11] = 0xff };   /* ::ffff:0:0/96 */

static int address_bits(int family)
{
	return family == AF_INET ? 32 : 128;
}

void net_from_sockaddr(const struct sockaddr *sa, struct net_addr *out)
{
	memset(out, 0, sizeof(*out));
	if (sa->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)sa;

		out->family = AF_INET;
		memcpy(out->ip, &in->sin_addr, 4);
		out->port = ntohs(in->sin_port);
	} else if (sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;

		out->port = ntohs(in6->sin6_port);
		if (memcmp(&in6->sin6_addr, mapped_prefix, sizeof(mapped_prefix)) == 0) {
			out->family = AF_INET;
			memcpy(out->ip, in6->sin6_addr.s6_addr + 12, 4);
		} else {
			out->family = AF_INET6;
			memcpy(out->ip, &in6->sin6_addr, 16);
		}
	}
}

socklen_t net_to_sockaddr(const struct net_addr *a, struct sockaddr_storage *out)
{
	memset(out, 0, sizeof(*out));
	if (a->family == AF_INET) {
		struct sockaddr_in *in = (struct sockaddr_in *)out;

		in->sin_family = AF_INET;
		memcpy(&in->sin_addr, a->ip, 4);
		in->sin_port = htons(a->port);
		return sizeof(*in);
	}
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;

	in6->sin6_family = AF_INET6;
	memcpy(&in6->sin6_addr, a->ip, 16);
	in6->sin6_port = htons(a->port);
	return sizeof(*in6);
}

int net_parse(const char *text, struct net_addr *out)
{
	struct in6_addr in6;
	struct in_addr in;

	if (inet_pton(AF_INET, text, &in) == 1) {
		struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr = in };

		net_from_sockaddr((struct sockaddr *)&sa, out);
		return 0;
	}
	if (inet_pton(AF_INET6, text, &in6) == 1) {
		struct sockaddr_in6 sa = { .sin6_family = AF_INET6, .sin6_addr = in6 };

		net_from_sockaddr((struct sockaddr *)&sa, out);
		return 0;
	}
	return -EINVAL;
}

/* Decimal digits only, at most max. */
static int parse_number(const char *text, long max, long *out)
{
	long n = 0;

	if (!*text)
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		n = n * 10 + (*text - '0');
		if (n > max)
			return -EINVAL;
	}
	*out = n;
	return 0;
}

int net_parse_port(const char *text, unsigned short default_port, struct net_addr *out)
{
	char host[NET_TEXT_MAX];
	const char *end, *port = NULL;
	struct net_addr a;
	long n = default_port;

	if (*text == '[') {
		text++;
		end = strchr(text, ']');
		if (!end || (end[1] && end[1] != ':'))
			return -EINVAL;
		port = end[1] ? end + 2 : NULL;
	} else {
		end = strchr(text, ':');
		if (end && strchr(end + 1, ':'))
			end = NULL;                     /* an IPv6 address without brackets */
		port = end ? end + 1 : NULL;
		if (!end)
			end = text + strlen(text);
	}
	if ((size_t)(end - text) >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, (size_t)(end - text));
	host[end - text] = '\0';
	if (net_parse(host, &a) < 0 || (port && parse_number(port, 65535, &n) < 0))
		return -EINVAL;
	a.port = (unsigned short)n;
	*out = a;
	return 0;
}

/* Clears the bits after the first `bits`; true if they were clear already. */
static bool mask(struct net_addr *a, int bits)
{
	bool clean = true;

	for (int i = 0; i < address_bits(a->family) / 8; i++) {
		int keep = bits - i * 8;
		unsigned char m = keep >= 8 ? 0xff : keep <= 0 ? 0 : (unsigned char)(0xff << (8 - keep));

		if (a->ip[i] & ~m)
			clean = false;
		a->ip[i] &= m;
	}
	return clean;
}

int net_parse_prefix(const char *text, struct net_prefix *out)
{
	char host[NET_TEXT_MAX];
	const char *slash = strchr(text, '/');
	size_t len = slash ? (size_t)(slash - text) : strlen(text);
	struct net_prefix p;
	long bits;

	if (len >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, len);
	host[len] = '\0';
	if (net_parse(host, &p.addr) < 0)
		return -EINVAL;
	p.addr.port = 0;
	bits = address_bits(p.addr.family);
	if (slash && parse_number(slash + 1, bits, &bits) < 0)
		return -EINVAL;
	p.bits = (int)bits;
	if (!mask(&p.addr, p.bits))
		return -EINVAL;
	*out = p;
	return 0;
}

const char *net_text(const struct net_addr *a, char *out)
{
	if (!a->family || !inet_ntop(a->family, a->ip, out, NET_TEXT_MAX))
		snprintf(out, NET_TEXT_MAX, "unknown");
	return out;
}

const char *net_text_port(const struct net_addr *a, char *out)
{
	char ip[INET6_ADDRSTRLEN + 1];

	if (!a->family || !inet_ntop(a->family, a->ip, ip, sizeof(ip)))
		snprintf(out, NET_TEXT_MAX, "unknown");
	else
		snprintf(out, NET_TEXT_MAX, a->family == AF_INET6 ? "[%s]:%u" : "%s:%u", ip, a->port);
	return out;
}

bool net_in(const struct net_addr *a, const struct net_prefix *p)
{
	struct net_addr m = *a;

	if (a->family != p->addr.family)
		return false;
	mask(&m, p->bits);
	return net_same_ip(&m, &p->addr);
}

bool net_same_ip(const struct net_addr *a, const struct net_addr *b)
{
	return a->family == b->family &&
	       memcmp(a->ip, b->ip, (size_t)address_bits(a->family) / 8) == 0;
}

bool net_is_loopback(const struct net_addr *a)
{
	static const unsigned char one[16] = { [15] = 1 };

	return a->family == AF_INET ? a->ip[0] == 127 : memcmp(a->ip, one, 16) == 0;
}

struct net_addr net_counted(const struct net_addr *a)
{
	static const struct { unsigned char prefix[12]; size_t len, at; unsigned char flip; } kinds[] = {
		{ { 0, 0x64, 0xff, 0x9b }, 12, 12, 0 },         /* NAT64 */
		{ { 0x20, 0x02 }, 2, 2, 0 },                    /* 6to4 */
		{ { 0x20, 0x01, 0, 0 }, 4, 12, 0xff },          /* Teredo */
	};
	struct net_addr v4 = { .family = AF_INET, .port = a->port };

	for (size_t i = 0; a->family == AF_INET6 && i < sizeof(kinds) / sizeof(*kinds); i++) {
		if (memcmp(a->ip, kinds[i].prefix, kinds[i].len) != 0)
			continue;
		for (size_t k = 0; k < 4; k++)
			v4.ip[k] = a->ip[kinds[i].at + k] ^ kinds[i].flip;
		return v4;
	}
	return *a;
}

const char *net_network_text(const struct net_addr *a, int v4_bits, int v6_bits, char *out)
{
	struct net_addr m = net_counted(a);
	int bits = m.family == AF_INET ? v4_bits : v6_bits;
	size_t len;

	mask(&m, bits);
	net_text(&m, out);
	len = strlen(out);
	snprintf(out + len, NET_TEXT_MAX - len, "/%d", bits);
	return out;
}
