#include "smtp/smtp_command.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/sasl.h"

/* What may follow a verb. */
enum takes { NOTHING, ANYTHING, NEEDED, HELO, MAIL, RCPT, BDAT, AUTH };

static const struct { const char *name; enum smtp_verb verb; enum takes takes; } verbs[] = {
	{ "EHLO", VERB_EHLO, HELO },
	{ "HELO", VERB_HELO, HELO },
	{ "MAIL", VERB_MAIL, MAIL },
	{ "RCPT", VERB_RCPT, RCPT },
	{ "DATA", VERB_DATA, NOTHING },
	{ "BDAT", VERB_BDAT, BDAT },
	{ "RSET", VERB_RSET, NOTHING },
	{ "NOOP", VERB_NOOP, ANYTHING },
	{ "QUIT", VERB_QUIT, NOTHING },
	{ "VRFY", VERB_VRFY, NEEDED },
	{ "EXPN", VERB_EXPN, NEEDED },
	{ "HELP", VERB_HELP, ANYTHING },
	{ "STARTTLS", VERB_STARTTLS, NOTHING },
	{ "AUTH", VERB_AUTH, AUTH },
	{ "ETRN", VERB_ETRN, NEEDED },
	{ "XCLIENT", VERB_XCLIENT, NEEDED },
	{ "XFORWARD", VERB_XFORWARD, NEEDED },
	{ "SEND", VERB_OBSOLETE, ANYTHING },
	{ "SOML", VERB_OBSOLETE, ANYTHING },
	{ "SAML", VERB_OBSOLETE, ANYTHING },
	{ "TURN", VERB_OBSOLETE, ANYTHING },
	{ "ATRN", VERB_OBSOLETE, ANYTHING },
	{ "GET", VERB_HTTP, ANYTHING },
	{ "POST", VERB_HTTP, ANYTHING },
	{ "PUT", VERB_HTTP, ANYTHING },
	{ "HEAD", VERB_HTTP, ANYTHING },
	{ "OPTIONS", VERB_HTTP, ANYTHING },
	{ "CONNECT", VERB_HTTP, ANYTHING },
	{ "DELETE", VERB_HTTP, ANYTHING },
	{ "TRACE", VERB_HTTP, ANYTHING },
	{ "PATCH", VERB_HTTP, ANYTHING },
	{ "PRI", VERB_HTTP, ANYTHING },
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static size_t blanks(const char *p, size_t len)
{
	size_t i = 0;

	while (i < len && is_blank(p[i]))
		i++;
	return i;
}

static size_t word(const char *p, size_t len)
{
	size_t i = 0;

	while (i < len && !is_blank(p[i]))
		i++;
	return i;
}

static bool same(const char *p, size_t len, const char *text)
{
	return len == strlen(text) && strncasecmp(p, text, len) == 0;
}

/* A word of foreign bytes for a log line or a reply. */
static void show(char *out, size_t size, const char *p, size_t len)
{
	size_t n = len < size - 1 ? len : size - 1;

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)p[i];

		out[i] = c < 0x21 || c > 0x7e ? '?' : c >= 'a' && c <= 'z' ? (char)(c - 0x20) : (char)c;
	}
	out[n] = '\0';
}

/* Decimal digits only, saturating: a size that does not fit 64 bits is too large, not small. */
static bool number(const char *p, size_t len, uint64_t *out)
{
	uint64_t n = 0;

	if (len == 0 || len > 20)               /* RFC 1870 and 3030 allow 20 digits */
		return false;
	for (size_t i = 0; i < len; i++) {
		if (p[i] < '0' || p[i] > '9')
			return false;
		if (n == UINT64_MAX || __builtin_mul_overflow(n, 10, &n) ||
		    __builtin_add_overflow(n, (uint64_t)(p[i] - '0'), &n))
			n = UINT64_MAX;
	}
	*out = n;
	return true;
}

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool smtp_xtext_ok(const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (p[i] < 33 || p[i] > 126 || p[i] == '=')
			return false;
		if (p[i] != '+')
			continue;
		if (len - i < 3 || hex(p[i + 1]) < 0 || hex(p[i + 2]) < 0)
			return false;
		i += 2;
	}
	return true;
}

