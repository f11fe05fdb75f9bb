#include "policy/policy_regex.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum {
	MATCH_LIMIT = 50000,   /* steps from one starting point: some tenths of a millisecond */
	DEPTH_LIMIT = 5000,    /* nested backtracking */
	HEAP_LIMIT_KIB = 4096, /* of the interpreter */
	NEST_LIMIT = 50,       /* parentheses in a pattern */
	CODE_BYTES_MAX = 128 * 1024, /* of one compiled pattern */
	JIT_STACK_BYTES = 256 * 1024,
	/* Work that grows with the square of the subject has no limit in PCRE2: what is seen at once is bounded, and the time. */
	WINDOW = 8192,
	WINDOW_INTERPRETED = 2048,
	OVERLAP = 1024,
	TIME_LIMIT_US = 20 * 1000,
	QUICK_US = 100,        /* a few starting points that took less: twice as many next */
};

struct policy_regex {
	pcre2_code *code;
	bool jit;
};

/* One of each per process: nothing waits during a match. */
static struct {
	pcre2_compile_context *compile;
	pcre2_match_context *match;
	pcre2_match_data *data;
	pcre2_jit_stack *jit_stack;
	int jit;                        /* -1: not decided yet */
} shared = { .jit = -1 };

/* A hardened system may forbid memory that is writable and executable: try once, and keep to the
   answer. */
static bool jit_works(void)
{
	uint32_t has = 0;
	int error;
	PCRE2_SIZE at;
	pcre2_code *probe;
	bool ok = false;

	if (pcre2_config(PCRE2_CONFIG_JIT, &has) < 0 || !has)
		return false;
	probe = pcre2_compile((PCRE2_SPTR)"a+b", 3, 0, &error, &at, NULL);
	if (probe)
		ok = pcre2_jit_compile(probe, PCRE2_JIT_COMPLETE) == 0;
	pcre2_code_free(probe);
	return ok;
}

void policy_regex_use_jit(bool on)
{
	shared.jit = on;
}

static bool shared_init(void)
{
	if (shared.jit < 0)
		shared.jit = jit_works();
	if (!shared.compile && (shared.compile = pcre2_compile_context_create(NULL))) {
		pcre2_set_max_pattern_length(shared.compile, REGEX_PATTERN_MAX);
		pcre2_set_parens_nest_limit(shared.compile, NEST_LIMIT);
	}
	if (!shared.match && (shared.match = pcre2_match_context_create(NULL))) {
		pcre2_set_match_limit(shared.match, MATCH_LIMIT);
		pcre2_set_depth_limit(shared.match, DEPTH_LIMIT);
		pcre2_set_heap_limit(shared.match, HEAP_LIMIT_KIB);
	}
	if (!shared.data)
		shared.data = pcre2_match_data_create(1, NULL);
	if (shared.jit && !shared.jit_stack && shared.match) {
		shared.jit_stack = pcre2_jit_stack_create(32 * 1024, JIT_STACK_BYTES, NULL);
		if (shared.jit_stack)
			pcre2_jit_stack_assign(shared.match, NULL, shared.jit_stack);
		else
			shared.jit = 0;
	}
	return shared.compile && shared.match && shared.data;
}

struct policy_regex *policy_regex_new(const char *pattern, size_t len, size_t *offset,
				      struct buf *err)
{
	struct policy_regex *r = calloc(1, sizeof(*r));
	char text[128];
	size_t size = 0;
	int error = 0;
	PCRE2_SIZE at = 0;

