#include "smtp/sealing.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "filters/dkim_header.h"
#include "filters/dkim_signer.h"
#include "filters/filter.h"
#include "filters/signed_change.h"
#include "policy/authres.h"
#include "policy/conf.h"

static void log_failed(const struct sealing *s, int rc, const char *why)
{
	log_error("seal-failed", "tx", s->id, "domain", s->site->arc_seal->domain, "error", strerror(-rc), "why", why, NULL);
}

/* 1: it is to be sealed; 0: it is not; -errno. */
static int is_due(const struct sealing *s)
{
	const struct arc_seal_conf *conf = s->site->arc_seal;

	if (conf->when == ARC_SEAL_ALWAYS || s->body_replaced)
		return 1;
	return signed_change(s->arrived, s->header, s->len, conf->field, conf->field_count);
}

/*
 * What can be said of the chain in the header that is sent. What was found is of the one that came: when rules or milters have changed that, nothing is known
 * of what is left; when nothing is left, it does not matter.
 */
static int chain_look(const struct sealing *s, enum arc_cv *found)
{
	bool any = false;
	int other = signed_change_chain(s->arrived, s->header, s->len, &any);

	*found = other > 0 && any ? ARC_CV_UNREAD : s->found;
	return other < 0 ? other : 0;
}

int sealing_results_end(const struct site *site, struct buf *results)
{
	if (!results->len)
		buf_adds(results, site->authserv_id);
	if (!memchr(results->data ? results->data : "", ';', results->len))
		buf_adds(results, "; none");
	return results->failed ? -ENOSPC : 0;
}

/* Of the fields in the header that is sent those that are ours: others have been removed from it. */
static int results_gather(const struct sealing *s, struct buf *out)
{
	static const char name[] = "Authentication-Results";
	AUTO(dkim_header) struct dkim_header *h = dkim_header_new();
	int rc = h ? dkim_header_add_text(h, s->header, s->len) : -ENOMEM;

	for (size_t i = 0; rc == 0 && i < dkim_header_count(h); i++) {
		const struct dkim_field *f = dkim_header_at(h, i);
		size_t len;
		const char *body;

		if (!dkim_field_is(f, name))
			continue;
		body = dkim_field_body(f, &len);
		authres_gather(body, len, s->site->authserv_id, out);
	}
	return rc < 0 ? rc : sealing_results_end(s->site, out);
}

/* 0, 1: there is to be none, -errno. may wait */
static int make(const struct sealing *s, struct buf *set, const char **why)
{
	AUTO(buf) struct buf results = BUF_INIT(ARC_SEAL_MAX / 2);
	struct arc_seal_order order = { .conf = s->site->arc_seal, .header = s->header, .len = s->len, .results = s->results, .now_s = clock_wall_s() };
	int rc = chain_look(s, &order.found);

	*why = "no memory, or a header that is too large";
	if (rc == 0 && !s->results)
		rc = results_gather(s, &results);
	if (rc < 0)
		return rc;
	if (!s->results)
		order.results = buf_str(&results);
	order.results_len = strlen(order.results);
	*why = "the body could not be read";
	rc = dkim_signer_body(s->message, true, order.body_hash);
	return rc < 0 ? rc : arc_sealer_seal(&order, set, why);
}

int sealing_make(const struct sealing *s, struct buf *set)
{
	const struct arc_seal_conf *conf = s->site->arc_seal;
	const char *why = "no memory, or a header that is too large";
	int rc = conf ? is_due(s) : 0;

	if (rc == 0)
		return 0;
	if (rc > 0)
		rc = make(s, set, &why);
	if (rc == 0) {
		log_info("sealed", "tx", s->id, "domain", conf->domain, "selector", conf->selector, NULL);
		return 0;
	}
	buf_release(set);
	buf_init(set, ARC_SEAL_MAX);
	if (rc < 0)
		log_failed(s, rc, why);
	else
		log_info("not-sealed", "tx", s->id, "why", why, NULL);
	return rc < 0 ? rc : 0;
}

enum arc_cv sealing_found(const struct fact *arc)
{
	const char *word = arc && arc->state == FACT_KNOWN && arc->count > 0 ? arc->text[0] : "";

	return strcmp(word, "pass") == 0 ? ARC_CV_PASS : strcmp(word, "fail") == 0 ? ARC_CV_FAIL : strcmp(word, "none") == 0 ? ARC_CV_NONE : ARC_CV_UNREAD;
}

/* The set, then the header, in place of it. */
static int put_above(const struct buf *set, struct buf *header)
{
	AUTO(buf) struct buf all = BUF_INIT(header->max + ARC_SEAL_MAX);
	struct buf was = *header;

	buf_add(&all, set->data, set->len);
	if (buf_add(&all, header->data, header->len) < 0)
		return -ENOMEM;
	*header = all;
	all = was;
	return 0;
}

void sealing_apply(struct txn *t, const struct message *arrived, bool body_replaced, struct buf *header)
{
	AUTO(buf) struct buf set = BUF_INIT(ARC_SEAL_MAX);
	int id = fact_find("arc", 3), rc;
	struct sealing s = { .site = t->site, .id = t->id, .message = t->message, .arrived = arrived ? arrived : t->message, .body_replaced = body_replaced,
			     .header = header->data, .len = header->len };

	if (!t->site->arc_seal || t->client->relay || t->seal_away)
		return;
	s.found = sealing_found(id == FACT_NONE ? NULL : filters_fact(t, id));
	t->seal_away = sealing_make(&s, &set) == -ETIMEDOUT;
	if (!set.len)
		return;
	rc = put_above(&set, header);
	if (rc < 0)
		log_failed(&s, rc, "no memory");
}
