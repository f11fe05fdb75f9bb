/*
 * routes - the commands that bring connections to transparent listeners, as a shell script
 *
 * Pure: from a configuration and the addresses of its servers to text. What it makes: a routing rule and table for each family that packets with
 * TRANSPARENT_MARK are delivered by (base/transparent.h), and one nftables table, "inet gatepost":
 *
 *   - packets of connections that are ours already (socket transparent) get the mark; ICMP errors about them, too;
 *   - connections to the servers' addresses on the port of a listener, or, of outbound listeners, from the relay_networks to
 *     anywhere but this machine, are handed to the listener (tproxy);
 *   - `bypass` networks are left out, by source inbound and by destination outbound, and so is what bears our own mark;
 *   - when nobody listens they are refused (TCP reset), or pass unchecked, as asked for.
 *
 * The script can be run again at any time: it replaces what was there.
 */
#ifndef ROUTES_H
#define ROUTES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/net.h"

struct listener_conf;
struct site;

/* An address of one of site->backend. */
struct routes_server {
	size_t backend;
	struct net_addr addr;
};

/* Whether there is any transparent listener; if not, routes_text says so in a comment. */
bool routes_any(const struct site *s);
bool routes_any_of(const struct site *s, int family);

/* The script. pass_when_down: connections pass unchecked when nobody listens. */
void routes_text(const struct site *s, const struct routes_server *server, size_t count, bool pass_when_down, struct buf *out);

/* The nftables part alone. */
void routes_ruleset(const struct site *s, const struct routes_server *server, size_t count, bool pass_when_down, struct buf *out);

/* What passes by, as there is no listener of its family: lines that begin with `before`. */
void routes_missing(const struct site *s, const struct routes_server *server, size_t count, const char *before, struct buf *out);

/* The script that removes it all; nothing of the configuration is needed. */
void routes_undo(struct buf *out);

/* The port that a transparent listener's connections were meant for. */
unsigned short routes_port(const struct listener_conf *l);

#endif
