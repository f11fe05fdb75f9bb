/*
 * filter_bench - one client and one transaction for tests of filters, with a DNS table
 *
 *     struct filter_bench b;
 *     filter_bench_open(&b, "192.0.2.7");
 *     dns_table_add(b.dns, ...);
 *     b.txn.stage = STAGE_MAIL;
 *     assert_string_equal(filter_bench_word(&b, "helo.syntax"), "ok");
 *     filter_bench_close(&b);
 */
#ifndef TESTS_FILTER_BENCH_H
#define TESTS_FILTER_BENCH_H

#include "filters/filter.h"
#include "policy/conf.h"
#include "tests/support/dns_table.h"

struct filter_bench {
	struct dns_table *dns;
	struct site site;
	struct client client;
	struct txn txn;
	char text[512];
};

void filter_bench_open(struct filter_bench *b, const char *client_ip);
void filter_bench_close(struct filter_bench *b);
/* Forget what is known of client and transaction, as for a new client. */
void filter_bench_again(struct filter_bench *b, const char *client_ip);
/* Start the filter of that name, as at its stage. */
void filter_bench_start(struct filter_bench *b, const char *filter);
/* A fact by running its filter. NULL: unknown. may wait */
const struct fact *filter_bench_fact(struct filter_bench *b, const char *name);
/* The same as text: "unknown", "TEMPERROR", "true", a number, the values of a list with commas between. */
const char *filter_bench_word(struct filter_bench *b, const char *name);
const char *filter_bench_why(struct filter_bench *b, const char *name);        /* "" if none */

#endif
