#include "command/check_dkim.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/dns_unbound.h"
#include "base/log.h"
#include "base/task.h"
#include "command/dkim_published.h"
#include "filters/domain.h"
#include "policy/conf.h"

enum { ANSWER_MS = 10000, WHY_MAX = 256 };

struct question {
	const char *section, *domain, *option;
	const struct dkim_private *key;
	struct dns_lookup *lookup;
	char name[DOMAIN_MAX];
};

struct asking {
	const struct site *site;
	struct dns *dns;
	struct question *question;
	size_t count;
	int bad;
};

static size_t key_count(const struct site *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->dkim_sign_count; i++)
		n += s->dkim_sign[i].key_count;
	return n + (s->arc_seal != NULL);
}

static void question_start(struct asking *a, struct question q, const char *selector)
{
	if (dkim_published_name(selector, q.domain, q.name) < 0 || dns_start_within(a->dns, q.name, DNS_TXT, ANSWER_MS, &q.lookup) < 0)
		q.lookup = NULL;
	a->question[a->count++] = q;
}

static void questions_start(struct asking *a)
{
	const struct site *s = a->site;

	for (size_t i = 0; i < s->dkim_sign_count; i++) {
		const struct dkim_sign_conf *d = &s->dkim_sign[i];

		for (size_t k = 0; k < d->key_count; k++)
			question_start(a, (struct question){ .section = "dkim_sign", .domain = d->domain, .option = "keys", .key = d->key[k].key }, d->key[k].selector);
	}
	if (s->arc_seal)
		question_start(a, (struct question){ .section = "arc_seal", .domain = s->arc_seal->domain, .option = "key", .key = s->arc_seal->key },
			       s->arc_seal->selector);
}

static bool is_bad(enum dkim_published p)
{
	return p == DKIM_PUBLISHED_MISSING || p == DKIM_PUBLISHED_REVOKED || p == DKIM_PUBLISHED_OTHER || p == DKIM_PUBLISHED_BAD;
}

static void ask_task(void *arg)
{
	struct asking *a = arg;

	questions_start(a);
	for (size_t i = 0; i < a->count; i++) {
		struct question *q = &a->question[i];
		enum dkim_published p = DKIM_PUBLISHED_UNKNOWN;
		char why[WHY_MAX] = "it could not be looked up";

		if (q->lookup)
			p = dkim_published_judge(dns_wait(q->lookup), q->key, why, sizeof(why));
		if (p != DKIM_PUBLISHED_GOOD)
			fprintf(stderr, "%s: %s %s: TXT %s: %s%s%s\n", a->site->path, q->section, q->domain, q->name, why,
				is_bad(p) && p != DKIM_PUBLISHED_MISSING ? ", expected the one of " : "", is_bad(p) && p != DKIM_PUBLISHED_MISSING ? q->option : "");
		a->bad |= is_bad(p);
		dns_drop(q->lookup);
	}
	loop_stop();
}

int check_dkim(const struct site *s)
{
	AUTO(buf) struct buf errors = BUF_INIT(64 * 1024);
	struct asking a = { .site = s };
	struct dns_unbound *unbound;

	if (!key_count(s))
		return 0;
	log_open("gatepost check", LOG_LEVEL_WARNING);
	a.question = calloc(key_count(s), sizeof(*a.question));
	if (!a.question || loop_init() < 0) {
		free(a.question);
		fprintf(stderr, "gatepost check: out of memory\n");
		return 1;
	}
	unbound = dns_unbound_new(&s->dns, &errors);
	if (unbound)
		a.dns = dns_unbound_dns(unbound);
	else
		fprintf(stderr, "%s: %s\n", s->path, buf_str(&errors));
	if (unbound && task_spawn("check", ask_task, &a, NULL) == 0)
		loop_run();
	dns_unbound_free(unbound);
	loop_release();
	free(a.question);
	return a.bad;
}
