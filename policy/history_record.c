#include "policy/history_record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/varint.h"

enum {
	NUMBER_MAX = 10,                /* octets of the longest number */
	/* With what stands between them, and 18 KiB of other members, within HISTORY_RECORD_MAX. */
	RCPTS_OCTETS = 96 * 1024, FACTS_OCTETS = 96 * 1024,
	/* What a fact says of itself, in one octet. */
	STATE_BITS = 3, CUT_BIT = 4, WHY_BIT = 8, TYPE_SHIFT = 4,
	RECORDED_MAX = 3 * FACT_MAX,    /* facts of one record: three sets */
	TEXTS_MAX = RECORDED_MAX * FACT_LIST_MAX,
	NAMES_SLOTS = 1024,
	RAN_MAX = 64, RAN_NAME_MAX = 32,
};

/* Writing */

struct writer {
	struct buf *out;
	size_t begin;
	int rc;
};

/* Where len octets may be written; they count when writer_wrote says so. */
static char *room(struct writer *w, size_t len)
{
	struct buf *b = w->out;

	if (w->rc < 0)
		return NULL;
	if (len > b->max - b->len)
		w->rc = -ENOSPC;
	else if (b->len + len >= b->cap)
		w->rc = buf_reserve(b, len);
	return w->rc < 0 ? NULL : b->data + b->len;
}

static void wrote(struct writer *w, const char *end)
{
	w->out->len = (size_t)(end - w->out->data);
}

static char *number(char *p, uint64_t v)
{
	for (; v >= 128; v >>= 7)
		*p++ = (char)(v | 128);
	*p++ = (char)v;
	return p;
}

static void put_number(struct writer *w, uint64_t v)
{
	char *p = room(w, NUMBER_MAX);

	if (p)
		wrote(w, number(p, v));
}

static void put_signed(struct writer *w, int64_t v)
{
	put_number(w, varint_of_signed(v));
}

static void put_octet(struct writer *w, int v)
{
	char *p = room(w, 1);

	if (p) {
		*p = (char)v;
		wrote(w, p + 1);
	}
}

static void put_bytes(struct writer *w, const char *s, size_t len)
{
	char *p = room(w, len + 1 + NUMBER_MAX);

	if (!p)
		return;
	p = number(p, len + 1);
	memcpy(p, s, len);
	p[len] = 0;
	wrote(w, p + len + 1);
}

/* One that may be missing. */
static void put_text(struct writer *w, const char *s)
{
	if (s)
		put_bytes(w, s, strnlen(s, HISTORY_TEXT_MAX));
	else
		put_octet(w, 0);
}

static void put_needed(struct writer *w, const char *s)
{
	put_text(w, s ? s : "");
}

/* Those that fit: the number of them stands before. */
static void put_rcpts(struct writer *w, const struct history_record *r)
{
	size_t count = 0, octets = 0;

	for (; count < r->rcpt_count && count < HISTORY_RCPT_MAX; count++) {
		octets += strnlen(r->rcpt[count], HISTORY_TEXT_MAX);
		if (octets > RCPTS_OCTETS)
			break;
	}
	put_number(w, r->rcpt_total > r->rcpt_count ? r->rcpt_total : r->rcpt_count);
	put_number(w, count);
	for (size_t i = 0; i < count; i++)
		put_text(w, r->rcpt[i]);
}

static void put_ran(struct writer *w, const char *const *ran)
{
	size_t count = 0;

	while (ran && ran[count] && count < RAN_MAX)
		count++;
	put_number(w, count);
	for (size_t i = 0; i < count; i++)
		put_bytes(w, ran[i], strnlen(ran[i], RAN_NAME_MAX));
}

static bool is_text(enum fact_type type)
{
	return type != FACT_NUMBER && type != FACT_BOOL;
}

/* How many values of f fit, and whether something of it is cut. */
static size_t values_fit(const struct fact *f, size_t left, bool *cut)
{
	size_t most = left < HISTORY_LIST_MAX ? left : HISTORY_LIST_MAX, octets = 0, i;

	for (i = 0; i < f->count; i++) {
		size_t n = strnlen(f->text[i], HISTORY_VALUE_MAX + 1);

		if (n > HISTORY_VALUE_MAX) {
			n = HISTORY_VALUE_MAX;
			*cut = true;
		}
		octets += n + 4;
		if (octets > most) {
			*cut = true;
			break;
		}
	}
	return i;
}