int smtp_xtext_decode(const char *p, size_t len, char *out, size_t size)
{
	size_t n = 0;

	if (!smtp_xtext_ok(p, len))
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		char c = p[i];

		if (c == '+') {
			c = (char)((unsigned)hex(p[i + 1]) << 4 | (unsigned)hex(p[i + 2]));
			i += 2;
		}
		if (c == '\0')
			return -EINVAL;
		if (n + 1 >= size)
			return -ENOSPC;
		out[n++] = c;
	}
	if (size == 0)
		return -ENOSPC;
	out[n] = '\0';
	return (int)n;
}

/* NOTIFY=NEVER or a list of the others, RFC 3461 4.1; 0 if malformed */
static unsigned notify_parse(const char *p, size_t len)
{
	static const struct { const char *name; unsigned bit; } names[] = {
		{ "NEVER", NOTIFY_NEVER }, { "SUCCESS", NOTIFY_SUCCESS },
		{ "FAILURE", NOTIFY_FAILURE }, { "DELAY", NOTIFY_DELAY },
	};
	unsigned bits = 0;

	for (size_t i = 0;; i++) {
		size_t n = 0;
		unsigned bit = 0;

		while (i + n < len && p[i + n] != ',')
			n++;
		for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++)
			if (same(p + i, n, names[k].name))
				bit = names[k].bit;
		if (bit == 0 || (bits & bit))
			return 0;
		bits |= bit;
		i += n;
		if (i >= len)
			break;
	}
	return (bits & NOTIFY_NEVER) && bits != NOTIFY_NEVER ? 0 : bits;
}

/* "addr-type;xtext", RFC 3461 4.2; utf-8 addresses are encoded so as to be xtext too, RFC 6533 3 */
static bool orcpt_ok(const char *p, size_t len)
{
	const char *semicolon = memchr(p, ';', len);

	if (!semicolon || semicolon == p || len > SMTP_ORCPT_MAX)
		return false;
	for (const char *c = p; c < semicolon; c++)
		if (!(*c == '-' || (*c >= '0' && *c <= '9') || ((*c | 0x20) >= 'a' && (*c | 0x20) <= 'z')))
			return false;
	if (semicolon - p == 5 && strncasecmp(p, "utf-8", 5) == 0) {
		for (const char *c = semicolon + 1; c < p + len; c++)   /* \x{HEX} too */
			if (*c < 33 || *c > 126)
				return false;
		return semicolon + 1 < p + len;
	}
	return semicolon + 1 < p + len && smtp_xtext_ok(semicolon + 1, (size_t)(p + len - semicolon - 1));
}

static void keep(char *out, const char *p, size_t len)
{
	memcpy(out, p, len);
	out[len] = '\0';
}

static enum smtp_command_error mail_parameter(struct smtp_command *c, const char *key, size_t key_len, const char *value,
					      size_t len)
{
	bool ok;

	if (same(key, key_len, "SIZE")) {
		ok = !c->has_size && value && number(value, len, &c->size);
		c->has_size = true;
	} else if (same(key, key_len, "BODY")) {
		ok = c->body == BODY_NONE && value;
		if (ok)
			c->body = same(value, len, "8BITMIME") ? BODY_8BITMIME : same(value, len, "7BIT") ? BODY_7BIT : BODY_NONE;
		ok = ok && c->body != BODY_NONE;
	} else if (same(key, key_len, "SMTPUTF8")) {
		ok = !value;                                    /* said already: see parameters() */
	} else if (same(key, key_len, "RET")) {
		ok = c->ret == RET_NONE && value;
		if (ok)
			c->ret = same(value, len, "FULL") ? RET_FULL : same(value, len, "HDRS") ? RET_HDRS : RET_NONE;
		ok = ok && c->ret != RET_NONE;
	} else if (same(key, key_len, "ENVID")) {
		ok = !c->envid[0] && value && len > 0 && len <= SMTP_ENVID_MAX && smtp_xtext_ok(value, len);
		if (ok)
			keep(c->envid, value, len);
	} else if (same(key, key_len, "PRDR")) {
		ok = !c->prdr && !value;
		c->prdr = true;
	} else if (same(key, key_len, "AUTH")) {
		ok = !c->has_auth && value && len > 0 && len <= SMTP_ORCPT_MAX && smtp_xtext_ok(value, len);
		c->has_auth = true;
	} else {
		return COMMAND_PARAMETER_UNKNOWN;
	}
	return ok ? COMMAND_OK : COMMAND_PARAMETER;
}

