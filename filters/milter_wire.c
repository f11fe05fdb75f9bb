#include "filters/milter_wire.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTH_OCTETS = 4, OPTIONS_OCTETS = 3 * LENGTH_OCTETS, SYMBOLS_BYTES_MAX = 4096 };

/* ---- numbers ---- */

static void put32(char *p, uint32_t v)
{
	for (int i = 0; i < LENGTH_OCTETS; i++)
		p[i] = (char)(v >> (24 - 8 * i));
}

static uint32_t get32(const char *p)
{
	const unsigned char *u = (const unsigned char *)p;

	return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

/* ---- what is offered; mfdef.h: SMFI_V2_ACTS, SMFI_CURR_ACTS, SMFI_V2_PROT, SMFI_CURR_PROT, and which step came with which version ---- */

uint32_t milter_actions(int version)
{
	return version < 6 ? 0x3f : 0x1ff;
}

uint32_t milter_steps(int version)
{
	switch (version) {
	case 2:
		return 0x7f | MILTER_QUIET_HEADER;
	case 3:
		return 0x7f | MILTER_QUIET_HEADER | MILTER_NO_UNKNOWN;
	case 4:
	case 5:
		return 0x7f | MILTER_QUIET_HEADER | MILTER_NO_UNKNOWN | MILTER_NO_DATA;
	default:
		return 0x1fffff;
	}
}

/* ---- to the filter ---- */

/* The beginning of a packet whose length is told later. */
static size_t begin(struct buf *out, enum milter_command c)
{
	static const char none[LENGTH_OCTETS];
	size_t at = out->len;

	buf_add(out, none, sizeof(none));
	buf_addc(out, (char)c);
	return at;
}

static int end(struct buf *out, size_t at)
{
	if (out->failed)
		return -ENOSPC;
	put32(out->data + at, (uint32_t)(out->len - at - LENGTH_OCTETS));
	return 0;
}

int milter_put(struct buf *out, enum milter_command c, const void *data, size_t len)
{
	size_t at = begin(out, c);

	buf_add(out, data, len);
	return end(out, at);
}

int milter_put_negotiate(struct buf *out, int version)
{
	char data[OPTIONS_OCTETS];

	put32(data, (uint32_t)version);
	put32(data + LENGTH_OCTETS, milter_actions(version));
	put32(data + 2 * LENGTH_OCTETS, milter_steps(version));
	return milter_put(out, MILTER_NEGOTIATE, data, sizeof(data));
}

static void put_string(struct buf *out, const char *p, size_t len)
{
	const char *nul = len ? memchr(p, '\0', len) : NULL;

	buf_add(out, p, nul ? (size_t)(nul - p) : len);
	buf_addc(out, '\0');
}

int milter_put_strings(struct buf *out, enum milter_command c, const struct milter_string *s, size_t count)
{
	size_t at = begin(out, c);

	for (size_t i = 0; i < count; i++)
		put_string(out, s[i].p, s[i].len);
	return end(out, at);
}

int milter_put_connect(struct buf *out, const char *host, char family, uint16_t port, const char *address)
{
	size_t at = begin(out, MILTER_CONNECT);

	put_string(out, host, strlen(host));
	buf_addc(out, family);
	if (family != 'U') {
		buf_addc(out, (char)(port >> 8));
		buf_addc(out, (char)port);
		put_string(out, address, strlen(address));
	}
	return end(out, at);
}

void milter_macros_begin(struct milter_macros *m, struct buf *out, enum milter_command c)
{
	m->out = out;
	m->at = begin(out, MILTER_MACRO);
	buf_addc(out, (char)c);
	m->none = out->len;
}

void milter_macros_add(struct milter_macros *m, const char *name, const char *value)
{
	put_string(m->out, name, strlen(name));
	put_string(m->out, value, strlen(value));
}

int milter_macros_end(struct milter_macros *m)
{
	if (!m->out->failed && m->out->len == m->none) {
		m->out->len = m->at;
		return 0;
	}
	return end(m->out, m->at);
}

/* ---- from the filter ---- */

enum milter_read milter_packet_read(const char *p, size_t len, size_t *used, struct milter_packet *out)
{
	uint32_t n;

	if (len < LENGTH_OCTETS)
		return MILTER_READ_MORE;
	n = get32(p);
	if (n == 0 || n > MILTER_PACKET_MAX)
		return MILTER_READ_BAD;
	if (len - LENGTH_OCTETS < n)
		return MILTER_READ_MORE;
	*used = LENGTH_OCTETS + n;
	*out = (struct milter_packet){ .what = p[LENGTH_OCTETS], .data = p + LENGTH_OCTETS + 1, .len = n - 1 };
	return MILTER_READ_OK;
}

void milter_terms_release(struct milter_terms *t)
{
	for (int i = 0; i < MILTER_MOMENTS; i++)
		free(t->symbols[i]);
	memset(t, 0, sizeof(*t));
}

static int wrong(const char **why, const char *what)
{
	*why = what;
	return -EPROTO;
}

/* A string up to its NUL within p[0..len); NULL: it has none. */
static const char *string_at(const char *p, size_t len, size_t *used)
{
	const char *nul = len ? memchr(p, '\0', len) : NULL;

	if (!nul)
		return NULL;
	*used = (size_t)(nul - p) + 1;
	return p;
}

/* Behind the options: for each moment of which the filter wants other macros, its number and their names. */
static int symbols_read(const char *p, size_t len, struct milter_terms *out, const char **why)
{
	while (len > 0) {
		const char *names;
		uint32_t moment;
		size_t used;

		if (len < LENGTH_OCTETS)
			return wrong(why, "a list of macros that is cut off");
		moment = get32(p);
		names = string_at(p + LENGTH_OCTETS, len - LENGTH_OCTETS, &used);
		if (moment >= MILTER_MOMENTS || !names || used > SYMBOLS_BYTES_MAX)
			return wrong(why, "a list of macros for no moment, without an end or too long");
		free(out->symbols[moment]);
		out->symbols[moment] = strdup(names);
		if (!out->symbols[moment])
			return -ENOMEM;
		p += LENGTH_OCTETS + used;
		len -= LENGTH_OCTETS + used;
	}
	return 0;
}

int milter_terms_read(const struct milter_packet *p, int version, struct milter_terms *out, const char **why)
{
	struct milter_terms t = { 0 };
	int rc;

	if (p->what != MILTER_NEGOTIATE)
		return wrong(why, "no options in answer to ours");
	if (p->len < OPTIONS_OCTETS)
		return wrong(why, "options that are cut off");
	t.version = get32(p->data);
	t.actions = get32(p->data + LENGTH_OCTETS);
	t.steps = get32(p->data + 2 * LENGTH_OCTETS);
	if (t.version < MILTER_VERSION_MIN || t.version > (uint32_t)version)
		return wrong(why, "a version of the protocol that was not offered");
	/* The upper bits are for sizes of packets that libmilter and its server agree on between themselves (SMFI_INTERNAL); we offer none of them. */
	if ((t.steps & ~milter_steps(version)) != 0)
		return wrong(why, "steps that were not offered");
	if ((t.actions & ~milter_actions(version)) != 0)
		return wrong(why, "actions that were not offered");
	rc = symbols_read(p->data + OPTIONS_OCTETS, p->len - OPTIONS_OCTETS, &t, why);
	if (rc < 0) {
		milter_terms_release(&t);
		return rc;
	}
	*out = t;
	return 0;
}

/* count strings fill the data; the last may be left out where least says so. */
static bool strings_read(const char *p, size_t len, size_t least, size_t count, const char **text)
{
	for (size_t i = 0; i < count; i++) {
		size_t used;

		text[i] = string_at(p, len, &used);
		if (!text[i])
			return i >= least && len == 0;
		p += used;
		len -= used;
	}
	return len == 0;
}

int milter_reply_read(const struct milter_packet *p, struct milter_reply *out, const char **why)
{
	struct milter_reply r = { .what = (enum milter_answer)(unsigned char)p->what, .data = p->data, .len = p->len };
	const char *data = p->data;
	size_t len = p->len;
	bool good = true;

	switch (r.what) {
	case MILTER_INSERT_HEADER:
	case MILTER_CHANGE_HEADER:
		if (len < LENGTH_OCTETS)
			return wrong(why, "a change of a header that is cut off");
		r.index = get32(data);
		good = strings_read(data + LENGTH_OCTETS, len - LENGTH_OCTETS, 2, 2, r.text);
		break;
	case MILTER_ADD_HEADER:
		good = strings_read(data, len, 2, 2, r.text);
		break;
	case MILTER_CHANGE_FROM:
	case MILTER_ADD_RCPT_PARAMS:
		good = strings_read(data, len, 1, 2, r.text);
		break;
	case MILTER_ADD_RCPT:
	case MILTER_DEL_RCPT:
	case MILTER_QUARANTINE:
	case MILTER_REPLY_CODE:
		good = strings_read(data, len, 1, 1, r.text);
		break;
	case MILTER_REPLACE_BODY:
	case MILTER_ACCEPT:
	case MILTER_CONTINUE:
	case MILTER_DISCARD:
	case MILTER_CONNECTION_FAIL:
	case MILTER_SHUTDOWN:
	case MILTER_PROGRESS:
	case MILTER_REJECT:
	case MILTER_SKIP:
	case MILTER_TEMPFAIL:
		break;
	default:
		return wrong(why, "an answer that there is not");
	}
	if (!good)
		return wrong(why, "an answer whose texts do not end as they should");
	*out = r;
	return 0;
}

bool milter_is_final(enum milter_answer a)
{
	switch (a) {
	case MILTER_ACCEPT:
	case MILTER_CONTINUE:
	case MILTER_DISCARD:
	case MILTER_CONNECTION_FAIL:
	case MILTER_SHUTDOWN:
	case MILTER_REJECT:
	case MILTER_SKIP:
	case MILTER_TEMPFAIL:
	case MILTER_REPLY_CODE:
		return true;
	default:
		return false;
	}
}

/* The length of "5.7.1 " (RFC 3463), of the class of the code, or 0. */
static size_t enhanced(const char *p, char class)
{
	size_t n = 0;

	if (p[0] != class || p[1] != '.')
		return 0;
	n = 2;
	for (int part = 0; part < 2; part++) {
		size_t digits = 0;

		while (isdigit((unsigned char)p[n + digits]) && digits < 3)
			digits++;
		n += digits;
		if (!digits || (part == 0 && p[n++] != '.'))
			return 0;
	}
	if (p[n] == ' ')
		return n + 1;
	return !p[n] || p[n] == '\r' || p[n] == '\n' ? n : 0;
}

/* One line of a reply: behind "550-" or "550 ", where it begins like that; NULL: with another code. */
static const char *line_text(const char *line, const char *code)
{
	return strncmp(line, code, 3) == 0 && (line[3] == ' ' || line[3] == '-') ? line + 4 : NULL;
}

bool milter_reply_text(const char *text, char *out, size_t size)
{
	char class = text[0], code[4];
	const char *line = text;
	size_t n, skip;

	if ((class != '4' && class != '5') || !isdigit((unsigned char)text[1]) || !isdigit((unsigned char)text[2]) || (text[3] && text[3] != ' ' && text[3] != '-'))
		return false;
	snprintf(code, sizeof(code), "%.3s", text);
	skip = text[3] ? enhanced(text + 4, class) : 0;
	n = (size_t)snprintf(out, size, "%s ", code);
	if (skip)
		n += (size_t)snprintf(out + n, size - n, "%.*s", (int)skip, text + 4);
	else
		n += (size_t)snprintf(out + n, size - n, "%c.7.1 ", class);
	for (bool first = true; line; first = false) {
		const char *end = line + strcspn(line, "\r\n"), *p = line_text(line, code);

		p = p ? p : first ? end : line;
		p += enhanced(p, class);
		if (!first && n + 1 < size && p < end)
			out[n++] = ' ';
		/* libmilter has "%" said as "%%", and passes it on so (smfi_setreply): seen on the wire. */
		for (; p < end && n + 1 < size; p += p[0] == '%' && p[1] == '%' ? 2 : 1)
			out[n++] = *p >= 0x20 && *p <= 0x7e ? *p : '?';
		line = *end ? end + strspn(end, "\r\n") : NULL;
		if (line && !*line)
			line = NULL;
	}
	while (n > 0 && out[n - 1] == ' ')
		n--;
	out[n] = '\0';
	return true;
}
