#include "policy/policy_lex.h"

#include <string.h>

void policy_lex_init(struct lexer *l, const char *text, size_t len)
{
	*l = (struct lexer){ .p = text, .end = text + len, .line_start = text, .counted = text };
	l->line = l->column = 1;
	if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)   /* the mark some editors write */
		l->p = l->line_start = l->counted = text + 3;
}

static bool word_byte(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (unsigned char)c >= 0x80 || (c && strchr("._-+@:/%*", c));
}

/* Of l->p; counted on from the token before, since a line may be long. */
static int column_of(struct lexer *l)
{
	if (l->counted < l->line_start) {
		l->counted = l->line_start;
		l->column = 1;
	}
	for (; l->counted < l->p; l->counted++) {
		unsigned char c = (unsigned char)*l->counted;

		l->column += (c & 0xc0) != 0x80;        /* not bytes that continue a character */
	}
	return l->column;
}

/* True when a line end was passed. */
static bool skip_blank(struct lexer *l)
{
	bool line_end = false;

	while (l->p < l->end) {
		char c = *l->p;

		if (c == '#') {
			while (l->p < l->end && *l->p != '\n')
				l->p++;
		} else if (c == '\n') {
			l->line_start = ++l->p;
			l->line++;
			line_end = true;
		} else if (c == ' ' || c == '\t' || c == '\r') {
			l->p++;
		} else {
			break;
		}
	}
	return line_end;
}

/* From the opening quote or slash to the closing one, on one line. */
static void quoted(struct lexer *l, struct token *t, char quote, enum token_kind kind,
		   const char *error)
{
	const char *q = l->p + 1;

	while (q < l->end && *q != quote && *q != '\n' && *q != '\0')
		q += *q == '\\' && q + 1 < l->end && q[1] != '\n' && q[1] != '\0' ? 2 : 1;
	if (q < l->end && *q == quote) {
		t->kind = kind;
		q++;
	} else {
		t->kind = TOKEN_BAD;
		t->error = error;
	}
	l->p = q;
}

/* Signs of one or two characters; what other languages write gets a hint. */
static void sign(struct lexer *l, struct token *t)
{
	static const struct {
		const char *text;
		enum token_kind kind;
		const char *error;
	} signs[] = {
		{ "==", TOKEN_BAD, "== is not an operator, expected =" },
		{ "=~", TOKEN_BAD, "=~ is not an operator, expected ~" },
		{ "!=", TOKEN_NE, NULL },
		{ "!~", TOKEN_BAD, "!~ is not an operator, expected: not fact ~ /regex/" },
		{ "<=", TOKEN_LE, NULL },
		{ "<>", TOKEN_BAD, "<> is not an operator, expected !=" },
		{ ">=", TOKEN_GE, NULL },
		{ "&&", TOKEN_BAD, "&& is not an operator, expected and" },
		{ "||", TOKEN_BAD, "|| is not an operator, expected or" },
		{ "=", TOKEN_EQ, NULL },
		{ "<", TOKEN_LT, NULL },
		{ ">", TOKEN_GT, NULL },
		{ "~", TOKEN_MATCH, NULL },
		{ "(", TOKEN_OPEN, NULL },
		{ ")", TOKEN_CLOSE, NULL },
		{ "{", TOKEN_OPEN_BRACE, NULL },
		{ "}", TOKEN_CLOSE_BRACE, NULL },
		{ ",", TOKEN_COMMA, NULL },
		{ "!", TOKEN_BAD, "! is not an operator, expected not" },
		{ ";", TOKEN_BAD, "a rule ends with its line, expected no ;" },
		{ "'", TOKEN_BAD, "a text stands between double quotes, expected \"" },
	};

	for (size_t i = 0; i < sizeof(signs) / sizeof(*signs); i++) {
		size_t n = strlen(signs[i].text);

		if ((size_t)(l->end - l->p) >= n && memcmp(l->p, signs[i].text, n) == 0) {
			t->kind = signs[i].kind;
			t->error = signs[i].error;
			l->p += n;
			return;
		}
	}
	t->kind = TOKEN_BAD;
	t->error = *l->p ? "a character that means nothing here, expected a word, a text in double "
			   "quotes or an operator"
			 : "a NUL byte, expected text";
	l->p++;
}

void policy_lex_next(struct lexer *l, struct token *t)
{
	const char *before = l->p;
	bool line_end = skip_blank(l);

	*t = (struct token){ .text = l->p, .line = l->line, .spaced = l->p != before };
	t->first = line_end || before == l->line_start;
	t->column = column_of(l);
	if (l->p == l->end) {
		t->kind = TOKEN_END;
		return;
	}
	if (*l->p == '"')
		quoted(l, t, '"', TOKEN_STRING,
		       "a text without its end, expected \" on the same line");
	else if (*l->p == '/')
		quoted(l, t, '/', TOKEN_REGEX,
		       "a regular expression without its end, expected / on the same line");
	else if (word_byte(*l->p)) {
		while (l->p < l->end && word_byte(*l->p))
			l->p++;
		t->kind = TOKEN_WORD;
	} else {
		sign(l, t);
	}
	t->len = (size_t)(l->p - t->text);
}

bool token_is(const struct token *t, const char *word)
{
	return t->kind == TOKEN_WORD && strlen(word) == t->len &&
	       memcmp(word, t->text, t->len) == 0;
}

int token_value(const struct token *t, struct buf *out)
{
	if (t->kind == TOKEN_WORD)
		return buf_add(out, t->text, t->len);
	for (size_t i = 1; i + 1 < t->len; i++) {
		char c = t->text[i], next = t->text[i + 1]; /* the closing quote at the latest */
		int rc;

		if (c == '\\' && i + 2 < t->len &&
		    (next == *t->text || (t->kind == TOKEN_STRING && next == '\\'))) {
			c = next;
			i++;
		} else if (c == '\\' && i + 2 < t->len && t->kind == TOKEN_REGEX) {
			/* \\ and the like stay as they are, both bytes */
			if ((rc = buf_addc(out, c)) < 0)
				return rc;
			c = next;
			i++;
		}
		if ((rc = buf_addc(out, c)) < 0)
			return rc;
	}
	return 0;
}
