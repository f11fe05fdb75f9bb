#include "filters/dmarc_walk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filters/domain.h"

enum { JUMP_LABELS = 7 };       /* 4.10: a name of 8 labels or more is cut to so many */

/* A name that was asked in this message. */
struct node {
	char name[DOMAIN_MAX];
	struct dns_lookup *record;      /* TXT of _dmarc.name; NULL: could not be started */
	bool read;
	bool nxdomain;                  /* of _dmarc.name */
	struct dmarc_name result;
	char *text;                     /* of the record */
	struct dns_lookup *existence;   /* A of name, when wanted */
	bool want_existence;
	struct dmarc_walks *walks;
};

struct dmarc_walks {
	struct dns *dns;
	struct node *node[DMARC_NAMES_MAX];     /* each of its own: lookups point at them */
	size_t count;
};

size_t dmarc_walk_names(const char *domain, const char *names[DMARC_WALK_MAX])
{
	size_t labels = domain_labels(domain), n = 0;

	names[n++] = domain;
	for (size_t up = labels > JUMP_LABELS ? JUMP_LABELS : labels - 1; up > 0; up--)
		names[n++] = domain_tail(domain, up);
	return n;
}

struct dmarc_walks *dmarc_walks_new(struct dns *dns)
{
	struct dmarc_walks *w = calloc(1, sizeof *w);

	if (w)
		w->dns = dns;
	return w;
}

void dmarc_walks_free(struct dmarc_walks *w)
{
	if (!w)
		return;
	for (size_t i = 0; i < w->count; i++) {
		dns_drop(w->node[i]->record);
		dns_drop(w->node[i]->existence);
		free(w->node[i]->text);
		free(w->node[i]);
	}
	free(w);
}

static void existence_start(struct node *n)
{
	if (!n->existence && dns_start(n->walks->dns, n->name, DNS_A, &n->existence) < 0)
		n->existence = NULL;
}

/* The record's lookup is done: a continuation, from the loop's queue; or called at once when it was
 * done already. */
static void record_answered(struct dns_lookup *l, void *arg)
{
	struct node *n = arg;

	if (n->want_existence && l->answer.status == DNS_NXDOMAIN)
		existence_start(n);
}

/* The node of name, asked for now if it was not before; NULL when there are too many or no memory.
 */
static struct node *node_get(struct dmarc_walks *w, const char *name)
{
	char query[sizeof "_dmarc." + DOMAIN_MAX];
	struct node *n;

	for (size_t i = 0; i < w->count; i++) {
		if (strcmp(w->node[i]->name, name) == 0)
			return w->node[i];
	}
	if (w->count == DMARC_NAMES_MAX || strlen(name) >= DOMAIN_MAX)
		return NULL;
	n = calloc(1, sizeof *n);
	if (!n)
		return NULL;
	strcpy(n->name, name);
	n->walks = w;
	w->node[w->count++] = n;
	/* With a domain of nearly 253 bytes this is no name any more: the resolver says
	 * DNS_BADNAME, there is no record. */
	snprintf(query, sizeof query, "_dmarc.%s", name);
	if (dns_start(w->dns, query, DNS_TXT, &n->record) < 0) {
		n->record = NULL;
	} else {
		n->record->notify = record_answered;
		n->record->notify_arg = n;
	}
	return n;
}

/* 4.10, step 2: of the TXT records those that begin with the version count, and only when there is
 * one of them. */
static void records_read(struct node *n, const struct dns_answer *a)
{
	struct dmarc_name *out = &n->result;
	size_t records = 0;

	for (size_t i = 0; i < a->count; i++) {
		struct dmarc_record r;
		char *text;
		size_t len;
		int rc = dns_txt(&a->rr[i], &text, &len);

		if (rc == -ENOMEM) {
			out->temperror = true;
			out->why = "out of memory";
			return;
		}
		if (rc < 0)
			continue;
		if (dmarc_record_parse(text, len, &r) == 0) {
			records++;
			out->record = r;
			out->text_len = len;
			free(n->text);
			n->text = text;
			text = NULL;
		}
		free(text);
	}
	out->text = n->text;
	out->found = records == 1;
	if (records > 1)
		out->why = "several DMARC records at one name";
}

