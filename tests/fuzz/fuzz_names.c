/*
 * fuzz_names - addresses, networks, domains, arguments of ETRN, parameters of DSN: what is understood is understood the same when it is written out
 */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/net.h"
#include "filters/domain.h"
#include "spool/dsn_params.h"
#include "spool/etrn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void address(const char *text)
{
	struct net_addr a, twin;
	struct net_prefix n, again;
	char out[NET_TEXT_MAX], net[NET_TEXT_MAX + 8];

	if (net_parse(text, &a) == 0) {
		assert(net_parse(net_text(&a, out), &twin) == 0 && net_same_ip(&a, &twin));
		assert(net_counted(&a).family);
	}
	if (net_parse_port(text, 25, &a) == 0)
		assert(net_parse_port(net_text_port(&a, out), 1, &twin) == 0 && net_same_ip(&a, &twin) && (a.port == twin.port || a.port == 0));
	if (net_parse_prefix(text, &n) == 0) {
		snprintf(net, sizeof(net), "%s/%d", net_text(&n.addr, out), n.bits);
		assert(net_parse_prefix(net, &again) == 0 && again.bits == n.bits && net_same_ip(&n.addr, &again.addr) && net_in(&n.addr, &n));
	}
}

static void domain(const char *p, size_t len)
{
	char out[DOMAIN_MAX], twice[DOMAIN_MAX];
	size_t labels;

	if (domain_canonical(p, len, out) < 0)
		return;
	assert(strspn(out, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == strlen(out) && strlen(out) < DOMAIN_MAX);
	assert(domain_canonical(out, strlen(out), twice) == 0 && strcmp(out, twice) == 0);
	labels = domain_labels(out);
	assert(labels > 0 && strcmp(domain_tail(out, labels), out) == 0);
	assert(domain_within(out, domain_tail(out, 1)));
}

static void etrn(const char *p, size_t len)
{
	char again[SMTP_DOMAIN_MAX + 3];
	struct etrn e, twin;

	if (etrn_parse(p, len, &e) < 0)
		return;
	snprintf(again, sizeof(again), "%s%s", e.kind == ETRN_BELOW ? "@" : e.kind == ETRN_QUEUE ? "#" : "", e.name);
	assert(e.name[0] && etrn_parse(again, strlen(again), &twin) == 0 && twin.kind == e.kind && strcmp(twin.name, e.name) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = strndup((const char *)data, size);
	struct dsn_params d;

	assert(text);
	address(text);
	domain((const char *)data, size);
	etrn((const char *)data, size);
	dsn_params_parse(text, &d);
	assert(strlen(d.envid) <= SMTP_ENVID_MAX && strlen(d.orcpt) <= SMTP_ORCPT_MAX);        /* who writes them cleans them: spool/dsn_text.h */
	dsn_wants_failure(text);
	dsn_wants_delay(text);
	dsn_wants_success(text);
	free(text);
	return 0;
}
