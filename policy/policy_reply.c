#include "policy/policy_rule.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/utf8.h"
#include "policy/near.h"

enum {
	REPLY_MAX = 480, /* a reply line is at most 512 bytes with its end, RFC 5321 4.5.3.1.5 */
	PREFIX_MAX = 100,
	HEADER_MAX = 900, /* a line is at most 998, RFC 5322 2.1.1 */
	FIELD_NAME_MAX = 76,
	LOCAL_PART_MAX = 64, /* RFC 5321 4.5.3.1.1 */
	LOG_TEXT_MAX = 200,
};

static bool printable(const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i] < 0x20 || p[i] > 0x7e)
			return false;
	return true;
}

static bool digit(char c)
{
	return c >= '0' && c <= '9';
}

static int refuse(struct buf *err, const char *what)
{
	buf_adds(err, what);
	return -EINVAL;
}

/* The length of "d.ddd.ddd " (RFC 3463) at the start of text, or 0. */
static size_t enhanced_len(const char *p, size_t len)
{
	size_t i = 0;

	if (len < 1 || !digit(p[i++]))
		return 0;
	for (int part = 0; part < 2; part++) {
		size_t digits = 0;

		if (i == len || p[i++] != '.')
			return 0;
		for (; i < len && digit(p[i]); i++)
			digits++;
		if (digits < 1 || digits > 3)
			return 0;
	}
	return i < len && p[i] == ' ' ? i + 1 : 0;
}

int policy_reply_text(enum action action, const char *text, size_t len, char **out, bool *coded, struct buf *err)
{
	char class = action == ACTION_REJECT ? '5' : '4';
	const char *word = action == ACTION_REJECT ? "reject" : "defer";
	const char *code = action == ACTION_REJECT ? "550" : "451",
		   *enhanced = action == ACTION_REJECT ? "5.7.1" : "4.7.1";
	size_t n, code_len = 3, enhanced_text = 5;
	AUTO(buf) struct buf b = BUF_INIT(REPLY_MAX + 64);

	if (!printable(text, len))
		return refuse(err, "a reply with bytes that are not printable ASCII, expected only "
				   "such (RFC 5321 4.2)");
	if (len > 3 && digit(text[0]) && digit(text[1]) && digit(text[2]) &&
	    (text[3] == ' ' || text[3] == '-')) {
		if (text[3] == '-')
			return refuse(err,
				      "a reply of several lines, expected one: \"550 5.7.1 text\"");
		if (text[0] != class || text[1] > '5') {
			buf_addf(err,
				 "reply code %.3s, expected %c50 to %c59 or another %cxx with %s",
				 text, class, class, class, word);
			return -EINVAL;
		}
		if (memcmp(text, "421", 3) == 0)
			return refuse(err, "reply code 421 would close the session, expected 450 "
					   "or 451 with defer");
		code = text;
		text += 4;
		len -= 4;
	}
	n = enhanced_len(text, len);
	if (n) {
		if (text[0] != class) {
			buf_addf(err,
				 "enhanced code %.*s, expected one that begins with %c, as the "
				 "reply code does",
				 (int)n - 1, text, class);
			return -EINVAL;
		}
		enhanced = text;
		enhanced_text = n - 1;
		text += n;
		len -= n;
	}
	if (len == 0 || text[0] == ' ' || text[len - 1] == ' ')
		return refuse(err, "a reply without text or with blanks at its ends, expected "
				   "\"550 5.7.1 text\" or \"text\"");
	if (len > REPLY_MAX - 20) {
		buf_addf(err, "a reply of %zu characters, expected at most %d", len,
			 REPLY_MAX - 20);
		return -EINVAL;
	}
	buf_addf(&b, "%.*s %.*s %.*s", (int)code_len, code, (int)enhanced_text, enhanced, (int)len,
		 text);
	*out = buf_steal(&b);
	*coded = n > 0;
	return *out ? 0 : -ENOMEM;
}

int policy_tag_prefix(const char *text, size_t len, char **out, struct buf *err)
{
	if (len == 0 || len > PREFIX_MAX || !printable(text, len)) {
		buf_addf(err,
			 "a subject prefix of %zu bytes, expected 1 to %d characters of printable "
			 "ASCII (others as an RFC 2047 word)",
			 len, PREFIX_MAX);
		return -EINVAL;
	}
	*out = strndup(text, len);
	return *out ? 0 : -ENOMEM;
}

static bool name_among(const char *name, size_t len, const char *const *names)
{
	for (; *names; names++)
		if (strlen(*names) == len && strncasecmp(*names, name, len) == 0)
			return true;
	return false;
}

static bool name_begins(const char *name, size_t len, const char *prefix)
{
	return len > strlen(prefix) && strncasecmp(name, prefix, strlen(prefix)) == 0;
}

/* Fields that there may be one of (RFC 5322 3.6), that trace or that sign: a second one would
   change what the message says. */
static bool field_reserved(const char *name, size_t len)
{
	static const char *const names[] = { "From",
					     "Sender",
					     "Reply-To",
					     "To",
					     "Cc",
					     "Bcc",
					     "Message-ID",
					     "In-Reply-To",
					     "References",
					     "Subject",
					     "Date",
					     "Received",
					     "Return-Path",
					     "DKIM-Signature",
					     "Authentication-Results",
					     "Received-SPF",
					     "MIME-Version",
					     NULL };

	return name_among(name, len, names) || name_begins(name, len, "ARC-") ||
	       name_begins(name, len, "Content-") || name_begins(name, len, "Resent-");
}

