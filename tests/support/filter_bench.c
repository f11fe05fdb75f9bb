#include "tests/support/filter_bench.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void client_set(struct filter_bench *b, const char *client_ip)
{
	assert(net_parse(client_ip, &b->client.addr) == 0);
	net_text(&b->client.addr, b->client.ip);
}

void filter_bench_open(struct filter_bench *b, const char *client_ip)
{
	fact_register_all();
	memset(b, 0, sizeof(*b));
	b->dns = dns_table_new();
	txn_init(&b->txn, &b->site, dns_table_dns(b->dns), &b->client);
	client_set(b, client_ip);
}

void filter_bench_again(struct filter_bench *b, const char *client_ip)
{
	filters_release(&b->txn.evidence);
	filters_release(&b->client.evidence);
	client_set(b, client_ip);
}

void filter_bench_close(struct filter_bench *b)
{
	txn_release(&b->txn);
	client_release(&b->client);
	dns_table_free(b->dns);
}

void filter_bench_start(struct filter_bench *b, const char *filter)
{
	int i = 0;

	while (filters[i] && strcmp(filters[i]->name, filter) != 0)
		i++;
	assert(filters[i]);
	filters_start(&b->txn, filters[i]->stage, 1u << i);
}

const struct fact *filter_bench_fact(struct filter_bench *b, const char *name)
{
	int id = fact_find(name, strlen(name));

	assert(id != FACT_NONE);
	return filters_fact(&b->txn, id);
}

const char *filter_bench_word(struct filter_bench *b, const char *name)
{
	const struct fact *f = filter_bench_fact(b, name);
	size_t n = 0;

	if (!f)
		return "unknown";
	if (f->state == FACT_TEMPERROR)
		return "TEMPERROR";
	if (fact_def(f->id)->type == FACT_BOOL)
		return f->number ? "true" : "false";
	if (fact_def(f->id)->type == FACT_NUMBER) {
		snprintf(b->text, sizeof(b->text), "%lld", (long long)f->number);
		return b->text;
	}
	b->text[0] = '\0';
	for (size_t i = 0; i < f->count && n < sizeof(b->text); i++)
		n += (size_t)snprintf(b->text + n, sizeof(b->text) - n, "%s%s", i ? "," : "", f->text[i]);
	return b->text;
}

const char *filter_bench_why(struct filter_bench *b, const char *name)
{
	const struct fact *f = filter_bench_fact(b, name);

	return f && f->why ? f->why : "";
}
