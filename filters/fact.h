/*
 * fact - what is known about a client, an envelope or a message
 *
 * Facts have names ("spf", "dnsbl.score", "from.domain"), a type and a stage: the earliest moment at which they can be
 * known. The definitions stand in the filters' tables; fact_register_all() gathers them once and numbers them, so that rules are
 * compiled to numbers. A struct facts is a small set of values; what is not in it is unknown.
 *
 * A value is TEMPERROR when a filter could not look (DNS away). Policy weighs that: see policy.h. Each value may carry
 * a reason in words ("include:_spf.x.example matched ip4:192.0.2.0/24") that `explain` and the log show.
 */
#ifndef FACT_H
#define FACT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The moments of a session, in order. */
enum stage { STAGE_CONNECT, STAGE_HELO, STAGE_MAIL, STAGE_RCPT, STAGE_HEADER, STAGE_DATA, STAGE_COUNT };

enum fact_type {
	FACT_WORD,      /* one of `words`: spf = fail */
	FACT_TEXT,      /* any bytes without NUL: header.subject ~ /.../ */
	FACT_DOMAIN,    /* a lower-case domain name, compared so; in lists also by parent */
	FACT_ADDRESS,   /* local@domain, domain part lower-case */
	FACT_IP,        /* an address in text; in lists also by network */
	FACT_NUMBER,    /* int64 */
	FACT_BOOL,      /* true or false: `if tls` */
	FACT_TIME,      /* a time of day, kept as text: "06:30" */
};

struct fact_def {
	const char *name;
	enum fact_type type;
	bool list;                      /* several values: a comparison is true if it is for any of them */
	enum stage stage;
	const char *const *words;       /* FACT_WORD: what it can be, NULL last */
	const char *help;               /* a line for man page and `check` */
};

enum { FACT_MAX = 192, FACT_LIST_MAX = 256, FACT_NONE = -1 };

/* Gathers the tables of all filters; asserts that names are unique. Idempotent. */
void fact_register_all(void);
void fact_register(const struct fact_def *table, int owner);    /* name NULL last; owner: index of the filter */
int fact_count(void);
int fact_find(const char *name, size_t len);                    /* its number, or FACT_NONE */
const struct fact_def *fact_def(int id);
int fact_owner(int id);
const char *stage_name(enum stage s);                           /* "connect", "helo", "mail", "rcpt", "header", "data" */

enum fact_state { FACT_UNKNOWN, FACT_KNOWN, FACT_TEMPERROR };

struct fact {
	int16_t id;
	uint8_t state;                  /* enum fact_state */
	uint16_t count;                 /* values of a list; 1 otherwise (an empty list is known, with 0) */
	int64_t number;                 /* FACT_NUMBER, FACT_BOOL */
	char **text;                    /* count strings, for the other types */
	char *why;                      /* or NULL */
};

struct facts {
	struct fact *v;                 /* in order of setting; few, found by walking */
	size_t count, cap;
};

void facts_release(struct facts *f);                            /* zeroed struct is fine, and is empty afterwards */

/*
 * Set by name (asserts that it is defined and of that type). Strings are copied and cut at 64 KiB. A second setting replaces. 0 or -ENOMEM.
 * why, and the printf forms, may be NULL; one that comes out empty is none.
 */
int facts_set(struct facts *f, const char *name, const char *value);
int facts_set_why(struct facts *f, const char *name, const char *value, const char *why_fmt, ...) __attribute__((format(printf, 4, 5)));
int facts_set_num(struct facts *f, const char *name, int64_t value);
int facts_set_bool(struct facts *f, const char *name, bool value);
int facts_add(struct facts *f, const char *name, const char *value);   /* one more to a list; ignored past FACT_LIST_MAX */
/* The same, unless it is there already. -ENOSPC: there are FACT_LIST_MAX others. */
int facts_add_once(struct facts *f, const char *name, const char *value);
int facts_set_empty(struct facts *f, const char *name);                /* a list known to have none */
int facts_temperror(struct facts *f, const char *name, const char *why);
int facts_why(struct facts *f, const char *name, const char *why_fmt, ...) __attribute__((format(printf, 3, 4)));
/* All of from, which is empty afterwards; what f has under the same name gives way. 0, or -ENOMEM: none of them. */
int facts_take(struct facts *f, struct facts *from);

/* NULL when unknown. Valid until the next setting. */
const struct fact *facts_get(const struct facts *f, int id);
const struct fact *facts_get_name(const struct facts *f, const char *name);
/* The first string of a known non-number fact, or NULL. */
const char *facts_word(const struct facts *f, const char *name);

#endif