/* What a message cannot be without (RFC 5322 3.6), what says how it is to be read, and signatures. Received lines can go: RFC 5321
   4.4 would have them stay, but a site may keep the names and addresses of its inside to itself. */
static bool field_kept(const char *name, size_t len)
{
	static const char *const names[] = { "From", "To", "Cc", "Subject", "Date", "Message-ID", "Return-Path",
					     "DKIM-Signature", "MIME-Version", NULL };

	return name_among(name, len, names) || name_begins(name, len, "ARC-") ||
	       name_begins(name, len, "Content-") || name_begins(name, len, "Resent-");
}

int policy_tag_header(const char *text, size_t len, char **out, struct buf *err)
{
	const char *colon = memchr(text, ':', len);
	size_t name = colon ? (size_t)(colon - text) : 0, value;

	if (!printable(text, len) || len > HEADER_MAX) {
		buf_addf(err,
			 "a header field of %zu bytes, expected at most %d characters of printable "
			 "ASCII",
			 len, HEADER_MAX);
		return -EINVAL;
	}
	if (name == 0 || memchr(text, ' ', name))
		return refuse(err, "a header field without a name, expected \"Name: value\"");
	if (field_reserved(text, name)) {
		buf_addf(err,
			 "header field %.*s belongs to the message, expected another name, such as "
			 "X-%.*s",
			 (int)name, text, (int)name, text);
		return -EINVAL;
	}
	value = name + 1;
	while (value < len && text[value] == ' ')
		value++;
	if (value == len)
		return refuse(err, "a header field without a value, expected \"Name: value\"");
	if (asprintf(out, "%.*s: %.*s", (int)name, text, (int)(len - value), text + value) < 0)
		return -ENOMEM;
	return 0;
}

int policy_remove_header(const char *text, size_t len, char **out, struct buf *err)
{
	if (len == 0 || len > FIELD_NAME_MAX || !printable(text, len) || memchr(text, ' ', len) || memchr(text, ':', len)) {
		buf_addf(err,
			 "a header field's name of %zu bytes, expected 1 to %d characters of printable ASCII without blank or "
			 "colon",
			 len, FIELD_NAME_MAX);
		return -EINVAL;
	}
	if (field_kept(text, len)) {
		buf_addf(err, "header field %.*s stays, as the message or its way would be another without it, expected a "
			 "field such as X-Spam-Flag",
			 (int)len, text);
		return -EINVAL;
	}
	*out = strndup(text, len);
	return *out ? 0 : -ENOMEM;
}

/* A local part without quotes (RFC 5321 4.1.2, Dot-string). */
static bool dot_string(const char *p, size_t len)
{
	char before = '.';

	if (len == 0 || len > LOCAL_PART_MAX)
		return false;
	for (size_t i = 0; i < len; before = p[i++])
		if (p[i] == '.' ? before == '.'
				: !((p[i] >= 'a' && p[i] <= 'z') || (p[i] >= 'A' && p[i] <= 'Z') ||
				    digit(p[i]) || (p[i] && strchr("!#$%&'*+-/=?^_`{|}~", p[i]))))
			return false;
	return before != '.';
}

int policy_mailbox(const char *text, size_t len, char **out, struct buf *err)
{
	const char *at = memrchr(text, '@', len);
	size_t local = at ? (size_t)(at - text) : 0;
	char domain[254];

	if (!printable(text, len))
		return refuse(err, "a mailbox with bytes that are not printable ASCII, expected one such as user@example.com");
	if (!dot_string(text, local) ||
	    !policy_domain_text(at + 1, len - local - 1, domain)) {
		buf_addf(err, "%.*s is no mailbox, expected one such as user@example.com", (int)(len > 80 ? 80 : len), text);
		return -EINVAL;
	}
	if (asprintf(out, "%.*s@%s", (int)local, text, domain) < 0)
		return -ENOMEM;
	return 0;
}

int policy_log_text(const char *text, size_t len, char **out, struct buf *err)
{
	bool fine = len > 0 && len <= LOG_TEXT_MAX;

	for (size_t i = 0, n; fine && i < len; i += n) {
		n = utf8_len(text + i, len - i);
		fine = n > 0 && (unsigned char)text[i] >= 0x20 && text[i] != 0x7f;
	}
	if (!fine) {
		buf_addf(err, "a text of %zu bytes, expected 1 to %d bytes of UTF-8 without control characters", len,
			 LOG_TEXT_MAX);
		return -EINVAL;
	}
	*out = strndup(text, len);
	return *out ? 0 : -ENOMEM;
}

const char *policy_suggest(const char *word, size_t len, const char *const *candidates)
{
	const char *const *all = candidates;
	const char *best = NULL;
	size_t least = len < 4 ? 2 : len < 8 ? 3 : 4; /* more changes than that are another word */

	for (; *candidates; candidates++) {
		size_t d = near_distance(word, len, *candidates, strlen(*candidates));

		if (d < least) {
			least = d;
			best = *candidates;
		}
	}
	if (best)
		return best;
	/* "client" for "client.ip": the beginning of names that go on. */
	for (; *all; all++)
		if (strncmp(*all, word, len) == 0 && (*all)[len] == '.')
			return *all;
	return NULL;
}