	*offset = 0;
	if (!r || !shared_init()) {
		buf_adds(err, "no memory for a regular expression");
		free(r);
		return NULL;
	}
	r->code = pcre2_compile((PCRE2_SPTR)pattern, len,
				PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C | PCRE2_USE_OFFSET_LIMIT,
				&error, &at, shared.compile);
	if (!r->code) {
		pcre2_get_error_message(error, (PCRE2_UCHAR *)text, sizeof(text));
		buf_adds(err, text);
		*offset = at;
		free(r);
		return NULL;
	}
	if (pcre2_pattern_info(r->code, PCRE2_INFO_SIZE, &size) < 0 || size > CODE_BYTES_MAX) {
		buf_addf(err, "a regular expression of %zu bytes when compiled", size);
		policy_regex_free(r);
		return NULL;
	}
	/* what cannot be compiled is interpreted: the same answers */
	r->jit = shared.jit && pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE) == 0;
	return r;
}

void policy_regex_free(struct policy_regex *r)
{
	if (!r)
		return;
	pcre2_code_free(r->code);
	free(r);
}

bool policy_regex_has_jit(const struct policy_regex *r)
{
	return r->jit;
}

static int64_t now_us(clockid_t which)
{
	struct timespec t;

	clock_gettime(which, &t);
	return t.tv_sec * INT64_C(1000000) + t.tv_nsec / 1000;
}

/*
 * The time of one match. The machine may be busy with others, which is no reason to give up: where the wall clock, which costs nothing to read, says
 * that it was slow, the processor's time is taken from then on.
 */
struct watch {
	int64_t wall_us;                /* when the last step ended */
	int64_t cpu_us, step_us;        /* the processor's time when it was first asked for (0: not yet), and when the last step ended */
	bool quick, slow;               /* the last step was; neither: it is not known whether it was it that took the time */
};

/* Whether there is time for another step. */
static bool watch_go_on(struct watch *w)
{
	int64_t now;

	if (w->cpu_us) {
		now = now_us(CLOCK_THREAD_CPUTIME_ID);
		w->quick = now - w->step_us < QUICK_US;
		w->slow = !w->quick;
		w->step_us = now;
		return now - w->cpu_us <= TIME_LIMIT_US;
	}
	now = now_us(CLOCK_MONOTONIC);
	w->quick = now - w->wall_us < QUICK_US;
	w->wall_us = now;
	if (!w->quick)
		w->cpu_us = w->step_us = now_us(CLOCK_THREAD_CPUTIME_ID);
	return true;
}

/* A match that begins at one of [from, to), in s[0..end); more: s goes on behind it. */
static int match_from(const struct policy_regex *r, const char *s, size_t end, bool more, size_t from, size_t to)
{
	pcre2_set_offset_limit(shared.match, to - 1);
	return pcre2_match(r->code, (PCRE2_SPTR)s, end, from, (r->jit ? 0 : PCRE2_NO_JIT) | (more ? PCRE2_NOTEOL : 0), shared.data,
			   shared.match);
}

enum regex_match policy_regex_match(const struct policy_regex *r, const char *s, size_t len)
{
	const size_t window = r->jit ? WINDOW : WINDOW_INTERPRETED;
	struct watch watch = { .wall_us = now_us(CLOCK_MONOTONIC) };
	size_t at = 0, step = 4;

	if (len > REGEX_SUBJECT_MAX)
		len = REGEX_SUBJECT_MAX;
	do {
		size_t end = len - at > window ? at + window : len, to = at + step;
		size_t last = end < len ? end - OVERLAP : len + 1;      /* starting points of this window; at the very end, too */
		int rc;

		if (to > last)
			to = last;
		while (to < len && ((unsigned char)s[to] & 0xc0) == 0x80)       /* not within a character */
			to++;
		rc = match_from(r, s, end, end < len, at, to);
		if (rc >= 0)
			return REGEX_YES;
		if (rc != PCRE2_ERROR_NOMATCH && rc != PCRE2_ERROR_PARTIAL)
			return REGEX_LIMIT;
		at = to;
		if (at <= len && !watch_go_on(&watch))
			return REGEX_LIMIT;
		if (watch.slow)
			step = step / 2 + 1;
		else if (watch.quick && step < window)
			step *= 4;
	} while (at <= len);
	return REGEX_NO;
}
