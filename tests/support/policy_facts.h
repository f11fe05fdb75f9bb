/*
 * policy_facts - a small vocabulary of facts, and facts from a line of text, for tests of the
 * policy language
 *
 * The vocabulary is registered instead of the filters' (fact_register_all must not be called as
 * well), so that tests of the language do not change when a filter does.
 */
#ifndef TESTS_POLICY_FACTS_H
#define TESTS_POLICY_FACTS_H

#include "policy/policy.h"

void policy_facts_register(void);       /* idempotent */

/*
 * "spf=fail dnsbl.score=5 tls=true from.domains=a.example,b.example header.subject=two+words
 * dkim=TEMPERROR sender=": separated by blanks, + stands for a blank, commas separate the values of
 * a list, a list with nothing is empty. Asserts that it makes sense.
 */
void policy_facts_set(struct facts *f, const char *line);

/* A source of facts that shows those whose stage is at most `stage`. */
struct policy_facts_source {
	struct facts facts;
	enum stage stage;
	int asked;              /* how often */
};

const struct fact *policy_facts_get(void *source, int id, bool *final);

/* Parse or fail the test, printing the errors. */
struct policy *policy_facts_parse(const char *text);

#endif
