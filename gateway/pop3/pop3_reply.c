#include "pop3/pop3_reply.h"

#include <string.h>
#include <strings.h>

/* "[SYS/TEMP] text": printable, no brackets inside */
static void find_code(struct pop3_reply *r)
{
	const char *end;

	r->code = NULL;
	r->code_len = 0;
	if (r->text_len < 3 || r->text[0] != '[')
		return;
	end = memchr(r->text, ']', r->text_len);
	if (!end || end == r->text + 1)
		return;
	for (const char *p = r->text + 1; p < end; p++)
		if (*p <= 0x20 || *p > 0x7e || *p == '[')
			return;
	r->code = r->text + 1;
	r->code_len = (size_t)(end - r->code);
}

bool pop3_reply_parse(const char *line, size_t len, struct pop3_reply *out)
{
	struct pop3_reply r;
	size_t word;

	if (len < 3 || line[len - 1] != '\n' || line[len - 2] != '\r')
		return false;
	r.line = line;
	r.line_len = len;
	len -= 2;
	if (memchr(line, '\0', len) || memchr(line, '\r', len) || memchr(line, '\n', len))
		return false;
	if (len >= 3 && memcmp(line, "+OK", 3) == 0) {
		r.status = POP3_STATUS_OK;
		word = 3;
	} else if (len >= 4 && memcmp(line, "-ERR", 4) == 0) {
		r.status = POP3_STATUS_ERR;
		word = 4;
	} else if (line[0] == '+') {
		r.status = POP3_STATUS_CHALLENGE;       /* some servers send an empty one as "+" without a blank */
		word = 1;
	} else {
		return false;
	}
	if (len > word && line[word] != ' ' && (line[word] != '\t' || word == 1))
		return false;
	if (len + 2 > (r.status == POP3_STATUS_CHALLENGE ? POP3_CHALLENGE_MAX : POP3_REPLY_MAX))
		return false;
	r.text = line + word + (len > word);
	r.text_len = (size_t)(line + len - r.text);
	find_code(&r);
	*out = r;
	return true;
}

bool pop3_reply_is(const struct pop3_reply *r, const char *code)
{
	size_t n = strlen(code);

	return r->code && r->code_len >= n && strncasecmp(r->code, code, n) == 0 && (r->code_len == n || r->code[n] == '/');
}

/* p[from..to) is cut out, with the blanks before it. The new length. */
static size_t cut(char *p, size_t len, size_t from, size_t to)
{
	while (from > 0 && p[from - 1] == ' ')
		from--;
	if (from == 0)
		while (to < len && p[to] == ' ')
			to++;
	memmove(p + from, p + to, len - to);
	return len - (to - from);
}

size_t pop3_greeting_text(const struct pop3_reply *r, bool timestamp, char *out)
{
	size_t n = r->text_len;
	const char *first, *last;

	memcpy(out, r->text, n);
	if (pop3_reply_is(r, "XCLIENT"))
		n = cut(out, n, 0, r->code_len + 2);
	first = timestamp ? memchr(out, '<', n) : NULL;
	if (first) {
		last = memrchr(first, '>', (size_t)(out + n - first));
		if (last && memchr(last, '<', (size_t)(out + n - last)))
			last = NULL;            /* one that does not end */
		n = cut(out, n, (size_t)(first - out), last ? (size_t)(last + 1 - out) : n);
	}
	return n;
}
