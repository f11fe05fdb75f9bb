#include "policy/store_filter.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json_whole.h"
#include "filters/fact.h"
#include "policy/policy_regex.h"
#include "policy/sqlite_file.h"
#include "policy/store_id.h"
#include "policy/store_meta.h"

void store_filter_init(struct store_filter *f)
{
	memset(f, 0, sizeof(*f));
	buf_init(&f->to, STORE_META_TEXT + 16);
	buf_init(&f->from, STORE_META_TEXT + 16);
}

void store_filter_release(struct store_filter *f)
{
	buf_release(&f->to);
	buf_release(&f->from);
	for (size_t i = 0; i < f->fact_count; i++) {
		free(f->fact[i].name);
		free(f->fact[i].value);
		policy_regex_free(f->fact[i].regex);
	}
	f->fact_count = 0;
}

/* ---- what is typed ---- */

static int name_set(const char *option, const char *text, struct buf *out, struct buf *err)
{
	if (store_meta_name(text, out) == 0)
		return 0;
	buf_addf(err, "%s: that is no address, expected local@domain, a domain, or <> for the null sender", option);
	return -EINVAL;
}

int store_filter_to(struct store_filter *f, const char *text, struct buf *err)
{
	f->by_to = true;
	return name_set("--to", text, &f->to, err);
}

int store_filter_from(struct store_filter *f, const char *text, struct buf *err)
{
	f->by_from = true;
	return name_set("--from", text, &f->from, err);
}

int store_filter_client(struct store_filter *f, const char *text, struct buf *err)
{
	f->by_client = true;
	if (net_parse_prefix(text, &f->client) == 0)
		return 0;
	buf_adds(err, "--client: that is no address, expected one such as 192.0.2.1, or a network such as 192.0.2.0/24");
	return -EINVAL;
}

static const struct { const char *text; enum store_compare compare; } signs[] = {
	{ "!=", COMPARE_UNEQUAL }, { "<=", COMPARE_LESS_EQUAL }, { ">=", COMPARE_GREATER_EQUAL }, { "=", COMPARE_EQUAL },
	{ "<", COMPARE_LESS }, { ">", COMPARE_GREATER }, { "~", COMPARE_MATCH },
};

static bool sign_at(const char *p, enum store_compare *compare, size_t *len)
{
	for (size_t i = 0; i < sizeof(signs) / sizeof(*signs); i++)
		if (strncmp(p, signs[i].text, strlen(signs[i].text)) == 0) {
			*compare = signs[i].compare;
			*len = strlen(signs[i].text);
			return true;
		}
	return false;
}

static const char *skip_blanks(const char *p)
{
	return p + strspn(p, " ");
}

static bool number_of(const char *text, int64_t *out)
{
	size_t minus = *text == '-', digits = strspn(text + minus, "0123456789");

	if (digits == 0 || digits > 18 || text[minus + digits])
		return false;
	*out = strtoll(text, NULL, 10);
	return true;
}

/* /x/ as in rules, or x. */
static int regex_set(struct store_fact_filter *c, struct buf *err)
{
	size_t len = strlen(c->value), offset = 0;
	bool slashes = len >= 2 && c->value[0] == '/' && c->value[len - 1] == '/';

	buf_addf(err, "--fact: %s: ", c->value);
	c->regex = policy_regex_new(c->value + slashes, len - 2 * slashes, &offset, err);
	if (!c->regex)
		return -EINVAL;
	buf_clear(err);
	return 0;
}

/* A word that the fact never is would find nothing, and look as if nothing was there. */
static int word_check(const struct store_fact_filter *c, int id, struct buf *err)
{
	const struct fact_def *d = fact_def(id);

	if (d->type != FACT_WORD || (c->compare != COMPARE_EQUAL && c->compare != COMPARE_UNEQUAL) || strcasecmp(c->value, "temperror") == 0)
		return 0;
	for (const char *const *w = d->words; *w; w++)
		if (strcasecmp(*w, c->value) == 0)
			return 0;
	buf_addf(err, "--fact: %s is never %s, expected", d->name, c->value);
	for (const char *const *w = d->words; *w; w++)
		buf_addf(err, "%s%s", w == d->words ? " " : ", ", *w);
	return -EINVAL;
}

