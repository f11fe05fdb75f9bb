#include "command/report_names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/dns_unbound.h"
#include "base/log.h"
#include "base/net.h"
#include "base/task.h"
#include "command/command.h"
#include "policy/conf.h"

enum { AT_ONCE = 100, TIMEOUT_MS = 5000, CACHE = 8 << 20, ERRORS_MAX = 64 * 1024 };

struct question {
	struct report_sum *sum;
	size_t max;
	struct dns *dns;
};

static struct dns_lookup *ask(struct dns *dns, const char *ip)
{
	struct dns_lookup *l = NULL;
	struct sockaddr_storage sa;
	struct net_addr addr;
	char reverse[DNS_NAME_MAX];

	if (net_parse(ip, &addr) < 0)
		return NULL;
	net_to_sockaddr(&addr, &sa);
	if (dns_reverse((struct sockaddr *)&sa, NULL, reverse, sizeof(reverse)) == 0)
		(void)dns_start(dns, reverse, DNS_PTR, &l);
	return l;
}

/* may wait */
static void take(struct report_source *s, struct dns_lookup *l)
{
	const struct dns_answer *a = dns_wait(l);
	char name[DNS_NAME_MAX];

	if (a->status == DNS_OK && dns_name(&a->rr[0], 0, name) == 0)
		s->name = strdup(name);
}

static void ask_some(struct dns *dns, struct report_source *s, size_t count)
{
	struct dns_lookup **l = calloc(count, sizeof(struct dns_lookup *));

	for (size_t i = 0; l && i < count; i++)
		l[i] = ask(dns, s[i].ip);
	for (size_t i = 0; l && i < count; i++) {
		if (l[i])
			take(&s[i], l[i]);
		dns_drop(l[i]);
	}
	free(l);
}

static void ask_task(void *arg)
{
	struct question *q = arg;

	for (size_t i = 0; i < q->sum->domain_count; i++) {
		struct report_domain *d = &q->sum->domain[i];
		size_t count = q->max && q->max < d->source_count ? q->max : d->source_count;

		for (size_t at = 0; at < count; at += AT_ONCE)
			ask_some(q->dns, d->source + at, count - at < AT_ONCE ? count - at : AT_ONCE);
	}
	loop_stop();
}

static int say(const char *what, const char *why)
{
	fprintf(stderr, "gatepost report: %s: %s\n", what, why);
	return -1;
}

static int run(struct question *q, const struct dns_conf *conf)
{
	AUTO(buf) struct buf errors = BUF_INIT(ERRORS_MAX);
	struct dns_unbound *unbound;
	int rc = 0;

	if (loop_init() < 0)
		return say("event loop", "cannot start");
	unbound = dns_unbound_new(conf, &errors);
	if (!unbound) {
		rc = say("resolver", buf_str(&errors));
	} else {
		q->dns = dns_unbound_dns(unbound);
		if (task_spawn("names", ask_task, q, NULL) < 0)
			rc = say("task", "out of memory");
		else
			loop_run();
	}
	loop_unwind();
	dns_unbound_free(unbound);
	loop_release();
	return rc;
}

int report_names(struct report_sum *s, size_t max, const char *path)
{
	AUTO(buf) struct buf errors = BUF_INIT(ERRORS_MAX);
	struct dns_conf otherwise = { .timeout_ms = TIMEOUT_MS, .dnssec = true, .cache_bytes = CACHE };
	struct question q = { .sum = s, .max = max };
	struct site *site = NULL;
	int rc;

	if (path || access(GATEPOST_CONFIG, F_OK) == 0) {
		fact_register_all();
		site = site_load_command(path ? path : GATEPOST_CONFIG, &errors, NULL);
		if (!site) {
			fputs(buf_str(&errors), stderr);
			return -1;
		}
	}
	log_open("gatepost report", LOG_LEVEL_ERROR);
	rc = run(&q, site ? &site->dns : &otherwise);
	site_free(site);
	return rc;
}
