/*
 * dns_any - a struct dns that has the same TXT record under every name, at once; for measuring: nothing is looked up, and nothing kept
 */
#ifndef TESTS_DNS_ANY_H
#define TESTS_DNS_ANY_H

#include "base/buf.h"
#include "base/dns.h"

extern struct dns dns_any;
extern struct buf dns_any_record;       /* the text; 1900 octets at most */

#endif
