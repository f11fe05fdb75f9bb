#include "policy/login_key.h"

#include <sys/socket.h>

#include "policy/state.h"

enum { V4_BITS = 32 };

/* Of IPv6 anybody gets a /56 or a /48 for the asking. */
static const struct { int v6_bits, factor; } networks[LOGIN_NETWORKS] = { { 64, 1 }, { 56, 4 }, { 48, 16 } };

static const char *const kinds[] = { "network", "account", "pair", "own", "known" };

int login_key_networks(const struct net_addr *client)
{
	return net_counted(client).family == AF_INET6 ? LOGIN_NETWORKS : 1;
}

int login_key_bits(int i)
{
	return networks[i].v6_bits;
}

int login_key_factor(int i)
{
	return networks[i].factor;
}

const char *login_key_network(const struct net_addr *client, int i, char out[NET_TEXT_MAX])
{
	return net_network_text(client, V4_BITS, networks[i].v6_bits, out);
}

void login_key(struct state_op *op, enum login_kind kind, const struct net_addr *client, int network, const char *account)
{
	char text[NET_TEXT_MAX];

	if (kind == LOGIN_KIND_NETWORK)
		state_key(op, "login", kinds[kind], login_key_network(client, network, text), NULL);
	else if (kind == LOGIN_KIND_ACCOUNT)
		state_key(op, "login", kinds[kind], account, NULL);
	else
		state_key(op, "login", kinds[kind], login_key_network(client, 0, text), account, NULL);
}