/* may wait */
static void node_read(struct node *n)
{
	const struct dns_answer *a;

	if (n->read)
		return;
	n->read = true;
	n->result = (struct dmarc_name){ .name = n->name, .why = "" };
	if (!n->record) {
		n->result.temperror = true;
		n->result.why = "out of memory";
		return;
	}
	a = dns_wait(n->record);
	n->nxdomain = a->status == DNS_NXDOMAIN;
	record_answered(n->record, n);
	if (a->status == DNS_TEMPFAIL) {
		n->result.temperror = true;
		n->result.why = a->why;         /* lives as long as the lookup, which is kept */
	} else if (a->status == DNS_OK) {
		records_read(n, a);
	}
}

/* may wait */
static void name_read(struct dmarc_walks *w, const char *name, struct dmarc_name *out)
{
	struct node *n = node_get(w, name);

	if (!n) {
		*out = (struct dmarc_name){ .name = name,
			                    .temperror = true,
			                    .why = "too many names for one message" };
		return;
	}
	node_read(n);
	*out = n->result;
}

void dmarc_walk_start(struct dmarc_walks *w, const char *domain)
{
	const char *names[DMARC_WALK_MAX];
	size_t n = dmarc_walk_names(domain, names);

	for (size_t i = 0; i < n; i++)
		node_get(w, names[i]);
}

void dmarc_exists_start(struct dmarc_walks *w, const char *domain)
{
	struct node *n = node_get(w, domain);

	if (!n)
		return;
	n->want_existence = true;
	if (n->record && n->record->future.done)
		record_answered(n->record, n);
}

void dmarc_walk_own(struct dmarc_walks *w, const char *domain, struct dmarc_name *out)
{
	name_read(w, domain, out);
}

/* 4.10.2: which of the names with a record is the organizational domain. */
static const char *walk_org(const struct dmarc_walk *walk, const char *domain)
{
	const struct dmarc_name *last = &walk->step[walk->count - 1];

	/* psd=n and psd=y end a walk, so they can only stand at its end. */
	if (last->found && last->record.psd == DMARC_PSD_YES && walk->count > 1)
		return domain_tail(domain, domain_labels(last->name) + 1);
	for (size_t i = walk->count; i > 0; i--) {
		if (walk->step[i - 1].found)
			return domain_tail(domain, domain_labels(walk->step[i - 1].name));
	}
	return domain;
}

/* 4.10.1: the author domain's own record, else the organizational domain's, else the public suffix
 * domain's. */
static const struct dmarc_name *walk_policy(const struct dmarc_walk *walk)
{
	const struct dmarc_name *last = &walk->step[walk->count - 1];

	if (walk->step[0].found)
		return &walk->step[0];
	for (size_t i = 1; i < walk->count; i++) {
		if (walk->step[i].found && strcmp(walk->step[i].name, walk->org) == 0)
			return &walk->step[i];
	}
	return last->found && last->record.psd == DMARC_PSD_YES ? last : NULL;
}

void dmarc_walk(struct dmarc_walks *w, const char *domain, struct dmarc_walk *out)
{
	const char *names[DMARC_WALK_MAX];
	size_t n = dmarc_walk_names(domain, names);

	*out = (struct dmarc_walk){ .count = 0 };
	dmarc_walk_start(w, domain);
	while (out->count < n) {
		struct dmarc_name *step = &out->step[out->count];

		name_read(w, names[out->count++], step);
		if (step->temperror) {
			out->temperror = true;
			return;
		}
		if (step->found && step->record.psd != DMARC_PSD_UNKNOWN)
			break;
	}
	out->org = walk_org(out, out->step[0].name);
	out->policy = walk_policy(out);
}

int dmarc_exists(struct dmarc_walks *w, const char *domain)
{
	struct node *n = node_get(w, domain);
	const struct dns_answer *a;

	if (!n)
		return -EAGAIN;
	node_read(n);
	if (n->result.temperror)
		return -EAGAIN;
	/* Something at _dmarc below it, or no such type there: then the domain is no NXDOMAIN (RFC
	 * 8020). */
	if (!n->nxdomain)
		return 1;
	existence_start(n);
	if (!n->existence)
		return -EAGAIN;
	a = dns_wait(n->existence);
	if (a->status == DNS_TEMPFAIL)
		return -EAGAIN;
	return a->status != DNS_NXDOMAIN && a->status != DNS_BADNAME;
}
