#include "smtp/smtp_data.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum decoder_state {
	BOL,            /* at the beginning of a line: a dot counts; so does the start of the data */
	TEXT,           /* inside a line */
	CR,             /* a CR was withheld: CRLF or a bare one */
	LF_BARE,        /* a bare LF was eaten, its CRLF is to be given */
	DOT,            /* a dot at the beginning of a line was withheld */
	DOT_CR,         /* and a CR after it */
	ENDED,
	SMUGGLED,
};

/*
 * From the beginning of a line: how many bytes are whole lines that end with CRLF, hold no CR or LF otherwise, and do not begin
 * with a dot. Fewer than there are may be found, never more: the rest is looked at line by line.
 */
static size_t plain_lines(const char *p, size_t len)
{
	size_t lines_end = 0;
#ifdef __SSE2__
	unsigned cr_before = 0, lf_before = 1;

	for (size_t i = 0; len - i >= 16; i += 16) {
		__m128i v = _mm_loadu_si128((const void *)(p + i));
		unsigned crs = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8('\r')));
		unsigned lfs = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8('\n')));
		unsigned dots = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8('.')));
		unsigned odd = ((crs << 1 | cr_before) ^ lfs) | ((lfs << 1 | lf_before) & dots);

		odd &= 0xffff;
		if (odd)
			lfs &= (odd & -odd) - 1;        /* those before the first odd byte */
		if (lfs)
			lines_end = i + 32 - (size_t)__builtin_clz(lfs);
		if (odd)
			break;
		cr_before = crs >> 15;
		lf_before = lfs >> 15;
	}
#endif
	return lines_end;
}

void smtp_data_init(struct smtp_data *d, bool refuse_bare)
{
	memset(d, 0, sizeof(*d));
	d->state = BOL;
	d->refuse_bare = refuse_bare;
}

/* A bare one was met; the event if it is to be refused and is the first. */
static enum smtp_data_event bare_seen(struct smtp_data *d, bool cr)
{
	bool first = !d->bare_cr && !d->bare_lf;

	if (cr)
		d->bare_cr = true;
	else
		d->bare_lf = true;
	d->left_bare = true;
	return d->refuse_bare && first ? DATA_BARE : DATA_MORE;
}

/* The dot stands alone, right end CRLF or bare: the end, or something that another server takes for it. */
static enum smtp_data_event lone_dot(struct smtp_data *d, bool right_bare)
{
	bool smuggled = right_bare || d->left_bare;

	d->state = smuggled ? SMUGGLED : ENDED;
	return smuggled ? DATA_SMUGGLED : DATA_END;
}

/* The states that hold something back look at one byte. true: the result is complete. */
static bool decode_held(struct smtp_data *d, char c, size_t *used, const char **out, size_t *out_len,
			enum smtp_data_event *event)
{
	switch (d->state) {
	case CR:
		*out = "\r\n";
		*out_len = 2;
		d->state = BOL;
		if (c == '\n') {
			*used = 1;
			d->left_bare = false;
			*event = DATA_MORE;
		} else {
			*event = bare_seen(d, true);
		}
		return true;
	case LF_BARE:
		*out = "\r\n";
		*out_len = 2;
		d->state = BOL;
		*event = DATA_MORE;
		return true;
	case DOT:
		if (c == '\n') {
			*used = 1;
			*event = lone_dot(d, true);
			return true;
		}
		if (c == '\r') {
			*used = 1;
			d->state = DOT_CR;
			*event = DATA_MORE;
			return true;
		}
		d->state = TEXT;                /* the dot was stuffing: dropped, RFC 5321 4.5.2 */
		return false;
	case DOT_CR:
		*used = c == '\n';
		*event = lone_dot(d, c != '\n');
		return true;
	case ENDED:
		*event = DATA_END;
		return true;
	case SMUGGLED:
		*event = DATA_SMUGGLED;
		return true;
	default:
		return false;
	}
}

