/*
 * live_recipients - whether a server knows its recipients, or says yes to anybody
 */
#ifndef LIVE_RECIPIENTS_H
#define LIVE_RECIPIENTS_H

#include <stdint.h>

struct live_part;
struct smtp_client;

/* Ask an SMTP server for an address in each of the site's domains that nobody has; the session is between transactions, and is so afterwards. may wait */
void live_recipients(struct live_part *p, struct smtp_client *c, int64_t until_ms);

#endif
