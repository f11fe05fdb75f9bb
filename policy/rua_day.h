/*
 * rua_day - the aggregate reports of one day, as workers ask the keeper of the history for them (RFC 9990)
 *
 *     while (rua_day_due(history, &day) == 0) {
 *             while (rua_day_domains(history, day, after, &list) == 0 && list->count > 0)
 *                     for each: rua_day_report(history, day, list->domain[i].name, &who, &report);  send it;
 *                             rua_day_done(history, day, list->domain[i].name, RUA_REPORTED, NULL);
 *     }
 *
 * A day is one of UTC, as its number since 1970: day N has the seconds from N * 86400 on. It can be reported when it is over, a minute after its end.
 * The keeper then reads the day's records once, a little at a time beside its other work, and writes down what each report will hold; until it has, all answers
 * are -EAGAIN: ask again in some seconds. What is written down, and what has become of each report, outlives restarts, and the records themselves.
 *
 * Only domains whose record had an rua= when their mail was seen last are there. Asking twice is harmless, and so is saying twice that something is
 * done. Nothing here keeps two workers from the same report: that is for who asks. Whoever dies between sending and saying so leads to the same
 * report once more, with the same report_id, by which its readers know it.
 *
 * Each call: -EPIPE when the keeper is away, -ETIMEDOUT, -ECANCELED, -ENOMEM, -EBADMSG: what it said is not to be understood; -ENOSYS: it is an older one, which another will follow. may
 * wait
 */
#ifndef RUA_DAY_H
#define RUA_DAY_H

#include <stddef.h>
#include <stdint.h>

#include "base/auto.h"

struct channel;
struct dmarc_report;

enum {
	RUA_DAY_S = 86400,
	RUA_DAY_AFTER_S = 60,           /* after its end a day can be read */
	RUA_DAYS_BACK = 3,              /* an older one that has not been reported never is */
	RUA_DOMAINS_MAX = 10000,        /* of one day: those seen first, but for one organization's hundred-and-first (rua_aggregate.h) */
	RUA_ADDRESSES_MAX = 16,         /* URIs of one rua= */
	RUA_URI_MAX = 512,              /* octets of one */
	RUA_PAGE = 256,                 /* domains of one answer */
	RUA_WHY_MAX = 256,
};

struct rua_domain {
	const char *name;               /* where the policy record stands, canonical */
	const char *const *rua;         /* URIs as published, valid ones: "mailto:dmarc@example.com!10m"; one at least, in order */
	size_t rua_count;
	uint64_t messages;
};

/* One owner, rua_domains_free. */
struct rua_domains {
	struct rua_domain *domain;
	size_t count;
	char **text;                    /* what the names and URIs are pieces of */
	size_t text_count;
};
void rua_domains_free(struct rua_domains *d);
AUTO_DEFINE(rua_domains)

/* Who reports. Borrowed, and copied into the report. host: the right side of the report_id, "mx.example.net"; contact may be NULL. */
struct rua_reporter {
	const char *org_name, *email, *contact, *host;
};

enum rua_fate { RUA_PENDING, RUA_REPORTED, RUA_GIVEN_UP };

/* The oldest day that is over and has reports that are neither sent nor given up. 0; -ENOENT: none; -EAGAIN: it is being read. */
int rua_day_due(struct channel *history, int64_t *day);

/*
 * Those of its domains that are still pending, in order of their names, from the first behind after on (NULL: the first): at most RUA_PAGE. An empty list: there
 * are no more. 0; -EAGAIN; -ENOENT: the day is not over yet, or too long ago.
 */
int rua_day_domains(struct channel *history, int64_t day, const char *after, struct rua_domains **out);

/* The report, to be freed by dmarc_report_free. -ENOENT: there is none, or it has been sent or given up. */
int rua_day_report(struct channel *history, int64_t day, const char *domain, const struct rua_reporter *who, struct dmarc_report **out);

/* It is on its way, or never will be (why: in words, or NULL). 0, also when it had been; -ENOENT: there is no such report. */
int rua_day_done(struct channel *history, int64_t day, const char *domain, enum rua_fate fate, const char *why);

#endif