static enum smtp_command_error rcpt_parameter(struct smtp_command *c, const char *key, size_t key_len, const char *value,
					      size_t len)
{
	bool ok;

	if (same(key, key_len, "NOTIFY")) {
		ok = !c->notify && value;
		if (ok)
			c->notify = notify_parse(value, len);
		ok = ok && c->notify;
	} else if (same(key, key_len, "ORCPT")) {
		ok = !c->orcpt[0] && value && orcpt_ok(value, len);
		if (ok)
			keep(c->orcpt, value, len);
	} else {
		return COMMAND_PARAMETER_UNKNOWN;
	}
	return ok ? COMMAND_OK : COMMAND_PARAMETER;
}

/* esmtp-keyword, RFC 5321 4.1.2 */
static bool keyword_ok(const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!(p[i] >= '0' && p[i] <= '9') && !((p[i] | 0x20) >= 'a' && (p[i] | 0x20) <= 'z') && (p[i] != '-' || i == 0))
			return false;
	return len > 0;
}

static enum smtp_command_error parameters(struct smtp_command *c, const char *p, size_t len)
{
	size_t i = blanks(p, len);

	if (len > 0 && i == 0)                                  /* "<a@b>SIZE=1" */
		return COMMAND_ARGUMENT;
	while (i < len) {
		size_t n = word(p + i, len - i), key_len = 0;
		const char *value = NULL;
		enum smtp_command_error e;

		while (key_len < n && p[i + key_len] != '=')
			key_len++;
		if (key_len < n)
			value = p + i + key_len + 1;
		show(c->parameter, sizeof(c->parameter), p + i, key_len);
		if (!keyword_ok(p + i, key_len))
			return COMMAND_ARGUMENT;
		e = (c->verb == VERB_MAIL ? mail_parameter : rcpt_parameter)(c, p + i, key_len, value,
									     value ? n - key_len - 1 : 0);
		if (e != COMMAND_OK)
			return e;
		i += n;
		i += blanks(p + i, len - i);
	}
	c->parameter[0] = '\0';
	return COMMAND_OK;
}

/* SMTPUTF8 comes after the address that it allows, RFC 6531 3.4: look ahead. */
static bool says_smtputf8(const char *p, size_t len)
{
	for (size_t i = 0; i < len;) {
		size_t n = word(p + i, len - i);

		if (i > 0 && same(p + i, n, "SMTPUTF8"))
			return true;
		i += n;
		i += blanks(p + i, len - i);
	}
	return false;
}

/* "FROM:<path> parameters" */
static enum smtp_command_error path_parse(struct smtp_command *c, const char *keyword, bool utf8)
{
	const char *p = c->arg;
	size_t len = c->arg_len, n = strlen(keyword);
	unsigned flags = c->verb == VERB_MAIL ? MAILBOX_NULL | MAILBOX_LONG_LOCAL : MAILBOX_POSTMASTER;

	if (len < n || strncasecmp(p, keyword, n) != 0)
		return COMMAND_ARGUMENT;
	p += n;
	len -= n;
	n = blanks(p, len);                                     /* "FROM :" is nobody's, "FROM: <" is many's */
	p += n;
	len -= n;
	if (c->verb == VERB_MAIL)
		c->smtputf8 = utf8 = says_smtputf8(p, len);
	/* Return paths that were rewritten (policy/srs.h) are long, and come back. */
	if (len > 4 && (strncasecmp(p, "<SRS", 4) == 0 || strncasecmp(p, "SRS", 3) == 0))
		flags |= MAILBOX_LONG_LOCAL;
	c->address_error = smtp_path_parse(p, len, flags | (utf8 ? MAILBOX_UTF8 : 0), &n, &c->path);
	if (c->address_error != ADDRESS_OK)
		return COMMAND_ADDRESS;
	return parameters(c, p + n, len - n);
}

