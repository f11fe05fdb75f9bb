#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#if defined(__has_include)
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#endif
#endif
#ifndef VALGRIND_MAKE_MEM_DEFINED
#define VALGRIND_MAKE_MEM_DEFINED(at, len) ((void)0)
#endif

#include "base/buf.h"
#include "imap/imap_command.h"

/* What the parser understood, in words: "a1 LOGIN [ann] [secret]"; each "+ " that it asks for is a "+" in front. */
static void show_arg(const struct imap_command *c, const struct imap_arg *a, struct buf *out)
{
	char text[IMAP_LITERAL_MAX];
	int n = imap_arg_decode(c, a, text, sizeof(text));

	assert_true(n >= 0);
	if (a->form == IMAP_NIL)
		buf_adds(out, " NIL");
	else
		buf_addf(out, a->form == IMAP_ATOM ? " %.*s" : a->form == IMAP_QUOTED ? " \"%.*s\"" : " {%.*s}", n, text);
}

static void show(const struct imap_command *c, struct buf *out)
{
	struct imap_arg field, value;
	size_t pos = 0;

	buf_addf(out, "%s %s", c->tag, imap_verb_name(c->verb));
	for (int i = 0; i < 2 && (c->verb == IMAP_LOGIN || c->verb == IMAP_AUTHENTICATE); i++)
		if (c->arg[i].form != IMAP_NONE)
			show_arg(c, &c->arg[i], out);
	while (c->verb == IMAP_ID && imap_id_next(c, &pos, &field, &value)) {
		show_arg(c, &field, out);
		show_arg(c, &value, out);
	}
}

/* Feed it as a session does; literals in pieces of at most piece octets. What is left of the input: *rest. */
static enum imap_step feed(struct imap_command *c, const char *in, size_t len, size_t piece, struct buf *out, size_t *rest)
{
	enum imap_step step = IMAP_WANTS_LINE;
	size_t i = 0;

	while (step < IMAP_COMMAND) {
		const char *lf = memchr(in + i, '\n', len - i);
		size_t n = lf ? (size_t)(lf - in) + 1 - i : len - i;

		if (step == IMAP_WANTS_CONTINUE) {
			buf_addc(out, '+');
			step = c->want ? IMAP_WANTS_LITERAL : IMAP_WANTS_LINE;
		} else if (step == IMAP_WANTS_LITERAL) {
			n = c->want < piece ? c->want : piece;
			n = n < len - i ? n : len - i;
			if (n == 0)
				break;
			step = imap_command_literal(c, in + i, n);
			i += n;
		} else {
			if (n == 0)
				break;
			step = imap_command_line(c, in + i, n);
			i += n;
		}
	}
	*rest = len - i;
	return step;
}

