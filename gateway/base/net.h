/*
 * net - addresses of the Internet: text, networks, comparisons
 *
 * An IPv4 address that comes mapped in IPv6 (::ffff:192.0.2.1) is unfolded to IPv4 before anything
 * looks at it: every function here that makes a net_addr does so. IPv6 clients are
 * counted by /64, IPv4 by /32 or, for greylisting, /24; those who come from IPv4 by a
 * translator or a tunnel as what they are there.
 */
#ifndef NET_H
#define NET_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

enum { NET_TEXT_MAX = 64 };     /* an address or network in text, with NUL ("[v6]:port" too) */

struct net_addr {
	int family;             /* AF_INET, AF_INET6; 0: none */
	unsigned char ip[16];   /* network order; 4 bytes used for AF_INET */
	unsigned short port;    /* host order */
};

struct net_prefix {             /* a CIDR network */
	struct net_addr addr;   /* host bits zero */
	int bits;
};

/* From and to the socket API; mapped IPv4 comes out as AF_INET. */
void net_from_sockaddr(const struct sockaddr *sa, struct net_addr *out);
socklen_t net_to_sockaddr(const struct net_addr *a, struct sockaddr_storage *out);

/* "192.0.2.1", "2001:db8::1". 0 or -EINVAL; strict (inet_pton). */
int net_parse(const char *text, struct net_addr *out);
/* "192.0.2.1:25", "[2001:db8::1]:25"; without a port: default_port. 0 or -EINVAL. */
int net_parse_port(const char *text, unsigned short default_port, struct net_addr *out);
/* "192.0.2.0/24", "2001:db8::/32", or one address. Host bits must be zero: -EINVAL. */
int net_parse_prefix(const char *text, struct net_prefix *out);

/* Text without and with port; out has NET_TEXT_MAX bytes; returns out. */
const char *net_text(const struct net_addr *a, char *out);
const char *net_text_port(const struct net_addr *a, char *out);

bool net_in(const struct net_addr *a, const struct net_prefix *p);
bool net_same_ip(const struct net_addr *a, const struct net_addr *b);
bool net_is_loopback(const struct net_addr *a);

/*
 * As whom a client is counted: itself, or the IPv4 address in an address of NAT64 (64:ff9b::/96, RFC 6052), 6to4 (2002::/16, RFC 3056) or Teredo
 * (2001::/32, RFC 4380). By /64 all of IPv4 would be one client, one 6to4 host 65,536, and all clients of a Teredo server one. For counting alone:
 * who may do something is a matter of the address itself.
 */
struct net_addr net_counted(const struct net_addr *a);

/* The network that stands for a client, as it is counted: "192.0.2.0/24" with v4_bits 24, "2001:db8::/64" with v6_bits 64. Returns out. */
const char *net_network_text(const struct net_addr *a, int v4_bits, int v6_bits, char *out);

#endif
