/*
 * dns_unbound_conf - a libunbound context made as the configuration says; used by dns_unbound.c only
 */
#ifndef DNS_UNBOUND_CONF_H
#define DNS_UNBOUND_CONF_H

#include "base/buf.h"

struct dns_conf;
struct ub_ctx;

/* A context on loop_base(), complete: no setting can fail later. NULL, and the reason in err. */
struct ub_ctx *dns_unbound_context(const struct dns_conf *conf, struct buf *err);

#endif
