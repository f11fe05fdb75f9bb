#include "imap/imap_after.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

static const struct { const char *name; enum imap_deed deed; const char *why; } commands[] = {
	{ "CAPABILITY", IMAP_DEED_PASS, NULL }, { "NOOP", IMAP_DEED_PASS, NULL }, { "LOGOUT", IMAP_DEED_PASS, NULL },
	{ "ID", IMAP_DEED_PASS, NULL },                                                                                 /* RFC 2971 */
	{ "ENABLE", IMAP_DEED_ENABLE, NULL },                                                                           /* RFC 5161 */
	{ "SELECT", IMAP_DEED_SELECT, NULL }, { "EXAMINE", IMAP_DEED_SELECT, NULL },
	{ "CLOSE", IMAP_DEED_CLOSE, NULL }, { "UNSELECT", IMAP_DEED_CLOSE, NULL },                                      /* RFC 3691 */
	{ "CREATE", IMAP_DEED_PASS, NULL }, { "DELETE", IMAP_DEED_PASS, NULL }, { "RENAME", IMAP_DEED_PASS, NULL },
	{ "SUBSCRIBE", IMAP_DEED_PASS, NULL }, { "UNSUBSCRIBE", IMAP_DEED_PASS, NULL },
	{ "LIST", IMAP_DEED_PASS, NULL }, { "LSUB", IMAP_DEED_PASS, NULL }, { "XLIST", IMAP_DEED_PASS, NULL },
	{ "RLIST", IMAP_DEED_PASS, NULL }, { "RLSUB", IMAP_DEED_PASS, NULL },                                           /* RFC 2193 */
	{ "NAMESPACE", IMAP_DEED_PASS, NULL }, { "STATUS", IMAP_DEED_PASS, NULL },
	{ "APPEND", IMAP_DEED_PASS, NULL }, { "REPLACE", IMAP_DEED_PASS, NULL },                                        /* RFC 8508 */
	{ "IDLE", IMAP_DEED_IDLE, NULL },                                                                               /* RFC 2177 */
	{ "CHECK", IMAP_DEED_PASS, NULL }, { "EXPUNGE", IMAP_DEED_PASS, NULL },
	{ "SEARCH", IMAP_DEED_PASS, NULL }, { "ESEARCH", IMAP_DEED_PASS, NULL }, { "CANCELUPDATE", IMAP_DEED_PASS, NULL },      /* RFC 7377, 5267 */
	{ "SORT", IMAP_DEED_PASS, NULL }, { "THREAD", IMAP_DEED_PASS, NULL },                                           /* RFC 5256 */
	{ "FETCH", IMAP_DEED_FETCH, NULL }, { "STORE", IMAP_DEED_PASS, NULL }, { "COPY", IMAP_DEED_PASS, NULL }, { "MOVE", IMAP_DEED_PASS, NULL },
	{ "GETQUOTA", IMAP_DEED_PASS, NULL }, { "GETQUOTAROOT", IMAP_DEED_PASS, NULL }, { "SETQUOTA", IMAP_DEED_PASS, NULL },   /* RFC 9208 */
	{ "GETACL", IMAP_DEED_PASS, NULL }, { "SETACL", IMAP_DEED_PASS, NULL }, { "DELETEACL", IMAP_DEED_PASS, NULL },  /* RFC 4314 */
	{ "LISTRIGHTS", IMAP_DEED_PASS, NULL }, { "MYRIGHTS", IMAP_DEED_PASS, NULL },
	{ "GETMETADATA", IMAP_DEED_PASS, NULL }, { "SETMETADATA", IMAP_DEED_PASS, NULL },                               /* RFC 5464 */
	{ "GETANNOTATION", IMAP_DEED_PASS, NULL }, { "SETANNOTATION", IMAP_DEED_PASS, NULL },                           /* before it was one */
	{ "LANGUAGE", IMAP_DEED_PASS, NULL }, { "COMPARATOR", IMAP_DEED_PASS, NULL },                                   /* RFC 5255 */
	{ "COMPRESS", IMAP_DEED_REFUSE, "compression is not offered here" },
	{ "NOTIFY", IMAP_DEED_REFUSE, "NOTIFY is not offered here" },
	{ "CONVERT", IMAP_DEED_REFUSE, "CONVERT is not offered here" },
	{ "UNAUTHENTICATE", IMAP_DEED_REFUSE, "UNAUTHENTICATE is not offered here" },
	{ "GENURLAUTH", IMAP_DEED_REFUSE, "URLAUTH is not offered here" }, { "URLFETCH", IMAP_DEED_REFUSE, "URLAUTH is not offered here" },
	{ "RESETKEY", IMAP_DEED_REFUSE, "URLAUTH is not offered here" },
	{ "LOGIN", IMAP_DEED_REFUSE, "you have logged in already" }, { "AUTHENTICATE", IMAP_DEED_REFUSE, "you have logged in already" },
	{ "STARTTLS", IMAP_DEED_REFUSE, "you have logged in already" },
};