static int value_check(struct store_fact_filter *c, struct buf *err)
{
	int id = fact_count() > 0 ? fact_find(c->name, strlen(c->name)) : FACT_NONE;
	bool ordered = c->compare >= COMPARE_LESS && c->compare <= COMPARE_GREATER_EQUAL;

	c->is_number = number_of(c->value, &c->number);
	if (ordered && !c->is_number) {
		buf_addf(err, "--fact: %s is no number, expected one after <, <=, > and >=", c->value);
		return -EINVAL;
	}
	if (fact_count() > 0 && id == FACT_NONE) {
		buf_addf(err, "--fact: there is no fact %s, see gatepost-policy(5)", c->name);
		return -EINVAL;
	}
	if (id != FACT_NONE && word_check(c, id, err) < 0)
		return -EINVAL;
	return c->compare == COMPARE_MATCH ? regex_set(c, err) : 0;
}

int store_filter_fact(struct store_filter *f, const char *text, struct buf *err)
{
	size_t name = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789._"), sign = 0;
	const char *p = skip_blanks(text + name);
	struct store_fact_filter *c = &f->fact[f->fact_count];

	if (f->fact_count == STORE_FILTER_FACTS) {
		buf_addf(err, "--fact: at most %d", STORE_FILTER_FACTS);
		return -EINVAL;
	}
	if (name == 0 || !sign_at(p, &c->compare, &sign)) {
		buf_addf(err, "--fact: \"%s\" is no comparison, expected one such as spf=fail, \"dnsbl.score>=5\" or \"helo~^dsl\"", text);
		return -EINVAL;
	}
	memset(&c->name, 0, sizeof(c->name));
	c->name = strndup(text, name);
	c->value = strdup(skip_blanks(p + sign));
	c->regex = NULL;
	if (!c->name || !c->value) {
		free(c->name);
		free(c->value);
		return -ENOMEM;
	}
	f->fact_count++;                        /* released with the others */
	return value_check(c, err);
}

bool store_filter_any(const struct store_filter *f)
{
	return f->by_to || f->by_from || f->by_client || f->rule || f->message_id || f->subject || f->class || f->state || f->since_s ||
	       f->until_s || f->fact_count;
}

/* ---- facts of a record ---- */

static bool compare_number(const struct store_fact_filter *c, int64_t n)
{
	switch (c->compare) {
	case COMPARE_EQUAL:
	case COMPARE_UNEQUAL:
		return n == c->number;
	case COMPARE_LESS:
		return n < c->number;
	case COMPARE_LESS_EQUAL:
		return n <= c->number;
	case COMPARE_GREATER:
		return n > c->number;
	case COMPARE_GREATER_EQUAL:
		return n >= c->number;
	case COMPARE_MATCH:
		break;
	}
	return false;
}

static bool compare_text(const struct store_fact_filter *c, const char *text, size_t len)
{
	if (c->compare == COMPARE_MATCH)
		return policy_regex_match(c->regex, text, len) == REGEX_YES;
	return (c->compare == COMPARE_EQUAL || c->compare == COMPARE_UNEQUAL) && strcasecmp(text, c->value) == 0;
}

static bool is_yes(const char *word)
{
	return strcasecmp(word, "yes") == 0 || strcasecmp(word, "true") == 0;
}

static bool is_no(const char *word)
{
	return strcasecmp(word, "no") == 0 || strcasecmp(word, "false") == 0;
}