static void put_fact(struct writer *w, const struct fact *f, size_t left)
{
	const struct fact_def *d = fact_def(f->id);
	bool text = is_text(d->type), cut = false, known = f->state == FACT_KNOWN;
	size_t count = known && text ? values_fit(f, left, &cut) : 0;
	bool why = f->why && left > HISTORY_LIST_MAX + HISTORY_WHY_MAX;

	put_text(w, d->name);
	put_octet(w, f->state | (cut ? CUT_BIT : 0) | (why ? WHY_BIT : 0) | (int)d->type << TYPE_SHIFT);
	if (known && text) {
		put_number(w, count);
		for (size_t i = 0; i < count; i++)
			put_bytes(w, f->text[i], strnlen(f->text[i], HISTORY_VALUE_MAX));
	} else if (known) {
		put_signed(w, f->number);
	}
	if (why)
		put_bytes(w, f->why, strnlen(f->why, HISTORY_WHY_MAX));
}

static void put_facts(struct writer *w, const struct history_record *r)
{
	size_t count = 0, begin = w->out->len;

	for (size_t s = 0; s < 3; s++)
		for (size_t i = 0; r->facts[s] && i < r->facts[s]->count; i++)
			count += r->facts[s]->v[i].state != FACT_UNKNOWN;
	put_number(w, count);
	for (size_t s = 0; s < 3; s++)
		for (size_t i = 0; r->facts[s] && i < r->facts[s]->count; i++) {
			size_t octets = w->out->len - begin;

			if (r->facts[s]->v[i].state != FACT_UNKNOWN)
				put_fact(w, &r->facts[s]->v[i], octets < FACTS_OCTETS ? FACTS_OCTETS - octets : 0);
		}
}

int history_encode(const struct history_record *r, struct buf *out)
{
	struct writer w = { .out = out, .begin = out->len };

	put_octet(&w, HISTORY_VERSION);
	put_signed(&w, r->at_ms);
	put_needed(&w, r->code);
	put_needed(&w, r->client);
	put_text(&w, r->helo);
	put_text(&w, r->from);
	put_rcpts(&w, r);
	put_text(&w, r->message_id);
	put_text(&w, r->subject);
	put_number(&w, r->bytes);
	put_octet(&w, r->stage);
	put_needed(&w, r->verdict);
	put_text(&w, r->action);
	put_text(&w, r->rule);
	put_signed(&w, r->rule_line);
	put_text(&w, r->rule_text);
	put_text(&w, r->reply);
	put_text(&w, r->backend);
	put_text(&w, r->quarantine_id);
	put_signed(&w, r->ms_data);
	put_signed(&w, r->ms_checks);
	put_signed(&w, r->ms_backend);
	put_signed(&w, r->ms);
	put_ran(&w, r->ran);
	put_facts(&w, r);
	if (r->notes)
		put_text(&w, r->notes);
	if (w.rc < 0) {
		out->len = w.begin;
		out->failed = false;
	}
	if (out->data)
		out->data[out->len] = 0;
	return w.rc;
}

/* Reading */

struct history_memory {
	struct facts facts;
	struct fact fact[RECORDED_MAX];
	char *text[TEXTS_MAX];
	const char *rcpt[HISTORY_RCPT_MAX], *ran[RAN_MAX + 1];
	const char *cut[RECORDED_MAX + 1], *lost[RECORDED_MAX + 1];
	size_t texts, cuts, losses;
	int16_t place[FACT_MAX];        /* in fact, plus one */
	int16_t slot[NAMES_SLOTS];      /* number of the fact of that name, plus one */
};

static unsigned name_hash(const char *name, size_t len)
{
	unsigned h = 2166136261u;       /* FNV-1a */

	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)name[i]) * 16777619u;
	return (h ^ h >> 15) % NAMES_SLOTS;
}

struct history_memory *history_memory_new(void)
{
	struct history_memory *m = calloc(1, sizeof(*m));

