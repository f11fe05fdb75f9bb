#include "command/routes.h"

#include <string.h>

#include "base/transparent.h"
#include "policy/conf.h"

static const char *ip_word(int family)
{
	return family == AF_INET6 ? "ip6" : "ip";
}

static const char *option_of(int family)
{
	return family == AF_INET6 ? "-6" : "-4";
}

static const char *all_of(int family)
{
	return family == AF_INET6 ? "::/0" : "0.0.0.0/0";
}

static bool is_any(const struct net_addr *a)
{
	static const unsigned char zero[16];

	return memcmp(a->ip, zero, a->family == AF_INET ? 4 : 16) == 0;
}

unsigned short routes_port(const struct listener_conf *l)
{
	return l->intercept ? (unsigned short)l->intercept : l->address.port;
}

bool routes_any_of(const struct site *s, int family)
{
	for (size_t i = 0; i < s->listener_count; i++)
		if (s->listener[i].transparent && s->listener[i].address.family == family)
			return true;
	return false;
}

bool routes_any(const struct site *s)
{
	return routes_any_of(s, AF_INET) || routes_any_of(s, AF_INET6);
}

/* --- routing --- */

static void undo_routing(int family, struct buf *out)
{
	const char *o = option_of(family);

	buf_addf(out, "while ip %s rule del fwmark 0x%x lookup %d 2>/dev/null; do :; done\n", o, TRANSPARENT_MARK, TRANSPARENT_TABLE);
	buf_addf(out, "ip %s route flush table %d 2>/dev/null || true\n", o, TRANSPARENT_TABLE);
}

static void routing(int family, struct buf *out)
{
	const char *o = option_of(family);

	undo_routing(family, out);
	buf_addf(out, "ip %s rule add fwmark 0x%x lookup %d\n", o, TRANSPARENT_MARK, TRANSPARENT_TABLE);
	buf_addf(out, "ip %s route add local %s dev lo table %d\n", o, all_of(family), TRANSPARENT_TABLE);
	if (family == AF_INET)
		buf_adds(out, "sysctl -q -w net.ipv4.ip_forward=1\n"
			 "# The mark must have no part in the check of source addresses: it says that every address is local.\n"
			 "for f in /proc/sys/net/ipv4/conf/*/src_valid_mark; do echo 0 >\"$f\"; done\n");
	else
		buf_adds(out, "sysctl -q -w net.ipv6.conf.all.forwarding=1\n");
}

/* --- the packet filter --- */

static void prefix_add(const struct net_prefix *p, struct buf *out)
{
	char text[NET_TEXT_MAX];

	buf_addf(out, "%s/%d", net_text(&p->addr, text), p->bits);
}

/* "{ a, b }" of this family; false: there is none. */
static bool networks(const struct net_prefix *list, size_t count, int family, struct buf *out)
{
	size_t n = 0;

	for (size_t i = 0; i < count; i++)
		if (list[i].addr.family == family) {
			buf_adds(out, n++ ? ", " : "{ ");
			prefix_add(&list[i], out);
		}
	if (n)
		buf_adds(out, " }");
	return n > 0;
}

static bool servers(const struct site *s, const struct listener_conf *l, const struct routes_server *server, size_t count, struct buf *out)
{
	char text[NET_TEXT_MAX];
	size_t n = 0;

	for (size_t i = 0; i < count; i++) {
		bool before = false;

		if (server[i].addr.family != l->address.family || !listener_has_backend(s, l, &s->backend[server[i].backend]))
			continue;
		for (size_t k = 0; k < i && !before; k++)
			before = net_same_ip(&server[k].addr, &server[i].addr) && listener_has_backend(s, l, &s->backend[server[k].backend]);
		if (before)
			continue;
		buf_addf(out, "%s%s", n++ ? ", " : "{ ", net_text(&server[i].addr, text));
	}
	if (n)
		buf_adds(out, " }");
	return n > 0;
}

/* "ip daddr { ... } tcp dport 25", or false: nothing would match. */
static bool match(const struct site *s, const struct listener_conf *l, const struct routes_server *server, size_t count, struct buf *out)
{
	const char *ip = ip_word(l->address.family);
	bool outbound = l->direction == DIRECTION_OUTBOUND;

	buf_addf(out, "%s %s ", ip, outbound ? "saddr" : "daddr");
	if (!(outbound ? networks(s->relay_networks, s->relay_network_count, l->address.family, out) : servers(s, l, server, count, out)))
		return false;
	buf_addf(out, " tcp dport %u", routes_port(l));
	return true;
}

static void hand_over(const struct listener_conf *l, struct buf *out)
{
	const char *ip = ip_word(l->address.family);
	char text[NET_TEXT_MAX];

	buf_addf(out, "tproxy %s to ", ip);
	if (is_any(&l->address))
		buf_addf(out, ":%u", l->address.port);
	else
		buf_adds(out, net_text_port(&l->address, text));
	buf_addf(out, " meta mark set 0x%x accept\n", TRANSPARENT_MARK);
}