#define MORE IMAP_WANTS_LINE
/* want: what it said, and for a complete command its words; for a refused one tag and why. rest: octets that are the next command's. */
static const struct { const char *name, *in; enum imap_step step; const char *want; size_t rest; } rows[] = {
	{ "capability", "a CAPABILITY\r\n", IMAP_COMMAND, "a CAPABILITY", 0 },
	{ "case", "A1 nOOp\r\n", IMAP_COMMAND, "A1 NOOP", 0 },
	{ "blank behind", "A1 LOGOUT \r\n", IMAP_COMMAND, "A1 LOGOUT", 0 },
	{ "next one", "a STARTTLS\r\nb NOOP\r\n", IMAP_COMMAND, "a STARTTLS", 8 },
	{ "tags of all kinds", ".#$&'-/:;<=>?@[]^_`|}~ NOOP\r\n", IMAP_COMMAND, ".#$&'-/:;<=>?@[]^_`|}~ NOOP", 0 },
	{ "login", "a LOGIN ann secret\r\n", IMAP_COMMAND, "a LOGIN ann secret", 0 },
	{ "login, quoted", "a login \"ann\" \"a b\\\"c\\\\\"\r\n", IMAP_COMMAND, "a LOGIN \"ann\" \"a b\"c\\\"", 0 },
	{ "login, empty", "a LOGIN \"\" \"\"\r\n", IMAP_COMMAND, "a LOGIN \"\" \"\"", 0 },
	{ "login, a bracket in an atom", "a LOGIN an]n p]\r\n", IMAP_COMMAND, "a LOGIN an]n p]", 0 },
	{ "login, UTF-8", "a LOGIN \"жук\" \"é\"\r\n", IMAP_COMMAND, "a LOGIN \"жук\" \"é\"", 0 },
	{ "login, braces in quotes", "a LOGIN ann \"x{5}\"\r\n", IMAP_COMMAND, "a LOGIN ann \"x{5}\"", 0 },
	{ "login, synchronising", "a LOGIN {3}\r\nann {6}\r\nsecret\r\n", IMAP_COMMAND, "++a LOGIN {ann} {secret}", 0 },
	{ "login, LITERAL+", "a LOGIN {3+}\r\nann {6+}\r\nsecret\r\n", IMAP_COMMAND, "a LOGIN {ann} {secret}", 0 },
	{ "login, mixed", "a LOGIN ann {6}\r\nsecret\r\n", IMAP_COMMAND, "+a LOGIN ann {secret}", 0 },
	{ "login, empty literals", "a LOGIN {0}\r\n {0+}\r\n\r\n", IMAP_COMMAND, "+a LOGIN {} {}", 0 },
	{ "login, a literal with line ends", "a LOGIN ann {8+}\r\na\r\n{5}\r\n\r\n", IMAP_COMMAND, "a LOGIN ann {a\r\n{5}\r\n}", 0 },
	{ "login, a literal like a command", "a LOGIN ann {9+}\r\nb NOOP\r\n\n\r\n", IMAP_COMMAND, "a LOGIN ann {b NOOP\r\n\n}", 0 },
	{ "login, 8-bit literal", "a LOGIN ann {2}\r\n\xff\xfe\r\n", IMAP_COMMAND, "+a LOGIN ann {\xff\xfe}", 0 },
	{ "login, zeros in front", "a LOGIN ann {0000002}\r\nab\r\n", IMAP_COMMAND, "+a LOGIN ann {ab}", 0 },
	{ "authenticate", "a AUTHENTICATE PLAIN\r\n", IMAP_COMMAND, "a AUTHENTICATE PLAIN", 0 },
	{ "authenticate, SASL-IR", "a authenticate scram-sha-1 bm8=\r\n", IMAP_COMMAND, "a AUTHENTICATE scram-sha-1 bm8=", 0 },
	{ "authenticate, an empty response", "a AUTHENTICATE PLAIN =\r\n", IMAP_COMMAND, "a AUTHENTICATE PLAIN =", 0 },
	{ "id", "a ID NIL\r\n", IMAP_COMMAND, "a ID", 0 },
	{ "id, nothing", "a ID ()\r\n", IMAP_COMMAND, "a ID", 0 },
	{ "id, two", "a id (\"name\" \"mutt\" \"os\" nil)\r\n", IMAP_COMMAND, "a ID \"name\" \"mutt\" \"os\" NIL", 0 },
	{ "id, literals", "a ID ({4}\r\nname {4+}\r\nmutt \"os\" {1}\r\nx)\r\n", IMAP_COMMAND, "++a ID {name} {mutt} \"os\" {x}", 0 },

	{ "nothing", "\r\n", IMAP_BAD, "* a command begins with a tag", 0 },
	{ "a blank", " \r\n", IMAP_BAD, "* a command begins with a tag", 0 },
	{ "tag alone", "a\r\n", IMAP_BAD, "a a tag and no command", 0 },
	{ "tag and blank", "a \r\n", IMAP_BAD, "a unknown command, or none before a login", 0 },
	{ "two blanks", "a  NOOP\r\n", IMAP_BAD, "a unknown command, or none before a login", 0 },
	{ "a plus", "+ NOOP\r\n", IMAP_BAD, "* a command begins with a tag", 0 },
	{ "a star", "* NOOP\r\n", IMAP_BAD, "* a command begins with a tag", 0 },
	{ "a list as tag", "(a) NOOP\r\n", IMAP_BAD, "* a command begins with a tag", 0 },
	{ "8-bit tag", "\xe9 NOOP\r\n", IMAP_BAD, "* a command begins with a tag", 0 },
	{ "no tag", "NOOP\r\n", IMAP_BAD, "NOOP a tag and no command", 0 },
	{ "http", "GET / HTTP/1.1\r\n", IMAP_BAD, "GET unknown command, or none before a login", 0 },
	{ "smtp", "EHLO there\r\n", IMAP_BAD, "EHLO unknown command, or none before a login", 0 },
	{ "TLS to a plain port", "\x16\x03\x01\x02\r\n", IMAP_BAD, "* a command begins with a tag", 0 },
	{ "select", "a SELECT inbox\r\n", IMAP_BAD, "a unknown command, or none before a login", 0 },
	{ "compress", "a COMPRESS DEFLATE\r\n", IMAP_BAD, "a unknown command, or none before a login", 0 },
	{ "x", "a XYZZY\r\n", IMAP_BAD, "a unknown command, or none before a login", 0 },
	{ "verb and more", "a NOOPX\r\n", IMAP_BAD, "a unknown command, or none before a login", 0 },
	{ "noop with text", "a NOOP x\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "tab", "a NOOP\t\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "bare LF", "a NOOP\n", IMAP_BAD, "* lines end with CR LF", 0 },
	{ "LF alone", "\n", IMAP_BAD, "* lines end with CR LF", 0 },
	{ "no line end", "a NOOP", IMAP_BAD, "* lines end with CR LF", 0 },
	{ "bare CR", "a NOOP\rb\r\n", IMAP_BAD, "* bare CR in a command", 0 },
	{ "CR CR LF", "a NOOP\r\r\n", IMAP_BAD, "* bare CR in a command", 0 },
	{ "bare CR in quotes", "a LOGIN \"a\rb\" c\r\n", IMAP_BAD, "* bare CR in a command", 0 },
	{ "starttls with more", "a STARTTLS now\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "login alone", "a LOGIN\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "login, no password", "a LOGIN ann\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "login, no password but a blank", "a LOGIN ann \r\n", IMAP_BAD, "a malformed command", 0 },
	{ "login, three", "a LOGIN ann b c\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "login, two blanks", "a LOGIN ann  b\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "login, glued", "a LOGIN \"ann\"\"b\"\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "login, open quote", "a LOGIN ann \"b\r\n", IMAP_BAD, "a a quoted string without its end", 0 },
	{ "login, open escape", "a LOGIN ann \"b\\\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "login, the quote is escaped", "a LOGIN ann \"b\\\"\r\n", IMAP_BAD, "a a quoted string without its end", 0 },
	{ "login, escape of a letter", "a LOGIN ann \"\\b\"\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "login, list", "a LOGIN (ann b)\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "login, wildcard", "a LOGIN ann b*\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "login, backslash", "a LOGIN dom\\ann b\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "login, quote in an atom", "a LOGIN a\"n b\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "login, control", "a LOGIN ann b\x01\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "login, delete", "a LOGIN ann b\x7f\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "login, 8-bit atom", "a LOGIN ann \xc3\xa9\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "login, 8-bit that is no UTF-8", "a LOGIN ann \"\xe9\"\r\n", IMAP_BAD, "a 8-bit octets that are no UTF-8", 0 },
	{ "login, cut UTF-8", "a LOGIN ann \"\xc3\"\r\n", IMAP_BAD, "a 8-bit octets that are no UTF-8", 0 },
	{ "literal glued", "a LOGIN ann{3}\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "literal without a size", "a LOGIN ann {}\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "literal with a plus alone", "a LOGIN ann {+}\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "literal, negative", "a LOGIN ann {-1}\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "literal, hex", "a LOGIN ann {0x5}\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "literal, two pluses", "a LOGIN ann {3++}\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "literal, LITERAL- is no sign", "a LOGIN ann {3-}\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "literal in the middle", "a LOGIN {3} b\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "literal, two at an end", "a LOGIN {3}{4}\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "literal, a blank behind", "a LOGIN ann {3} \r\n", IMAP_BAD, "a malformed command", 0 },
	{ "literal, binary", "a LOGIN ann ~{3}\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "literal and a third", "a LOGIN {3}\r\nann b {3}\r\n", IMAP_BAD, "+a malformed command", 0 },
	{ "literal, glued behind", "a LOGIN {3}\r\nannb c\r\n", IMAP_BAD, "+a malformed command", 0 },
	{ "literal, NUL", NULL, IMAP_BAD, "+a NUL in a literal", 0 },
	{ "NUL", NULL, IMAP_BAD, "* NUL in a command", 0 },
	{ "literal, 4 GiB, refused before any octet", "a LOGIN ann {4294967296}\r\nb NOOP\r\n", IMAP_BAD, "a a literal is too long", 8 },
	{ "literal, 4 GiB less one", "a LOGIN ann {4294967295}\r\n", IMAP_BAD, "a a literal is too long", 0 },
	{ "literal, more than fits 64 bits", "a LOGIN ann {18446744073709551621}\r\n", IMAP_BAD, "a a literal is too long", 0 },
	{ "literal, much more", "a LOGIN ann {99999999999999999999999999999999999999999999}\r\n", IMAP_BAD, "a a literal is too long", 0 },
	{ "literal, one more than the bound", "a LOGIN ann {4097}\r\n", IMAP_BAD, "a a literal is too long", 0 },
	{ "LITERAL+, 4 GiB", "a LOGIN ann {4294967296+}\r\n", IMAP_FATAL, "a a literal is too long", 0 },
	{ "LITERAL+, more than fits 64 bits", "a LOGIN ann {18446744073709551621+}\r\n", IMAP_FATAL, "a a literal is too long", 0 },
	{ "LITERAL+, too long to be read past", "a LOGIN ann {65537+}\r\n", IMAP_FATAL, "a a literal is too long", 0 },
	{ "LITERAL+ of an unknown command is read past", "a APPEND x {8+}\r\nb NOOP\r\n\r\nc NOOP\r\n", IMAP_BAD, "a unknown command, or none before a login", 8 },
	{ "and the next of it", "a APPEND x {2+}\r\nab {2+}\r\nab {0+}\r\n\r\nc NOOP\r\n", IMAP_BAD, "a unknown command, or none before a login", 8 },
	{ "and one that waits is not waited for", "a APPEND x {2+}\r\nab {2}\r\nc NOOP\r\n", IMAP_BAD, "a unknown command, or none before a login", 8 },
	{ "synchronising of an unknown command", "a APPEND x {8}\r\nc NOOP\r\n", IMAP_BAD, "a unknown command, or none before a login", 8 },
	{ "unknown command, 4 GiB", "a APPEND x {4294967297+}\r\n", IMAP_FATAL, "a unknown command, or none before a login", 0 },
	{ "unknown command with literals without end", "a X {0+}\r\n{0+}\r\n{0+}\r\n{0+}\r\n{0+}\r\n{0+}\r\n{0+}\r\n{0+}\r\n{0+}\r\n", IMAP_FATAL,
	  "a unknown command, or none before a login", 0 },
	{ "no tag and a literal", "{3+}\r\nabc\r\n", IMAP_BAD, "* a command begins with a tag", 0 },
	{ "authenticate alone", "a AUTHENTICATE\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "authenticate, quoted", "a AUTHENTICATE \"PLAIN\"\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "authenticate, a literal", "a AUTHENTICATE {5}\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "authenticate, a response as literal", "a AUTHENTICATE PLAIN {4}\r\n", IMAP_BAD, "a the response is no base64", 0 },
	{ "authenticate, no base64", "a AUTHENTICATE PLAIN a:b:\r\n", IMAP_BAD, "a the response is no base64", 0 },
	{ "authenticate, cut base64", "a AUTHENTICATE PLAIN AGE\r\n", IMAP_BAD, "a the response is no base64", 0 },
	{ "authenticate, cancelled at once", "a AUTHENTICATE PLAIN *\r\n", IMAP_BAD, "a the response is no base64", 0 },
	{ "authenticate, two responses", "a AUTHENTICATE PLAIN AAAA BBBB\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "authenticate, two blanks", "a AUTHENTICATE PLAIN  AAAA\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "authenticate, a long name", "a AUTHENTICATE ABCDEFGHIJKLMNOPQRSTU\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "authenticate, a dot", "a AUTHENTICATE PLA.IN\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "authenticate, 8-bit", "a AUTHENTICATE PLAIN \xff\xff\xff\xff\r\n", IMAP_BAD, "a the response is no base64", 0 },
	{ "id alone", "a ID\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "id, atom", "a ID (name mutt)\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "id, odd", "a ID (\"name\")\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "id, open", "a ID (\"name\" \"mutt\"\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "id, nested", "a ID ((\"name\" \"mutt\"))\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "id, a field that is NIL", "a ID (NIL \"x\")\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "id, NIL and more", "a ID NILX\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "id, blank before the end", "a ID (\"name\" \"x\" )\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "id, behind the end", "a ID (\"name\" \"x\") y\r\n", IMAP_BAD, "a malformed command", 0 },
	{ "id, a long field", "a ID (\"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn\" \"x\")\r\n", IMAP_BAD,
	  "a a field of ID is too long", 0 },

	{ "cut in a literal", "a LOGIN ann {6}\r\nsec", IMAP_WANTS_LITERAL, "+", 0 },
	{ "a line is missing behind a literal", "a LOGIN ann {6}\r\nsecret", MORE, "+", 0 },
};

static void check(size_t i, size_t piece)
{
	static const char nul_literal[] = "a LOGIN ann {3}\r\na\0b\r\n", nul[] = "a LOGIN ann \0b\r\n";
	const char *in = rows[i].in;
	size_t len = in ? strlen(in) : 0, rest;
	AUTO(buf) struct buf out = BUF_INIT(8192);
	struct imap_command c;
	enum imap_step step;

	if (!in) {
		in = rows[i].want[0] == '+' ? nul_literal : nul;
		len = rows[i].want[0] == '+' ? sizeof(nul_literal) - 1 : sizeof(nul) - 1;
	}
	imap_command_init(&c);
	step = feed(&c, in, len, piece, &out, &rest);
	if (step == IMAP_COMMAND)
		show(&c, &out);
	else if (step > IMAP_COMMAND)
		buf_addf(&out, "%s %s", c.tag, c.why);
	if (step != rows[i].step || rest != rows[i].rest || strcmp(buf_str(&out), rows[i].want) != 0)
		fail_msg("%s (pieces of %zu): step %d, rest %zu: %s", rows[i].name, piece, step, rest, buf_str(&out));
	imap_command_release(&c);
}

static void test_table(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		check(i, SIZE_MAX);
		check(i, 1);
	}
}

/* "a VERB " and n letters */
static enum imap_step long_line(const char *verb, size_t n, const char *want_why)
{
	AUTO(buf) struct buf line = BUF_INIT(32 * 1024);
	struct imap_command c;
	enum imap_step step;

	imap_command_init(&c);
	buf_addf(&line, "a %s ", verb);
	for (size_t i = 0; i < n; i++)
		buf_addc(&line, 'A');
	buf_adds(&line, "\r\n");
	step = imap_command_line(&c, line.data, line.len);
	assert_string_equal(c.tag, "a");
	if (want_why)
		assert_string_equal(c.why, want_why);
	imap_command_release(&c);
	return step;
}

static void test_long_lines(void **state)
{
	assert_int_equal(long_line("LOGIN ann", IMAP_LINE_MAX - 14, NULL), IMAP_COMMAND);
	assert_int_equal(long_line("LOGIN ann", IMAP_LINE_MAX - 13, "the line is too long"), IMAP_BAD);
	assert_int_equal(long_line("AUTHENTICATE PLAIN", 12288, NULL), IMAP_COMMAND);
	assert_int_equal(long_line("AUTHENTICATE PLAIN", IMAP_READ_MAX - 20, "the line is too long"), IMAP_BAD);
	assert_int_equal(long_line("NOOP", 20000, "the line is too long"), IMAP_BAD);
}

static void test_long_tag(void **state)
{
	char line[IMAP_TAG_MAX + 16];
	struct imap_command c;

	memset(line, 't', sizeof(line));
	strcpy(line + IMAP_TAG_MAX, " NOOP\r\n");
	imap_command_init(&c);
	assert_int_equal(imap_command_line(&c, line, strlen(line)), IMAP_COMMAND);
	assert_int_equal(strlen(c.tag), IMAP_TAG_MAX);
	imap_command_release(&c);
	memset(line, 't', sizeof(line));
	strcpy(line + IMAP_TAG_MAX + 1, " NOOP\r\n");
	assert_int_equal(imap_command_line(&c, line, strlen(line)), IMAP_BAD);
	assert_string_equal(c.tag, "*");
	imap_command_release(&c);
}

/* Two literals of the greatest size are a command; more than 16 KiB in all are none. */
static void test_in_all(void **state)
{
	static char octets[IMAP_LITERAL_MAX];
	struct imap_command c;

	memset(octets, 'x', sizeof(octets));
	imap_command_init(&c);
	assert_int_equal(imap_command_line(&c, "a LOGIN {4096+}\r\n", 17), IMAP_WANTS_LITERAL);
	assert_int_equal(imap_command_literal(&c, octets, 4096), IMAP_WANTS_LINE);
	assert_int_equal(imap_command_line(&c, " {4096}\r\n", 9), IMAP_WANTS_CONTINUE);
	assert_int_equal(imap_command_literal(&c, octets, 4096), IMAP_WANTS_LINE);
	assert_int_equal(imap_command_line(&c, "\r\n", 2), IMAP_COMMAND);
	assert_int_equal(c.arg[1].len, 4096);
	imap_command_release(&c);

	assert_int_equal(imap_command_line(&c, "a ID (\"a\" {4096+}\r\n", 19), IMAP_WANTS_LITERAL);
	assert_int_equal(imap_command_literal(&c, octets, 4096), IMAP_WANTS_LINE);
	assert_int_equal(imap_command_line(&c, ")\r\n", 3), IMAP_BAD);
	assert_string_equal(c.why, "a field of ID is too long");
	imap_command_release(&c);
}

/* Nothing of a password stays in memory of ours: what is left behind is overwritten, and growing leaves no copy. */
static void test_overwritten(void **state)
{
	struct imap_command c;

	imap_command_init(&c);
	assert_int_equal(imap_command_line(&c, "a LOGIN ann secret extra\r\n", 26), IMAP_BAD);
	VALGRIND_MAKE_MEM_DEFINED(c.text, c.cap);       /* what has never been written is looked at, too */
	assert_null(memmem(c.text, c.cap, "secret", 6));
	imap_command_release(&c);
}

static void test_decode(void **state)
{
	struct imap_command c;
	char out[4];

	imap_command_init(&c);
	assert_int_equal(imap_command_line(&c, "a LOGIN \"\\\"\\\\ab\" abcde\r\n", 24), IMAP_COMMAND);
	assert_int_equal(imap_arg_decode(&c, &c.arg[0], out, sizeof(out)), 4);
	assert_memory_equal(out, "\"\\ab", 4);
	assert_true(imap_arg_decode(&c, &c.arg[1], out, sizeof(out)) < 0);
	assert_true(imap_arg_has(&c, &c.arg[1], "xc"));
	assert_false(imap_arg_has(&c, &c.arg[1], "xy"));
	imap_command_release(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_long_lines),
		cmocka_unit_test(test_long_tag),
		cmocka_unit_test(test_in_all),
		cmocka_unit_test(test_overwritten),
		cmocka_unit_test(test_decode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
