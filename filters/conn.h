/*
 * conn - what the connection itself tells: the client's address, its name, early talking, TLS
 *
 * Three filters, so that a rule about the address does not wait for DNS, and that `tls` is not settled before STARTTLS can come.
 * client.rdns is the name that the reverse zone gives: the one that was confirmed if there are several, a list without a value when there
 * is none. It is confirmed (client.fcrdns = pass) when the name has the client's address; of at most 10 names (RFC 7208 4.6.4 has the same bound).
 */
#ifndef CONN_H
#define CONN_H

#include "filters/filter.h"

extern const struct filter filter_client, filter_rdns, filter_tls;

#endif