/* One value; != is asked as =. */
static bool compare_one(const struct store_fact_filter *c, const json_t *v)
{
	char number[32];

	if (json_is_integer(v) && c->compare != COMPARE_MATCH)
		return c->is_number && compare_number(c, json_integer_value(v));
	if (json_is_integer(v)) {
		snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT, json_integer_value(v));
		return compare_text(c, number, strlen(number));
	}
	if (json_is_boolean(v) && c->compare <= COMPARE_UNEQUAL)
		return json_is_true(v) ? is_yes(c->value) : is_no(c->value);
	if (json_is_object(v))                  /* { "temperror": why } */
		return compare_text(c, "temperror", 9);
	return json_is_string(v) && compare_text(c, json_string_value(v), json_string_length(v));
}

static bool compare_any(const struct store_fact_filter *c, const json_t *v)
{
	const json_t *one;
	size_t i;

	if (!json_is_array(v))
		return compare_one(c, v);
	json_array_foreach(v, i, one)
		if (compare_one(c, one))
			return true;
	return false;
}

/*
 * The value alone is read, of what may be a million records. The key cannot be found inside of a string: a quote in
 * one has a backslash before it. The facts were written by store_index, without blanks.
 */
static json_t *value_of(const char *facts, size_t len, const char *name)
{
	char key[80];
	int n = snprintf(key, sizeof(key), "\"%s\":", name);
	const char *at = n > 0 && (size_t)n < sizeof(key) ? memmem(facts, len, key, (size_t)n) : NULL;

	if (!at)
		return NULL;
	at += n;
	return json_whole_load(at, len - (size_t)(at - facts), JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL);
}

bool store_fact_holds(const struct store_fact_filter *c, const char *facts, size_t len)
{
	json_t *v = value_of(facts, len, c->name);
	bool holds = v && compare_any(c, v) != (c->compare == COMPARE_UNEQUAL);

	json_decref(v);
	return holds;
}

/* ---- the query ---- */

static void sql_fact(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
	const struct store_filter *f = sqlite3_user_data(ctx);
	const char *facts = (const char *)sqlite3_value_text(argv[0]);
	size_t len = (size_t)sqlite3_value_bytes(argv[0]);
	bool all = facts != NULL;

	for (size_t i = 0; all && i < f->fact_count; i++)
		all = store_fact_holds(&f->fact[i], facts, len);
	sqlite3_result_int(ctx, all);
}

static void sql_client(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
	const struct store_filter *f = sqlite3_user_data(ctx);
	const char *text = (const char *)sqlite3_value_text(argv[0]);
	struct net_addr a;

	sqlite3_result_int(ctx, text && net_parse(text, &a) == 0 && net_in(&a, &f->client));
}

/* A part of the subject, letters of ASCII in any case. */
static void sql_subject(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
	const struct store_filter *f = sqlite3_user_data(ctx);
	const char *text = (const char *)sqlite3_value_text(argv[0]);

	sqlite3_result_int(ctx, text && strcasestr(text, f->subject) != NULL);
}

static int functions_add(sqlite3 *sql, const struct store_filter *f)
{
	static const struct { const char *name; void (*fn)(sqlite3_context *, int, sqlite3_value **); } all[] = {
		{ "fact_holds", sql_fact }, { "client_in", sql_client }, { "subject_has", sql_subject },
	};
	int rc = SQLITE_OK;

	for (size_t i = 0; i < sizeof(all) / sizeof(*all) && rc == SQLITE_OK; i++)
		rc = sqlite3_create_function_v2(sql, all[i].name, 1, SQLITE_UTF8 | SQLITE_DIRECTONLY, (void *)f, all[i].fn, NULL,
						NULL, NULL);
	return sqlite_error(rc);
}

static bool one_client(const struct store_filter *f)
{
	return f->by_client && f->client.bits == (f->client.addr.family == AF_INET6 ? 128 : 32);
}

/*
 * The ids come in order from one index, the most telling one, so that a page is read and no more; the other
 * conditions are asked of each. The + keeps an index out of it that would have to be sorted.
 */
