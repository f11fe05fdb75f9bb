/*
 * destination_tls - inline: what TLS with the far end has to be, when all that is known is its address and the recipients' domain
 *
 * Where the address is one of the domain's MX hosts, what the domain publishes counts (DANE, MTA-STS), and its tls_policy; else, as with a smarthost, what the
 * configuration says of all.
 */
#ifndef DESTINATION_TLS_H
#define DESTINATION_TLS_H

#include <stdint.h>

struct destination;
struct outbound_tls_demand;

/* 0 and *out, or -errno and why (SMTP_WHY_MAX) as of outbound_tls_host; -EAGAIN, too, where the DNS does not tell the domain's hosts. may wait */
int destination_demand(const struct destination *d, const char *domain, int64_t deadline_ms, struct outbound_tls_demand **out, char *why);

#endif
