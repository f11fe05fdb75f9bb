#include "pop3/pop3_command.h"

#include <string.h>
#include <strings.h>

enum { LANG_MAX = 64 };

/* What may follow a verb. */
enum takes { NOTHING, ANYTHING, NAME, PASSWORD, APOP, AUTH, LANG, NUMBER, NUMBER_OR_NONE, TOP };

static const struct { const char *name; enum pop3_verb verb; enum takes takes; } verbs[] = {
	{ "USER", POP3_USER, NAME },
	{ "PASS", POP3_PASS, PASSWORD },
	{ "APOP", POP3_APOP, APOP },
	{ "AUTH", POP3_AUTH, AUTH },
	{ "CAPA", POP3_CAPA, NOTHING },
	{ "STLS", POP3_STLS, NOTHING },
	{ "QUIT", POP3_QUIT, NOTHING },
	{ "UTF8", POP3_UTF8, NOTHING },
	{ "LANG", POP3_LANG, LANG },
	{ "STAT", POP3_STAT, NOTHING },
	{ "LIST", POP3_LIST, NUMBER_OR_NONE },
	{ "UIDL", POP3_UIDL, NUMBER_OR_NONE },
	{ "RETR", POP3_RETR, NUMBER },
	{ "TOP", POP3_TOP, TOP },
	{ "DELE", POP3_DELE, NUMBER },
	{ "NOOP", POP3_NOOP, NOTHING },
	{ "RSET", POP3_RSET, NOTHING },
	{ "LAST", POP3_LAST, NOTHING },
	{ "GET", POP3_HTTP, ANYTHING },
	{ "POST", POP3_HTTP, ANYTHING },
	{ "PUT", POP3_HTTP, ANYTHING },
	{ "HEAD", POP3_HTTP, ANYTHING },
	{ "OPTIONS", POP3_HTTP, ANYTHING },
	{ "CONNECT", POP3_HTTP, ANYTHING },
	{ "DELETE", POP3_HTTP, ANYTHING },
	{ "PRI", POP3_HTTP, ANYTHING },
};

static size_t word(const char *p, size_t len)
{
	const char *blank = memchr(p, ' ', len);

	return blank ? (size_t)(blank - p) : len;
}

/* A word of foreign bytes for a log line. */
static void show(char *out, const char *p, size_t len)
{
	size_t n = len < POP3_WORD_MAX - 1 ? len : POP3_WORD_MAX - 1;

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)p[i];

		out[i] = c < 0x21 || c > 0x7e ? '?' : c >= 'a' && c <= 'z' ? (char)(c - 0x20) : (char)c;
	}
	out[n] = '\0';
}

static size_t line_max(enum takes takes)
{
	return takes == NAME || takes == PASSWORD || takes == APOP ? POP3_NAME_LINE_MAX : takes == AUTH ? POP3_READ_MAX : POP3_LINE_MAX;
}

/* Octets that such an argument may hold. */
static bool octets_ok(enum takes takes, const char *p, size_t len)
{
	bool wide = takes == NAME || takes == PASSWORD || takes == APOP;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)p[i];

		if (c == 0x7f || (c < 0x20 && !(c == '\t' && takes == PASSWORD)) || (c > 0x7f && !wide))
			return false;
	}
	return true;
}

/* The next word of p[*at..len), one or more blanks before it. */
static bool next(const char *p, size_t len, size_t *at, const char **out, size_t *out_len)
{
	while (*at < len && p[*at] == ' ')
		(*at)++;
	*out = p + *at;
	*out_len = word(*out, len - *at);
	*at += *out_len;
	return *out_len > 0;
}

/* Decimal digits, ten at most, saturating. */
static bool number(const char *p, size_t len, uint32_t *out)
{
	uint64_t n = 0;

	if (len == 0 || len > 10)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (p[i] < '0' || p[i] > '9')
			return false;
		n = n * 10 + (uint64_t)(p[i] - '0');
	}
	*out = n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
	return true;
}

/* The number of a message: one that would saturate is no message's. */
static bool message_number(struct pop3_command *c, const char *p, size_t len)
{
	c->has_number = number(p, len, &c->number) && c->number != 0 && c->number != UINT32_MAX;
	return c->has_number;
}

static bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

static bool is_name_octet(char c)
{
	return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '-' || c == '_';
}

/* The whole argument is the name: Domino's users have blanks in theirs. */
static bool user(struct pop3_command *c)
{
	const char *p = c->arg;
	size_t n = c->arg_len;

	while (n > 0 && *p == ' ')
		p++, n--;
	while (n > 0 && p[n - 1] == ' ')
		n--;
	c->name = p;
	c->name_len = n;
	return n > 0;
}

/*
 * Name, blank, digest (RFC 1939 7), and nothing that one server takes for the name and another not: the failures of one user would be counted as
 * another's.
 */