static void listener_rules(const struct site *s, const struct listener_conf *l, const struct routes_server *server, size_t count,
			   bool pass_when_down, struct buf *out)
{
	AUTO(buf) struct buf who = BUF_INIT(1 << 20), bypass = BUF_INIT(1 << 20);
	bool outbound = l->direction == DIRECTION_OUTBOUND;
	const char *ip = ip_word(l->address.family);

	if (!match(s, l, server, count, &who)) {
		buf_addf(out, "\t\t# listener %s: %s\n", l->name,
			 outbound ? "NO relay_networks of this family: nothing is taken in" : "NO backend has an address of this family: nothing is taken in");
		return;
	}
	buf_addf(out, "\t\t# listener %s\n", l->name);
	if (networks(s->bypass, s->bypass_count, l->address.family, &bypass))
		buf_addf(out, "\t\t%s %s %s %s accept\n", buf_str(&who), ip, outbound ? "daddr" : "saddr", buf_str(&bypass));
	buf_addf(out, "\t\t%s ", buf_str(&who));
	hand_over(l, out);
	if (!pass_when_down)
		buf_addf(out, "\t\t%s reject with tcp reset\n", buf_str(&who));
}

/* Inbound ones first: a connection from one of the servers to another is inbound there. */
static void directions(const struct site *s, const struct routes_server *server, size_t count, bool pass_when_down, bool outbound, struct buf *out)
{
	for (size_t i = 0; i < s->listener_count; i++) {
		const struct listener_conf *l = &s->listener[i];

		if (l->transparent && (l->direction == DIRECTION_OUTBOUND) == outbound)
			listener_rules(s, l, server, count, pass_when_down, out);
	}
}

void routes_ruleset(const struct site *s, const struct routes_server *server, size_t count, bool pass_when_down, struct buf *out)
{
	buf_adds(out, "table inet gatepost\ndelete table inet gatepost\n"
		 "table inet gatepost {\n"
		 "\tchain ours {\n"
		 "\t\t# a listener is no connection yet\n"
		 "\t\tsocket wildcard 1 return\n");
	buf_addf(out, "\t\tsocket transparent 1 meta mark set 0x%x accept\n\t}\n", TRANSPARENT_MARK);
	buf_adds(out, "\tchain prerouting {\n\t\ttype filter hook prerouting priority mangle; policy accept;\n");
	buf_addf(out, "\t\tmeta mark 0x%x accept\n", TRANSPARENT_OWN);
	buf_adds(out, "\t\tmeta l4proto { tcp, icmp, icmpv6 } jump ours\n"
		 "\t\tfib daddr type { local, broadcast, anycast, multicast } accept\n");
	directions(s, server, count, pass_when_down, false, out);
	directions(s, server, count, pass_when_down, true, out);
	buf_adds(out, "\t}\n}\n");
}

/* --- the scripts --- */

/* Whether there is a transparent outbound listener; family 0: of any. */
static bool takes_out(const struct site *s, int family)
{
	for (size_t i = 0; i < s->listener_count; i++) {
		const struct listener_conf *l = &s->listener[i];

		if (l->transparent && l->direction == DIRECTION_OUTBOUND && (!family || l->address.family == family))
			return true;
	}
	return false;
}

/* The same of inbound listeners whose connections go to this server. */
static bool takes_in(const struct site *s, const struct routes_server *server, int family)
{
	for (size_t i = 0; i < s->listener_count; i++) {
		const struct listener_conf *l = &s->listener[i];

		if (l->transparent && l->direction != DIRECTION_OUTBOUND && (!family || l->address.family == family) &&
		    listener_has_backend(s, l, &s->backend[server->backend]))
			return true;
	}
	return false;
}

void routes_missing(const struct site *s, const struct routes_server *server, size_t count, const char *before, struct buf *out)
{
	char text[NET_TEXT_MAX];

	for (size_t i = 0; i < count; i++)
		if (takes_in(s, &server[i], 0) && !takes_in(s, &server[i], server[i].addr.family))
			buf_addf(out, "%sbackend %s has the address %s, and no transparent listener is of that family: connections to it pass by, unchecked\n", before,
				 s->backend[server[i].backend].name, net_text(&server[i].addr, text));
	for (size_t i = 0; i < s->relay_network_count && takes_out(s, 0); i++) {
		const struct net_prefix *n = &s->relay_networks[i];

		if (!takes_out(s, n->addr.family))
			buf_addf(out, "%srelay_networks has %s/%d, and no transparent outbound listener is of that family: its mail passes by, unchecked\n", before,
				 net_text(&n->addr, text), n->bits);
	}
}

void routes_text(const struct site *s, const struct routes_server *server, size_t count, bool pass_when_down, struct buf *out)
{
	buf_addf(out, "#!/bin/sh\n# Interception for the transparent listeners of %s; as root, on the gateway:\n"
		 "#     gatepost routes -c %s | sh\n# Removed by: gatepost routes --undo | sh\nset -e\n\n", s->path, s->path);
	if (!routes_any(s)) {
		buf_adds(out, "# There is no listener with transparent = yes: nothing to be done.\n");
		return;
	}
	routes_missing(s, server, count, "# WARNING: ", out);
	buf_adds(out, "# Packets with the mark are for this machine, whatever their address; all others are forwarded.\n");
	if (routes_any_of(s, AF_INET))
		routing(AF_INET, out);
	if (routes_any_of(s, AF_INET6))
		routing(AF_INET6, out);
	buf_addf(out, "\n# When Gatepost is down: %s.\n", pass_when_down ? "connections pass, unchecked" : "connections are refused, and senders come again");
	buf_adds(out, "nft -f - <<'END'\n");
	routes_ruleset(s, server, count, pass_when_down, out);
	buf_adds(out, "END\n");
}

void routes_undo(struct buf *out)
{
	buf_adds(out, "#!/bin/sh\n# Removes the interception that `gatepost routes` has made. Forwarding stays as it is.\nset -e\n");
	buf_adds(out, "nft delete table inet gatepost 2>/dev/null || true\n");
	undo_routing(AF_INET, out);
	undo_routing(AF_INET6, out);
}
