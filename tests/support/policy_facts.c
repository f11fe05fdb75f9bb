#include "tests/support/policy_facts.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const spf_words[] = { "none",     "neutral",	  "pass",      "fail",
					 "softfail", "temperror", "permerror", NULL };
static const char *const dkim_words[] = { "none", "pass", "fail", "temperror", NULL };
static const char *const dmarc_words[] = { "none", "pass", "fail", "temperror", "permerror", NULL };
static const char *const policy_words[] = { "none", "quarantine", "reject", NULL };
static const char *const fcrdns_words[] = { "none", "pass", "fail", "temperror", NULL };
static const char *const aligned_words[] = { "spf", "dkim", NULL };

static const struct fact_def connect_facts[] = {
	{ "client.ip", FACT_IP, false, STAGE_CONNECT, NULL, "the client's address" },
	{ "client.fcrdns", FACT_WORD, false, STAGE_CONNECT, fcrdns_words, "reverse name confirmed" },
	{ "client.rdns", FACT_DOMAIN, false, STAGE_CONNECT, NULL, "reverse name" },
	{ "dnsbl.score", FACT_NUMBER, false, STAGE_CONNECT, NULL, "sum of weights" },
	{ "dnsbl.zones", FACT_DOMAIN, true, STAGE_CONNECT, NULL, "zones that list it" },
	{ 0 },
};

static const struct fact_def helo_facts[] = {
	{ "helo", FACT_TEXT, false, STAGE_HELO, NULL, "what the client calls itself" },
	{ "tls", FACT_BOOL, false, STAGE_HELO, NULL, "encrypted" },
	{ 0 },
};

static const struct fact_def mail_facts[] = {
	{ "spf", FACT_WORD, false, STAGE_MAIL, spf_words, "SPF" },
	{ "sender", FACT_ADDRESS, false, STAGE_MAIL, NULL, "envelope sender" },
	{ "sender.domain", FACT_DOMAIN, false, STAGE_MAIL, NULL, "its domain" },
	{ "sender.null", FACT_BOOL, false, STAGE_MAIL, NULL, "null sender" },
	{ "rcpt", FACT_ADDRESS, false, STAGE_RCPT, NULL, "recipient" },
	{ "time", FACT_TIME, false, STAGE_MAIL, NULL, "time of day" },
	{ "class", FACT_TEXT, true, STAGE_RCPT, NULL, "classes of the recipient" },
	{ "score", FACT_NUMBER, false, STAGE_CONNECT, NULL, "sum of score rules" },
	{ "temperror.expired", FACT_BOOL, false, STAGE_CONNECT, NULL, "waited long enough" },
	{ 0 },
};

static const struct fact_def data_facts[] = {
	{ "from.domain", FACT_DOMAIN, false, STAGE_HEADER, NULL, "author domain" },
	{ "from.domains", FACT_DOMAIN, true, STAGE_HEADER, NULL, "author domains" },
	{ "from.count", FACT_NUMBER, false, STAGE_HEADER, NULL, "From fields" },
	{ "header.subject", FACT_TEXT, false, STAGE_HEADER, NULL, "Subject" },
	{ "dkim", FACT_WORD, false, STAGE_DATA, dkim_words, "DKIM" },
	{ "dmarc", FACT_WORD, false, STAGE_DATA, dmarc_words, "DMARC" },
	{ "dmarc.policy", FACT_WORD, false, STAGE_DATA, policy_words, "what the domain asks for" },
	{ "dmarc.aligned", FACT_WORD, true, STAGE_DATA, aligned_words, "what aligned" },
	{ "message.size", FACT_NUMBER, false, STAGE_DATA, NULL, "octets" },
	{ "regex.gave_up", FACT_BOOL, false, STAGE_DATA, NULL, "a regular expression was too much work" },
	{ 0 },
};

void policy_facts_register(void)
{
	static bool done;

	if (done)
		return;
	done = true;
	fact_register(connect_facts, 0);
	fact_register(helo_facts, 1);
	fact_register(mail_facts, 2);
	fact_register(data_facts, 3);
}

static void set_one(struct facts *f, const char *name, char *value)
{
	int id = fact_find(name, strlen(name));
	const struct fact_def *d;
	char *save = NULL;
	int rc = 0;

	assert(id != FACT_NONE);
	d = fact_def(id);
	for (char *p = value; *p; p++)
		if (*p == '+')
			*p = ' ';
	if (strcmp(value, "TEMPERROR") == 0)
		rc = facts_temperror(f, name, "timeout");
	else if (d->list)
		rc = facts_set_empty(f, name);
	else if (d->type == FACT_NUMBER)
		rc = facts_set_num(f, name, atoll(value));
	else if (d->type == FACT_BOOL)
		rc = facts_set_bool(f, name, strcmp(value, "true") == 0);
	else
		rc = facts_set(f, name, value);
	if (d->list && strcmp(value, "TEMPERROR") != 0)
		for (char *v = strtok_r(value, ",", &save); v && rc == 0;
		     v = strtok_r(NULL, ",", &save))
			rc = facts_add(f, name, v);
	assert(rc == 0);
}

void policy_facts_set(struct facts *f, const char *line)
{
	char *copy = strdup(line), *save = NULL;

	assert(copy);
	for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		char *eq = strchr(word, '=');

		assert(eq);
		*eq = '\0';
		set_one(f, word, eq + 1);
	}
	free(copy);
}

const struct fact *policy_facts_get(void *source, int id, bool *final)
{
	struct policy_facts_source *s = source;

	s->asked++;
	*final = s->stage >= fact_def(id)->stage;
	return *final ? facts_get(&s->facts, id) : NULL;
}

struct policy *policy_facts_parse(const char *text)
{
	AUTO(buf) struct buf errors = BUF_INIT(64 * 1024);
	struct policy *p;

	policy_facts_register();
	p = policy_parse("test", text, strlen(text), NULL, &errors, NULL);
	if (!p)
		fprintf(stderr, "%s", buf_str(&errors));
	assert(p);
	return p;
}