	for (int id = 0; m && id < fact_count(); id++) {
		const char *name = fact_def(id)->name;
		unsigned at = name_hash(name, strlen(name));

		while (m->slot[at])
			at = (at + 1) % NAMES_SLOTS;
		m->slot[at] = (int16_t)(id + 1);
	}
	return m;
}

void history_memory_free(struct history_memory *m)
{
	free(m);
}

static int fact_id(const struct history_memory *m, const char *name, size_t len)
{
	for (unsigned at = name_hash(name, len); m->slot[at]; at = (at + 1) % NAMES_SLOTS)
		if (strcmp(fact_def(m->slot[at] - 1)->name, name) == 0)
			return m->slot[at] - 1;
	return FACT_NONE;
}

struct reader {
	const unsigned char *p, *end;
	bool bad;
};

static uint64_t get_number(struct reader *r)
{
	uint64_t v;
	const unsigned char *to = varint_get(r->p, r->end, &v);

	if (!to) {
		r->p = r->end;
		r->bad = true;
		return 0;
	}
	r->p = to;
	return v;
}

static int64_t get_signed(struct reader *r)
{
	uint64_t v = get_number(r);

	return varint_to_signed(v);
}

static int get_int(struct reader *r, int least)
{
	int64_t v = get_signed(r);

	if (v < least || v > INT32_MAX)
		r->bad = true;
	return (int)v;
}

static unsigned get_octet(struct reader *r)
{
	if (r->p < r->end)
		return *r->p++;
	r->bad = true;
	return 0;
}

static const char *get_text(struct reader *r, size_t max, size_t *len)
{
	uint64_t n = get_number(r);
	const char *s = (const char *)r->p;

	if (r->bad || n == 0)
		return NULL;
	*len = (size_t)n - 1;
	if (n - 1 > max || n > (size_t)(r->end - r->p) || memchr(s, 0, *len) || s[*len]) {
		r->bad = true;
		return NULL;
	}
	r->p += n;
	return s;
}

static const char *get_member(struct reader *r)
{
	size_t len;

	return get_text(r, HISTORY_TEXT_MAX, &len);
}

/* One that is always there. */
static const char *get_needed(struct reader *r)
{
	const char *s = get_member(r);

	if (!s)
		r->bad = true;
	return s ? s : "";
}

/* One that is ours and is shown as it is: who sent the record is not believed to have kept to that. */
static const char *get_word(struct reader *r)
{
	const char *s = get_member(r);

	for (const char *p = s; p && *p; p++)
		if (*p < 0x20 || *p > 0x7e)
			r->bad = true;
	return s;
}

static const char *get_needed_word(struct reader *r)
{
	const char *s = get_word(r);

	if (!s)
		r->bad = true;
	return s ? s : "";
}

static void get_rcpts(struct reader *r, struct history_memory *m, struct history_record *out)
{
	uint64_t total = get_number(r), count = get_number(r);

	if (count > HISTORY_RCPT_MAX || total < count || total > UINT32_MAX)
		r->bad = true;
	for (uint64_t i = 0; i < count && !r->bad; i++)
		m->rcpt[i] = get_needed(r);
	out->rcpt = m->rcpt;
	out->rcpt_count = (size_t)count;
	out->rcpt_total = (size_t)total;
}

static void get_ran(struct reader *r, struct history_memory *m, struct history_record *out)
{
	uint64_t count = get_number(r);
	size_t len, n = 0;

	if (count > RAN_MAX)
		r->bad = true;
	for (; n < count && !r->bad; n++) {
		m->ran[n] = get_text(r, RAN_NAME_MAX, &len);
		r->bad = r->bad || !m->ran[n];
	}
	m->ran[n] = NULL;
	out->ran = m->ran;
}

static bool is_word(const struct fact_def *d, const char *s)
{
	if (d->type != FACT_WORD)
		return true;
	for (const char *const *w = d->words; *w; w++)
		if (strcmp(*w, s) == 0)
			return true;
	return false;
}

/* The values of a text fact; whether they are such as this version knows. */
static bool get_values(struct reader *r, struct history_memory *m, const struct fact_def *d, struct fact *f)
{
	uint64_t count = get_number(r);
	bool known = d && (d->list || count == 1);

	if (count > FACT_LIST_MAX || count > TEXTS_MAX - m->texts) {
		r->bad = true;
		return false;
	}
	f->count = (uint16_t)count;
	f->text = m->text + m->texts;
	for (uint64_t i = 0; i < count && !r->bad; i++) {
		size_t len;
		const char *s = get_text(r, HISTORY_VALUE_MAX, &len);

		if (!s)
			r->bad = true;
		else
			known = known && is_word(d, s);
		f->text[i] = (char *)s;
	}
	m->texts += (size_t)count;
	return known;
}