int store_filter_prepare(struct sqlite3 *sql, const struct store_filter *f, bool oldest_first, const char *columns, struct sqlite3_stmt **out)
{
	AUTO(buf) struct buf q = BUF_INIT(16 * 1024);
	bool party = f->by_from || f->by_to, led = party;
	int rc = functions_add(sql, f);

	if (rc < 0)
		return rc;
	buf_addf(&q, "SELECT %s FROM ", columns);
	if (party)
		buf_addf(&q, "party p CROSS JOIN message m ON m.id = p.id WHERE p.role = '%s' AND p.address = ?%d AND p.id", f->by_from ? "from" : "to",
			 f->by_from ? 2 : 1);
	else
		buf_adds(&q, "message m WHERE m.id");
	buf_addf(&q, " > ?10 AND %s.id < ?11", party ? "p" : "m");
	if (f->by_from && f->by_to)
		buf_adds(&q, " AND EXISTS (SELECT 1 FROM party q WHERE q.role = 'to' AND q.address = ?1 AND q.id = m.id)");
	if (f->message_id) {
		buf_addf(&q, " AND %sm.message_id = ?4", led ? "+" : "");
		led = true;
	}
	if (one_client(f)) {
		buf_addf(&q, " AND %sm.client = ?5", led ? "+" : "");
		led = true;
	} else if (f->by_client) {
		buf_adds(&q, " AND client_in(m.client)");
	}
	if (f->rule)
		buf_addf(&q, " AND %sm.rule = ?3", led ? "+" : "");
	if (f->state && strcmp(f->state, "kept") != 0 && !led && !f->rule)
		buf_adds(&q, " AND m.state = ?6 AND m.state <> 'kept'");
	else if (f->state)
		buf_adds(&q, " AND +m.state = ?6");
	if (f->class)
		buf_adds(&q, " AND instr(m.classes, ' ' || ?7 || ' ') > 0");
	if (f->subject)
		buf_adds(&q, " AND subject_has(m.subject)");
	if (f->fact_count)
		buf_adds(&q, " AND fact_holds((SELECT facts FROM facts WHERE id = m.id))");
	buf_addf(&q, " ORDER BY %s.id %s LIMIT ?12", party ? "p" : "m", oldest_first ? "ASC" : "DESC");
	return q.failed ? -ENOMEM : sqlite_error(sqlite3_prepare_v2(sql, buf_str(&q), -1, out, NULL));
}

static void bind_text(sqlite3_stmt *st, int at, const char *text)
{
	if (text && at <= sqlite3_bind_parameter_count(st))
		sqlite3_bind_text(st, at, text, -1, SQLITE_TRANSIENT);
}

void store_filter_bind(struct sqlite3_stmt *st, const struct store_filter *f, bool oldest_first, const char *after, int64_t limit)
{
	char client[NET_TEXT_MAX], low[STORE_ID_MAX] = "", high[STORE_ID_MAX] = "~";

	if (f->since_s > 0)
		store_id_make(f->since_s * 1000 - 1, UINT32_MAX, low);  /* the last one before */
	if (f->until_s > 0)
		store_id_make(f->until_s * 1000, 0, high);
	bind_text(st, 1, f->by_to ? buf_str(&f->to) : NULL);
	bind_text(st, 2, f->by_from ? buf_str(&f->from) : NULL);
	bind_text(st, 3, f->rule);
	bind_text(st, 4, f->message_id);
	bind_text(st, 5, one_client(f) ? net_text(&f->client.addr, client) : NULL);
	bind_text(st, 6, f->state);
	bind_text(st, 7, f->class);
	/* One bound at each end: of two SQLite would seek to one only. */
	bind_text(st, 10, oldest_first && strcmp(after, low) > 0 ? after : low);
	bind_text(st, 11, !oldest_first && *after && strcmp(after, high) < 0 ? after : high);
	sqlite3_bind_int64(st, 12, limit);
}