static bool apop(struct pop3_command *c)
{
	const char *digest;

	c->name = c->arg;
	c->name_len = word(c->arg, c->arg_len);
	if (c->name_len == 0 || c->arg_len != c->name_len + 1 + 32)
		return false;
	digest = c->arg + c->name_len + 1;
	for (int i = 0; i < 32; i++)
		if (!is_hex(digest[i]))
			return false;
	return true;
}

/* Nothing, a mechanism, or a mechanism and its initial response: base64 or "=", RFC 5034 4. */
static enum pop3_command_error auth(struct pop3_command *c)
{
	const char *name, *rest;
	size_t at = 0, name_len, rest_len;

	if (!next(c->arg, c->arg_len, &at, &name, &name_len))
		return POP3_COMMAND_OK;
	for (size_t i = 0; i < name_len; i++)
		if (!is_name_octet(name[i]))
			return POP3_COMMAND_ARGUMENT;
	if (next(c->arg, c->arg_len, &at, &rest, &rest_len)) {
		const char *more;
		size_t more_len;

		if (next(c->arg, c->arg_len, &at, &more, &more_len) || !((rest_len == 1 && *rest == '=') || sasl_base64_ok(rest, rest_len)))
			return POP3_COMMAND_ARGUMENT;
		c->initial = rest;
		c->initial_len = rest_len;
	}
	c->mechanism = sasl_find(name, name_len);
	return c->mechanism ? POP3_COMMAND_OK : POP3_COMMAND_MECHANISM;
}

/* A language tag, or "*": RFC 6856 3 */
static bool lang(const char *p, size_t len)
{
	if (len > LANG_MAX)
		return false;
	if (len == 1 && *p == '*')
		return true;
	for (size_t i = 0; i < len; i++)
		if (!is_name_octet(p[i]) || p[i] == '_')
			return false;
	return true;
}

static bool words(enum takes takes, struct pop3_command *c)
{
	const char *p, *more;
	size_t at = 0, len, n;

	if (!next(c->arg, c->arg_len, &at, &p, &len))
		return takes == NOTHING || takes == LANG || takes == NUMBER_OR_NONE;
	if (takes == NOTHING || (takes == LANG ? !lang(p, len) : !message_number(c, p, len)))
		return false;
	if (takes == TOP && (!next(c->arg, c->arg_len, &at, &p, &len) || !number(p, len, &c->lines)))
		return false;
	return !next(c->arg, c->arg_len, &at, &more, &n);
}

static enum pop3_command_error argument(enum takes takes, struct pop3_command *c)
{
	bool good;

	switch (takes) {
	case ANYTHING:
		return POP3_COMMAND_OK;
	case AUTH:
		return auth(c);
	case NAME:
		good = user(c);
		break;
	case PASSWORD:
		good = c->arg_len > 0;
		break;
	case APOP:
		good = apop(c);
		break;
	default:
		good = words(takes, c);
	}
	return good ? POP3_COMMAND_OK : POP3_COMMAND_ARGUMENT;
}

enum pop3_command_error pop3_command_parse(const char *line, size_t len, struct pop3_command *out)
{
	size_t verb_len, whole = len, i;

	memset(out, 0, sizeof(*out));
	out->arg = line;
	if (len > 0 && line[len - 1] == '\n')
		len -= len > 1 && line[len - 2] == '\r' ? 2 : 1;
	verb_len = word(line, len);
	show(out->word, line, verb_len);
	for (i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (strlen(verbs[i].name) == verb_len && strncasecmp(line, verbs[i].name, verb_len) == 0)
			break;
	if (i < sizeof(verbs) / sizeof(verbs[0]))
		out->verb = verbs[i].verb;
	if (whole < len + 2)
		return whole == len + 1 ? POP3_COMMAND_LF : POP3_COMMAND_BYTES;
	if (out->verb == POP3_UNKNOWN)
		return octets_ok(NOTHING, line, len) ? POP3_COMMAND_UNKNOWN : POP3_COMMAND_BYTES;
	out->arg = line + verb_len + (verb_len < len);
	out->arg_len = (size_t)(line + len - out->arg);
	if (whole > line_max(verbs[i].takes))
		return POP3_COMMAND_LONG;
	if (!octets_ok(verbs[i].takes, out->arg, out->arg_len))
		return POP3_COMMAND_BYTES;
	return argument(verbs[i].takes, out);
}

const char *pop3_command_reply(enum pop3_command_error e)
{
	switch (e) {
	case POP3_COMMAND_OK:
		break;
	case POP3_COMMAND_LF:
		return "-ERR lines end with CR LF";
	case POP3_COMMAND_BYTES:
		return "-ERR a command holds no such octets";
	case POP3_COMMAND_LONG:
		return "-ERR line too long";
	case POP3_COMMAND_UNKNOWN:
		return "-ERR unknown command";
	case POP3_COMMAND_ARGUMENT:
		return "-ERR this command takes other arguments";
	case POP3_COMMAND_MECHANISM:
		return "-ERR this mechanism is not offered";
	}
	return "+OK";
}