/* What a client calls itself is judged by the policy; here it only has to be one printable word. */
static enum smtp_command_error helo_parse(struct smtp_command *c)
{
	char domain[SMTP_DOMAIN_MAX + 1];
	size_t n = word(c->arg, c->arg_len);

	if (n == 0)
		return COMMAND_ARGUMENT;
	if (n > SMTP_DOMAIN_MAX)
		return COMMAND_LONG;
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)c->arg[i] >= 0x80)
			return COMMAND_BYTES;
	keep(c->helo, c->arg, n);
	c->helo_valid = smtp_domain_parse(c->arg, n, 0, domain, &c->helo_literal) == ADDRESS_OK && n == c->arg_len;
	return COMMAND_OK;
}

static enum smtp_command_error bdat_parse(struct smtp_command *c)
{
	size_t n = word(c->arg, c->arg_len), rest = n + blanks(c->arg + n, c->arg_len - n);

	if (!number(c->arg, n, &c->chunk) || c->chunk == UINT64_MAX)
		return COMMAND_ARGUMENT;
	if (rest == c->arg_len)
		return COMMAND_OK;
	c->last = true;
	return same(c->arg + rest, c->arg_len - rest, "LAST") ? COMMAND_OK : COMMAND_ARGUMENT;
}

/* "PLAIN AGFubgBz", RFC 4954 4; an initial response of "=" is an empty one */
static enum smtp_command_error auth_parse(struct smtp_command *c)
{
	size_t n = word(c->arg, c->arg_len), rest = n + blanks(c->arg + n, c->arg_len - n);

	if (n == 0)
		return COMMAND_ARGUMENT;
	if (rest < c->arg_len) {
		c->initial = c->arg + rest;
		c->initial_len = c->arg_len - rest;
		if (!sasl_base64_ok(c->initial, c->initial_len) && !same(c->initial, c->initial_len, "="))
			return COMMAND_ARGUMENT;
	}
	c->mechanism = sasl_find(c->arg, n);
	return c->mechanism ? COMMAND_OK : COMMAND_MECHANISM;
}

static enum smtp_command_error arguments(struct smtp_command *c, enum takes takes, bool utf8)
{
	switch (takes) {
	case NOTHING:
		return c->arg_len == 0 ? COMMAND_OK : COMMAND_ARGUMENT;
	case ANYTHING:
		return COMMAND_OK;
	case NEEDED:
		return c->arg_len > 0 ? COMMAND_OK : COMMAND_ARGUMENT;
	case HELO:
		return helo_parse(c);
	case MAIL:
		return path_parse(c, "FROM:", utf8);
	case RCPT:
		return path_parse(c, "TO:", utf8);
	case BDAT:
		return bdat_parse(c);
	case AUTH:
		return auth_parse(c);
	}
	return COMMAND_UNKNOWN;
}

enum smtp_command_error smtp_command_parse(const char *line, size_t len, bool utf8, struct smtp_command *c)
{
	bool lf = len > 0 && line[len - 1] == '\n';
	bool crlf = lf && len > 1 && line[len - 2] == '\r';
	size_t n, from;
	enum takes takes = ANYTHING;

	memset(c, 0, sizeof(*c));
	len -= crlf ? 2 : lf ? 1 : 0;
	n = word(line, len);
	show(c->word, sizeof(c->word), line, n);
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (same(line, n, verbs[i].name)) {
			c->verb = verbs[i].verb;
			takes = verbs[i].takes;
		}
	from = n + blanks(line + n, len - n);
	while (len > from && is_blank(line[len - 1]))
		len--;
	c->arg = line + from;
	c->arg_len = len - from;
	if (!crlf)
		return COMMAND_BARE_LF;
	for (size_t i = 0; i < len; i++)
		if (((unsigned char)line[i] < 0x20 && line[i] != '\t') || line[i] == 0x7f)
			return COMMAND_BYTES;
	return c->verb == VERB_UNKNOWN ? COMMAND_UNKNOWN : arguments(c, takes, utf8);
}

