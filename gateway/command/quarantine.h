/*
 * quarantine - what the commands `gatepost quarantine ...` share
 *
 * Exit status of each: 0 all was done; 1 a wrong option or configuration, or something failed, said on stderr; 2 some message that was
 * named is not there (or its id is the beginning of several), the others were done.
 */
#ifndef QUARANTINE_H
#define QUARANTINE_H

#include <getopt.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "policy/store_view.h"

enum { QUARANTINE_DONE, QUARANTINE_FAILED, QUARANTINE_MISSING };

struct site;

struct quarantine {
	const char *name;               /* of the command, for messages: "list" */
	struct site *site;
	struct store_view *view;
};

/* Configuration, user, store. 0; or -1, and why is on stderr. Close it in any case. */
int quarantine_open(struct quarantine *q, const char *name, const char *conf);
void quarantine_close(struct quarantine *q);
static inline void quarantine_cleanup(struct quarantine *q)
{
	quarantine_close(q);
}

/* "gatepost quarantine NAME: ..." on stderr; returns QUARANTINE_FAILED. */
int quarantine_fail(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The worse of two exit statuses: FAILED, then MISSING, then DONE. */
int quarantine_worse(int a, int b);

/* For what needs the index: whether there is one; else said. */
bool quarantine_has_index(struct quarantine *q);
/* A warning on stderr while the index is being made again. */
void quarantine_warn_incomplete(struct quarantine *q);

/*
 * Each of the ids as they were typed, whole or the beginning, once. What is not there is said. The exit status; fn's counts too.
 */
int quarantine_each(struct quarantine *q, char *const *ids, int count, int (*fn)(void *arg, const char *id), void *arg);

/*
 * As quarantine_each; where no ids are given: all that the filter means, the oldest first.
 */
int quarantine_meant(struct quarantine *q, char *const *ids, int count, const struct store_filter *filter, int (*fn)(void *arg, const char *id),
		     void *arg);

/* Ids or a filter were given, not both. Else said, with the usage. */
bool quarantine_ids_or_filter(const char *name, int count, const struct store_filter *filter, const char *usage);

/* One message leaves the quarantine, for good, and why is recorded. The exit status. */
int quarantine_remove(struct quarantine *q, const char *id, const char *why);

/* Options of a filter, for getopt_long: the short ones are not offered. */
enum { FILTER_TO = 1000, FILTER_FROM, FILTER_CLIENT, FILTER_RULE, FILTER_FACT, FILTER_SINCE, FILTER_UNTIL, FILTER_MESSAGE_ID, FILTER_SUBJECT,
       FILTER_CLASS, FILTER_STATE, FILTER_END };
#define QUARANTINE_FILTER_OPTIONS                                                                                               \
	{ "to", required_argument, NULL, FILTER_TO }, { "from", required_argument, NULL, FILTER_FROM },                         \
	{ "client", required_argument, NULL, FILTER_CLIENT }, { "rule", required_argument, NULL, FILTER_RULE },                 \
	{ "fact", required_argument, NULL, FILTER_FACT }, { "since", required_argument, NULL, FILTER_SINCE },                   \
	{ "until", required_argument, NULL, FILTER_UNTIL }, { "message-id", required_argument, NULL, FILTER_MESSAGE_ID },       \
	{ "subject", required_argument, NULL, FILTER_SUBJECT }, { "class", required_argument, NULL, FILTER_CLASS },             \
	{ "state", required_argument, NULL, FILTER_STATE }
#define QUARANTINE_FILTER_USAGE                                                                                                 \
	"      --to ADDRESS        a recipient; a domain for all in it\n"                                                       \
	"      --from ADDRESS      sender of the envelope or of the header; a domain; <> for the null sender\n"                 \
	"      --client IP         or a network, 192.0.2.0/24\n"                                                                \
	"      --rule NAME         the rule that decided\n"                                                                     \
	"      --fact COMPARISON   such as spf=fail, dmarc!=pass, 'dnsbl.score>=5', 'helo~^dsl'; may be repeated\n"             \
	"      --since WHEN        7d, 12h, 2026-11-20, '2026-11-20 14:30', today, yesterday, tuesday\n"                        \
	"      --until WHEN        before then\n"                                                                               \
	"      --message-id ID     as in the header, with <>\n"                                                                 \
	"      --subject TEXT      that the subject contains\n"                                                                 \
	"      --class NAME        a class of the policy\n"                                                                     \
	"      --state STATE       kept, released, partly-released, perhaps-delivered or release-failed\n"

/* One of them. 0; or -1, and why is on stderr. */
int quarantine_filter_option(const char *name, struct store_filter *f, int option, const char *value);

/* The value of --limit. 0; or -1, and why is on stderr. */
int quarantine_limit(const char *name, const char *text, int64_t *out);

/* "1.2M", at most 5 characters for what a disk can hold. Returns out. */
const char *quarantine_size(uint64_t bytes, char out[32]);

/* ---- printed: quarantine_print.c ---- */

struct quarantine_columns {
	int from, to, rule, subject;    /* widths; subject 0: as long as it is */
};

struct quarantine_printer {
	bool json;
	int64_t told;
	struct quarantine_columns columns;
};

/* A table with a head, or an array of JSON; an entry is what arg, the printer, is told by store_view_list. */
void quarantine_print_begin(struct quarantine_printer *p, bool json);
int quarantine_print_entry(void *arg, const struct store_entry *e);
void quarantine_print_json(struct quarantine_printer *p, const json_t *one);
void quarantine_print_end(struct quarantine_printer *p);

/* Text from outside in width columns (0: as many as it takes); what does not fit is cut, with a ~ for it. */
void quarantine_cell(struct buf *out, const char *text, int width);

/* The first recipient of lines, and how many more there are. */
void quarantine_recipients(struct buf *out, const char *lines, int width);

int quarantine_list(int argc, char **argv);
int quarantine_show(int argc, char **argv);
int quarantine_search(int argc, char **argv);
int quarantine_delete(int argc, char **argv);
int quarantine_purge(int argc, char **argv);
int quarantine_allow(int argc, char **argv);
int quarantine_export(int argc, char **argv);
int quarantine_reindex(int argc, char **argv);

#endif