static const char *const with_uid[] = { "FETCH", "STORE", "COPY", "MOVE", "SEARCH", "SORT", "THREAD", "EXPUNGE", "REPLACE", NULL };

/* A line, its end not counted, holds nothing that somebody could take for another line's end. */
static bool line_is_one(const char *line, size_t len)
{
	return len >= 2 && line[len - 2] == '\r' && line[len - 1] == '\n' && !memchr(line, '\0', len) && !memchr(line, '\r', len - 2) &&
	       !memchr(line, '\n', len - 1);
}

bool imap_after_more(const char *line, size_t len, bool *literal, uint64_t *size, bool *sync)
{
	*literal = false;
	if (!line_is_one(line, len))
		return false;
	*literal = imap_literal_at_end(line, len - 2, size, sync);
	return true;
}

/* RFC 9051 section 9: ASTRING-CHAR, but no plus. */
static bool take_tag(struct imap_after *a, struct imap_span tag)
{
	strcpy(a->tag, "*");
	if (tag.len == 0 || tag.len > IMAP_TAG_MAX)
		return false;
	for (size_t i = 0; i < tag.len; i++) {
		unsigned char c = (unsigned char)tag.p[i];

		if (c <= 0x20 || c >= 0x7f || strchr("(){%*\"\\+", c))
			return false;
	}
	memcpy(a->tag, tag.p, tag.len);
	a->tag[tag.len] = '\0';
	return true;
}

static void refuse(struct imap_after *a, const char *why)
{
	a->deed = IMAP_DEED_REFUSE;
	a->why = why;
}

static void find_command(struct imap_after *a, struct imap_span s)
{
	struct imap_span name = imap_span_take(&s);

	a->uid = imap_span_is(name, "UID");
	if (a->uid) {
		size_t i = 0;

		name = imap_span_take(&s);
		while (with_uid[i] && !imap_span_is(name, with_uid[i]))
			i++;
		if (!with_uid[i]) {
			refuse(a, "not known behind UID");
			return;
		}
	}
	a->args = s;
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (imap_span_is(name, commands[i].name)) {
			a->deed = commands[i].deed;
			a->why = commands[i].why;
			return;
		}
	refuse(a, "unknown command");
}

void imap_after_parse(const char *line, size_t len, struct imap_after *out)
{
	struct imap_span s = { line, len }, tag;
	bool fine = line_is_one(line, len);

	memset(out, 0, sizeof(*out));
	while (s.len && (s.p[s.len - 1] == '\n' || s.p[s.len - 1] == '\r'))
		s.len--;
	out->literal = imap_literal_at_end(s.p, s.len, &out->size, &out->sync);
	out->bad_line = !fine;
	if (fine && imap_span_is(s, "DONE")) {
		out->deed = IMAP_DEED_STRAY_DONE;
		return;
	}
	tag = imap_span_take(&s);
	if (!take_tag(out, tag))
		refuse(out, "a command begins with a tag");
	else if (!fine)
		refuse(out, "lines end with CR LF, and hold no other CR, no LF, no NUL");
	else
		find_command(out, s);
}

void imap_mailbox_fold(char *name, size_t len)
{
	if (len == 5 && strncasecmp(name, "INBOX", 5) == 0)
		memcpy(name, "INBOX", 5);
}

int imap_after_mailbox(const struct imap_after *a, char *out, size_t size)
{
	struct imap_span s = a->args;
	size_t n = 0;

	if (s.len == 0)
		return -EINVAL;
	if (s.p[0] == '{' || (s.p[0] == '~' && s.len > 1 && s.p[1] == '{'))
		return a->literal ? -EAGAIN : -EINVAL;
	if (s.p[0] != '"') {
		s = imap_span_take(&s);
		if (s.len == 0 || s.len >= size)
			return -EINVAL;
		/* Servers differ in where an atom ends that has one of these in it. */
		for (size_t i = 0; i < s.len; i++)
			if (strchr("(){\"\\", s.p[i]) || (unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
				return -EINVAL;
		memcpy(out, s.p, s.len);
		n = s.len;
	} else {
		size_t i;

		for (i = 1; i < s.len && s.p[i] != '"'; i++) {
			if (s.p[i] == '\\')
				i++;
			if (i >= s.len || n + 1 >= size)
				return -EINVAL;
			out[n++] = s.p[i];
		}
		if (i >= s.len || (i + 1 < s.len && s.p[i + 1] != ' '))
			return -EINVAL;
	}
	imap_mailbox_fold(out, n);
	out[n] = '\0';
	return (int)n;
}