static const char *argument_reply(enum smtp_verb verb)
{
	switch (verb) {
	case VERB_EHLO:
	case VERB_HELO:
		return "501 5.5.4 Expected a domain or an address literal";
	case VERB_MAIL:
		return "501 5.5.4 Expected MAIL FROM:<address> and parameters";
	case VERB_RCPT:
		return "501 5.5.4 Expected RCPT TO:<address> and parameters";
	case VERB_BDAT:
		return "501 5.5.4 Expected BDAT size [LAST]";
	case VERB_AUTH:
		return "501 5.5.4 Expected AUTH mechanism [initial response, base64]";
	case VERB_DATA:
	case VERB_RSET:
	case VERB_QUIT:
	case VERB_STARTTLS:
		return "501 5.5.4 This command takes no argument";
	default:
		return "501 5.5.4 This command needs an argument";
	}
}

const char *smtp_command_reply(const struct smtp_command *c, enum smtp_command_error e, char *buf, size_t size)
{
	switch (e) {
	case COMMAND_OK:
		break;
	case COMMAND_BARE_LF:
		return "500 5.5.2 Commands end with CR LF";
	case COMMAND_BYTES:
		return "500 5.5.2 Control or 8-bit characters in a command";
	case COMMAND_LONG:
		return "501 5.5.4 Argument too long";
	case COMMAND_UNKNOWN:
		return "500 5.5.1 Command not recognized";
	case COMMAND_ARGUMENT:
		return argument_reply(c->verb);
	case COMMAND_ADDRESS:
		return smtp_address_reply(c->address_error, c->verb == VERB_RCPT);
	case COMMAND_PARAMETER:
		snprintf(buf, size, "501 5.5.4 Bad or repeated parameter %s", c->parameter);
		return buf;
	case COMMAND_PARAMETER_UNKNOWN:
		snprintf(buf, size, "555 5.5.4 Parameter %s not recognized", c->parameter);
		return buf;
	case COMMAND_MECHANISM:
		return "504 5.5.4 Authentication mechanism not recognized";
	}
	return "250 2.0.0 OK";
}

static void add_word(struct buf *out, const char *key, const char *value)
{
	if (out->len > 0)
		buf_addc(out, ' ');
	buf_adds(out, key);
	buf_adds(out, value);
}

int smtp_command_params(const struct smtp_command *c, struct buf *out)
{
	static const struct { const char *name; unsigned bit; } names[] = {
		{ "NEVER", NOTIFY_NEVER }, { "SUCCESS", NOTIFY_SUCCESS },
		{ "FAILURE", NOTIFY_FAILURE }, { "DELAY", NOTIFY_DELAY },
	};
	const char *comma = "";

	if (c->body != BODY_NONE)
		add_word(out, "BODY=", c->body == BODY_7BIT ? "7BIT" : "8BITMIME");
	if (c->smtputf8)
		add_word(out, "SMTPUTF8", "");
	if (c->ret != RET_NONE)
		add_word(out, "RET=", c->ret == RET_FULL ? "FULL" : "HDRS");
	if (c->envid[0])
		add_word(out, "ENVID=", c->envid);
	if (c->notify) {
		add_word(out, "NOTIFY=", "");
		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
			if (c->notify & names[i].bit) {
				buf_adds(out, comma);
				buf_adds(out, names[i].name);
				comma = ",";
			}
	}
	if (c->orcpt[0])
		add_word(out, "ORCPT=", c->orcpt);
	return out->failed ? -ENOMEM : 0;
}

const char *smtp_verb_name(enum smtp_verb v)
{
	if (v == VERB_OBSOLETE || v == VERB_HTTP)
		return v == VERB_HTTP ? "HTTP" : "obsolete";
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (verbs[i].verb == v)
			return verbs[i].name;
	return "unknown";
}
