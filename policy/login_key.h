/*
 * login_key - under which keys of the state (space "login") failures of logins are counted, and who is known
 *
 *     network NETWORK         failures from there: an IPv4 address; of IPv6 the /64, the /56 and the /48
 *     account ACCOUNT         failures at it, from wherever
 *     pair NETWORK ACCOUNT    those of both counts that are of this account from this network (the nearest of IPv6)
 *     own NETWORK ACCOUNT     failures of a pair that is known, which are in no other count
 *     known NETWORK ACCOUNT   the account has succeeded from there
 */
#ifndef LOGIN_KEY_H
#define LOGIN_KEY_H

#include "base/net.h"

struct state_op;

/* What a client is counted as, from near to wide; the second and third of IPv6 alone. */
enum { LOGIN_NETWORKS = 3 };

enum login_kind { LOGIN_KIND_NETWORK, LOGIN_KIND_ACCOUNT, LOGIN_KIND_PAIR, LOGIN_KIND_OWN, LOGIN_KIND_KNOWN };

/* How many networks of this client count: 1 or 3. */
int login_key_networks(const struct net_addr *client);

/* Of the i-th: the bits of IPv6, and how many times as high its thresholds are. */
int login_key_bits(int i);
int login_key_factor(int i);

/* The i-th network of this client. Returns out. */
const char *login_key_network(const struct net_addr *client, int i, char out[NET_TEXT_MAX]);

/* The key of op. network: which, of KIND_NETWORK. account: login_account(); what a kind does not need is not looked at. */
void login_key(struct state_op *op, enum login_kind kind, const struct net_addr *client, int network, const char *account);

#endif