/* A slice is given: look for the NUL that nobody may pass on. */
static enum smtp_data_event slice(struct smtp_data *d, const char *in, size_t len, const char **out, size_t *out_len,
				  enum smtp_data_event event)
{
	*out = in;
	*out_len = len;
	if (!d->nul && memchr(in, '\0', len)) {
		d->nul = true;
		return event == DATA_MORE ? DATA_NUL : event;
	}
	return event;
}

enum smtp_data_event smtp_data_decode(struct smtp_data *d, const char *in, size_t len, size_t *used, const char **out,
				      size_t *out_len)
{
	enum smtp_data_event event;
	size_t i = 0;

	*used = 0;
	*out = in;
	*out_len = 0;
	if (len == 0)
		return d->state == ENDED ? DATA_END : d->state == SMUGGLED ? DATA_SMUGGLED : DATA_MORE;
	if (decode_held(d, in[0], used, out, out_len, &event))
		return event;

	/* Line by line; as long as nothing is to be changed, one slice. */
	while (i < len) {
		const char *nl, *cr;
		size_t line;

		if (d->state == BOL && in[i] == '.') {
			d->state = DOT;
			*used = i + 1;
			return slice(d, in, i, out, out_len, DATA_MORE);
		}
		line = d->state == BOL ? plain_lines(in + i, len - i) : 0;
		if (line > 0) {
			d->left_bare = false;
			i += line;
			continue;
		}
		d->state = TEXT;
		nl = memchr(in + i, '\n', len - i);
		line = nl ? (size_t)(nl - in) : len;
		cr = memchr(in + i, '\r', line - i);
		if (cr && nl && cr + 1 == nl) {
			d->state = BOL;
			d->left_bare = false;
			i = line + 1;
		} else if (cr) {                                /* bare, or the last byte so far */
			d->state = CR;
			*used = (size_t)(cr - in) + 1;
			return slice(d, in, *used - 1, out, out_len, DATA_MORE);
		} else if (nl) {
			d->state = LF_BARE;
			*used = line + 1;
			return slice(d, in, line, out, out_len, bare_seen(d, false));
		} else {
			i = len;
		}
	}
	*used = len;
	return slice(d, in, len, out, out_len, DATA_MORE);
}

/* The encoder has fewer: BOL, TEXT, CR (withheld), LF_BARE (CRLF is to be given), DOT (a second dot is to be given). */
void smtp_encode_init(struct smtp_encode *e)
{
	e->state = BOL;
}

void smtp_encode(struct smtp_encode *e, const char *in, size_t len, size_t *used, const char **out, size_t *out_len)
{
	size_t i = 0;

	*used = 0;
	*out = in;
	*out_len = 0;
	if (len == 0)
		return;
	if (e->state == CR || e->state == LF_BARE) {
		*used = e->state == CR && in[0] == '\n';
		*out = "\r\n";
		*out_len = 2;
		e->state = BOL;
		return;
	}
	if (e->state == DOT) {
		*out = ".";
		*out_len = 1;
		e->state = TEXT;
		return;
	}
	while (i < len) {
		const char *nl, *cr;
		size_t line;

		if (e->state == BOL && in[i] == '.') {
			e->state = DOT;
			*used = *out_len = i + 1;
			return;
		}
		line = e->state == BOL ? plain_lines(in + i, len - i) : 0;
		if (line > 0) {
			i += line;
			continue;
		}
		e->state = TEXT;
		nl = memchr(in + i, '\n', len - i);
		line = nl ? (size_t)(nl - in) : len;
		cr = memchr(in + i, '\r', line - i);
		if (cr && nl && cr + 1 == nl) {
			e->state = BOL;
			i = line + 1;
		} else if (cr || nl) {
			e->state = cr ? CR : LF_BARE;
			*out_len = cr ? (size_t)(cr - in) : line;
			*used = *out_len + 1;
			return;
		} else {
			i = len;
		}
	}
	*used = *out_len = len;
}

const char *smtp_encode_end(struct smtp_encode *e)
{
	switch (e->state) {
	case BOL:
		return ".\r\n";
	case DOT:                       /* the message ends with a dot at the beginning of a line */
		return ".\r\n.\r\n";
	default:                        /* TEXT, or a line end that is still to be given */
		return "\r\n.\r\n";
	}
}