static void get_fact(struct reader *r, struct history_memory *m)
{
	size_t len = 0;
	const char *name = get_text(r, HISTORY_TEXT_MAX, &len);
	unsigned bits = get_octet(r), state = bits & STATE_BITS;
	enum fact_type type = (enum fact_type)(bits >> TYPE_SHIFT);
	int id = name ? fact_id(m, name, len) : FACT_NONE;
	const struct fact_def *d = id == FACT_NONE || fact_def(id)->type != type ? NULL : fact_def(id);
	struct fact f = { .id = (int16_t)id, .state = (uint8_t)state };
	bool known = d != NULL;

	if (!name || !len || type > FACT_TIME || (state != FACT_KNOWN && state != FACT_TEMPERROR)) {
		r->bad = true;
		return;
	}
	if (state == FACT_KNOWN && is_text(type))
		known = get_values(r, m, d, &f);
	else if (state == FACT_KNOWN)
		f.number = get_signed(r);
	if (bits & WHY_BIT) {
		f.why = (char *)get_text(r, HISTORY_WHY_MAX, &len);
		r->bad = r->bad || !f.why;
	}
	if (bits & CUT_BIT)
		m->cut[m->cuts++] = name;
	if (!known) {
		m->lost[m->losses++] = name;
		return;
	}
	/* Of two sets that have it the later one counts: the recipient's own. */
	if (!m->place[id])
		m->place[id] = (int16_t)++m->facts.count;
	m->fact[m->place[id] - 1] = f;
}

static void get_facts(struct reader *r, struct history_memory *m, struct history_record *out)
{
	uint64_t count = get_number(r);

	memset(m->place, 0, sizeof(m->place));
	m->texts = m->cuts = m->losses = 0;
	m->facts = (struct facts){ .v = m->fact };
	if (count > RECORDED_MAX)
		r->bad = true;
	for (uint64_t i = 0; i < count && !r->bad; i++)
		get_fact(r, m);
	m->cut[m->cuts] = m->lost[m->losses] = NULL;
	m->facts.cap = m->facts.count;
	out->facts[0] = &m->facts;
}

int history_decode(const char *p, size_t len, struct history_memory *memory, struct history_record *out, const char *const **cut,
		   const char *const **lost)
{
	struct reader r = { (const unsigned char *)p, (const unsigned char *)p + len, false };
	struct history_record h = { 0 };
	unsigned stage;

	if (len == 0 || len > HISTORY_RECORD_MAX || get_octet(&r) != HISTORY_VERSION)
		return -EBADMSG;
	h.at_ms = get_signed(&r);
	h.code = get_needed_word(&r);
	h.client = get_needed_word(&r);
	h.helo = get_member(&r);
	h.from = get_member(&r);
	get_rcpts(&r, memory, &h);
	h.message_id = get_member(&r);
	h.subject = get_member(&r);
	h.bytes = get_number(&r);
	stage = get_octet(&r);
	h.stage = (enum stage)stage;
	h.verdict = get_needed_word(&r);
	h.action = get_word(&r);
	h.rule = get_member(&r);
	h.rule_line = get_int(&r, 0);
	h.rule_text = get_member(&r);
	h.reply = get_member(&r);
	h.backend = get_member(&r);
	h.quarantine_id = get_word(&r);
	h.ms_data = get_int(&r, -1);
	h.ms_checks = get_int(&r, -1);
	h.ms_backend = get_int(&r, -1);
	h.ms = get_int(&r, -1);
	get_ran(&r, memory, &h);
	get_facts(&r, memory, &h);
	if (!r.bad && r.p != r.end)
		h.notes = get_needed(&r);
	if (r.bad || r.p != r.end || stage >= STAGE_COUNT)
		return -EBADMSG;
	*out = h;
	if (cut)
		*cut = memory->cut;
	if (lost)
		*lost = memory->lost;
	return 0;
}
