#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/buf.h"
#include "imap/imap_response.h"

/* One letter for each kind; G, N, V, S, R that follow each other are one. */
static const char letters[] = { [IMAP_PIECE_LINE] = 'L', [IMAP_PIECE_BEGIN] = 'B', [IMAP_PIECE_REST] = 'R', [IMAP_PIECE_GAP] = 'G', [IMAP_PIECE_NAME] = 'N',
				[IMAP_PIECE_VALUE] = 'V', [IMAP_PIECE_STRING] = 'S', [IMAP_PIECE_END] = 'E' };

#define NL "\r\n"

/*
 * want: the pieces, "L<...>", CRLF as |; an item's name and value are closed by ";". What cannot be framed is "!", what is not complete with "?".
 */
static const struct { const char *name, *in, *want; } rows[] = {
	{ "status", "* OK hi" NL, "L<* OK hi|>" },
	{ "a status announces no literal", "* OK hi {3}" NL "abc OK x" NL, "L<* OK hi {3}|>L<abc OK x|>" },
	{ "nor does a tagged one", "a NO {3}" NL "* BYE {1}" NL, "L<a NO {3}|>L<* BYE {1}|>" },
	{ "nor a continuation", "+ {3}" NL "+" NL, "L<+ {3}|>L<+|>" },
	{ "data", "* 3 EXISTS" NL "* FLAGS (a)" NL, "L<* 3 EXISTS|>L<* FLAGS (a)|>" },
	{ "literal in LIST", "* LIST () \"/\" {3}" NL "a" NL "b" NL, "B<* LIST () \"/\" {3}|>R<a|>R<b>E<|>" },
	{ "literal in LIST with a line end", "* LIST () \"/\" {4}" NL "a)\"b" NL "* OK x" NL, "B<* LIST () \"/\" {4}|>R<a)\"b>E<|>L<* OK x|>" },
	{ "literal and more of the line", "* STATUS {1}" NL "a (X 1)" NL, "B<* STATUS {1}|>R<a (X 1)>E<|>" },
	{ "two literals", "* X {1}" NL "a {0}" NL NL "a OK x" NL, "B<* X {1}|>R<a {0}|>E<|>L<a OK x|>" },
	{ "a literal that looks like a response", "* X {13}" NL "a OK hacked" NL NL, "B<* X {13}|>R<a OK hacked|>E<|>" },
	{ "fetch", "* 12 FETCH (UID 7)" NL, "B<* 12 FETCH >G<(>N<UID;>G< >V<7;>G<)>E<|>" },
	{ "several items", "* 1 FETCH (UID 7 FLAGS (\\Seen x) RFC822.SIZE 5)" NL,
	  "B<* 1 FETCH >G<(>N<UID;>G< >V<7;>G< >N<FLAGS;>G< >V<(\\Seen x);>G< >N<RFC822.SIZE;>G< >V<5;>G<)>E<|>" },
	{ "literal", "* 1 FETCH (BODY[] {5}" NL "he)lo UID 7)" NL, "B<* 1 FETCH >G<(>N<BODY[];>G< >V<{5}|>S<he)lo>V<;>G< >N<UID;>G< >V<7;>G<)>E<|>" },
	{ "literal8", "* 1 FETCH (BINARY[1] ~{3}" NL "a\x01" "b)" NL, "B<* 1 FETCH >G<(>N<BINARY[1];>G< >V<~{3}|>S<a\x01" "b>V<;>G<)>E<|>" },
	{ "empty literal", "* 1 FETCH (BODY[] {0}" NL ")" NL, "B<* 1 FETCH >G<(>N<BODY[];>G< >V<{0}|;>G<)>E<|>" },
	{ "quoted", "* 1 FETCH (BODY[1] \"a b)\" UID 3)" NL, "B<* 1 FETCH >G<(>N<BODY[1];>G< >V<\">S<a b)>V<\";>G< >N<UID;>G< >V<3;>G<)>E<|>" },
	{ "quoted, escapes", "* 1 FETCH (BODY[1] \"a\\\"\\\\b\")" NL, "B<* 1 FETCH >G<(>N<BODY[1];>G< >V<\">S<a\\\"\\\\b>V<\";>G<)>E<|>" },
	{ "quoted, empty; NIL", "* 1 FETCH (BODY[1] \"\" BODY[2] NIL)" NL, "B<* 1 FETCH >G<(>N<BODY[1];>G< >V<\"\";>G< >N<BODY[2];>G< >V<NIL;>G<)>E<|>" },
	{ "a name with brackets and a list", "* 1 FETCH (BODY[HEADER.FIELDS (A \"b]\\\"\")]<0> {2}" NL "xy)" NL,
	  "B<* 1 FETCH >G<(>N<BODY[HEADER.FIELDS (A \"b]\\\"\")]<0>;>G< >V<{2}|>S<xy>V<;>G<)>E<|>" },
	{ "a name with a literal", "* 1 FETCH (BODY[HEADER.FIELDS ({2}" NL "])] NIL)" NL, "B<* 1 FETCH >G<(>N<BODY[HEADER.FIELDS ({2}|])];>G< >V<NIL;>G<)>E<|>" },
	{ "nested lists", "* 1 FETCH (ENVELOPE (\"d\" {1}" NL "s ((NIL NIL \"a\" \"b\")) ())" NL "", "!" },
	{ "a list without items", "* 1 FETCH ()" NL, "B<* 1 FETCH >G<()>E<|>" },
	{ "a tilde in a flag", "* 1 FETCH (FLAGS (~a b~))" NL, "B<* 1 FETCH >G<(>N<FLAGS;>G< >V<(~a b~);>G<)>E<|>" },
	{ "8-bit", "* 1 FETCH (X-GM-LABELS (\"\xc3\xa4\" \xc3\xa4))" NL, "B<* 1 FETCH >G<(>N<X-GM-LABELS;>G< >V<(\">S<\xc3\xa4>V<\" \xc3\xa4);>G<)>E<|>" },
	{ "small letters", "* 1 fetch (uid 7)" NL "* ok x" NL "A1 Ok x" NL, "B<* 1 fetch >G<(>N<uid;>G< >V<7;>G<)>E<|>L<* ok x|>L<A1 Ok x|>" },
	{ "uidfetch", "* 9 UIDFETCH (FLAGS ())" NL, "B<* 9 UIDFETCH >G<(>N<FLAGS;>G< >V<();>G<)>E<|>" },
	{ "split before LF", "* OK x\r", "?" },
	{ "split in a number", "* 1 FETCH (BODY[] {1", "B<* 1 FETCH >G<(>N<BODY[];>G< >?" },
	{ "cut in a literal", "* 1 FETCH (BODY[] {9}" NL "abc", "B<* 1 FETCH >G<(>N<BODY[];>G< >V<{9}|>S<abc>?" },
	{ "bare LF", "* OK x\n", "!" },
	{ "bare LF in data", "* LIST x\na OK y" NL, "!" },
	{ "empty line", NL, "!" },
	{ "nonsense", "hello world" NL, "!" },
	{ "no tag", " OK x" NL, "!" },
	{ "a tag says BYE", "a BYE x" NL, "!" },
	{ "something else", "+OK POP3" NL, "!" },
	{ "SMTP", "220 mx ESMTP" NL, "!" },
	{ "star alone", "*" NL, "!" },
	{ "FETCH without a list", "* 1 FETCH" NL, "!" },
	{ "FETCH with an atom", "* 1 FETCH NIL" NL, "!" },
	{ "FETCH glued", "* 1 FETCH(UID 7)" NL, "!" },
	{ "FETCH, and a line end before the list", "* 1 FETCH\tx\nFETCH (UID 7)" NL, "!" },
	{ "FETCH of no number", "* 99999999999 FETCH (UID 7)" NL, "L<* 99999999999 FETCH (UID 7)|>" },
	{ "an item without a value", "* 1 FETCH (UID)" NL, "!" },
	{ "an item without a value, two blanks", "* 1 FETCH (UID )" NL, "!" },
	{ "a list is not closed", "* 1 FETCH (UID 7" NL, "!" },
	{ "one too many", "* 1 FETCH (UID 7))" NL, "!" },
	{ "quotes are not closed", "* 1 FETCH (BODY[] \"abc" NL, "!" },
	{ "NUL in quotes is told by nobody", "* 1 FETCH (BODY[] \"a\rb\")" NL, "!" },
	{ "a literal of no number", "* 1 FETCH (BODY[] {}" NL, "!" },
	{ "a literal that is not synchronising", "* 1 FETCH (BODY[] {1+}" NL, "!" },
	{ "a negative literal", "* 1 FETCH (BODY[] {-1}" NL, "!" },
	{ "a literal beyond all bounds", "* 1 FETCH (BODY[] {9999999999999999999}" NL, "!" },
	{ "a literal of 2^63 in LIST", "* LIST {9223372036854775808}" NL, "!" },
	{ "a brace in a flag", "* 1 FETCH (FLAGS ({x))" NL, "!" },
	{ "CR in a name", "* 1 FETCH (A\rB 1)" NL, "!" },
	{ "a bracket is not closed", "* 1 FETCH (BODY[ 1)" NL, "!" },
};

static void feed(const char *in, size_t total, size_t chunk, struct buf *out)
{
	AUTO(buf) struct buf held = BUF_INIT(1 << 20);
	struct imap_response r;
	char open = 0;

	imap_response_init(&r);
	for (size_t at = 0; at < total;) {
		size_t n = total - at < chunk ? total - at : chunk;
		struct imap_piece p;

		buf_add(&held, in + at, n);
		at += n;
		do {
			/* in memory of its own size, so that a look past its end is found */
			char *copy = malloc(held.len ? held.len : 1), letter;
			bool split;

			memcpy(copy, buf_str(&held), held.len);
			if (imap_response_read(&r, copy, held.len, &p) == IMAP_PIECE_WRONG) {
				if (open == 'N' || open == 'V' || open == 'G' || open == 'S' || open == 'R')
					buf_addc(out, '>');
				buf_addc(out, '!');
				free(copy);
				return;
			}
			if (p.kind == IMAP_PIECE_MORE) {
				free(copy);
				break;
			}
			letter = letters[p.kind];
			split = p.kind == IMAP_PIECE_END && p.len > 2;  /* what the line still had */
			if (split) {
				p.len -= 2;
				letter = 'R';
			}
			if (p.len || p.last) {
				if (letter != open || strchr("LBE", letter)) {
					if (open && !strchr("LBE", open))
						buf_addc(out, '>');
					buf_addf(out, "%c<", letter);
					open = letter;
				}
				for (size_t i = 0; i < p.len; i++)
					if (p.p[i] == '\n')
						out->data[out->len - 1] = '|';
					else
						buf_addc(out, p.p[i]);
				if (p.last && p.kind != IMAP_PIECE_STRING)
					buf_addc(out, ';');
				if (strchr("LBE", letter)) {
					buf_addc(out, '>');
				} else if (out->data[out->len - 1] == '|' && letter == 'R') {
					buf_addc(out, '>');
					open = 0;
				}
			}
			if (split) {
				buf_adds(out, ">E<|>");
				open = 'E';
				p.len += 2;
			}
			buf_eat(&held, p.len);
			free(copy);
		} while (held.len);
	}
	if (open && !strchr("LBE", open))
		buf_addc(out, '>');
	if (held.len || !imap_response_between(&r))
		buf_addc(out, '?');
}

static void test_pieces(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (size_t chunk = 1; chunk < 4; chunk++) {
			AUTO(buf) struct buf out = BUF_INIT(1 << 16);
			size_t len = strlen(rows[i].in);

			feed(rows[i].in, len, chunk == 3 ? len : chunk, &out);
			/* how much of what is wrong was taken before hangs on how it came */
			if (strcmp(rows[i].want, "!") == 0 ? out.data[out.len - 1] != '!' : strcmp(buf_str(&out), rows[i].want) != 0)
				fail_msg("%s, by %zu:\n got %s\nwant %s", rows[i].name, chunk, buf_str(&out), rows[i].want);
		}
}

static const struct { const char *line; enum imap_says says; enum imap_status status; uint32_t number; const char *tag, *code, *rest; } heads[] = {
	{ "* OK [UIDVALIDITY 12] x" NL, IMAP_SAYS_STATUS, IMAP_STATUS_OK, 0, "*", "UIDVALIDITY 12", "[UIDVALIDITY 12] x" },
	{ "a1 NO [ALERT] x" NL, IMAP_SAYS_TAGGED, IMAP_STATUS_NO, 0, "a1", "ALERT", "[ALERT] x" },
	{ "a1 OK [X \"]\" \"\\\"]\"] x" NL, IMAP_SAYS_TAGGED, IMAP_STATUS_OK, 0, "a1", "X \"]\" \"\\\"]\"", "[X \"]\" \"\\\"]\"] x" },
	{ "a1 OK [X" NL, IMAP_SAYS_TAGGED, IMAP_STATUS_OK, 0, "a1", "", "[X" },
	{ "a1 BAD" NL, IMAP_SAYS_TAGGED, IMAP_STATUS_BAD, 0, "a1", "", "" },
	{ "* BYE x" NL, IMAP_SAYS_STATUS, IMAP_STATUS_BYE, 0, "*", "", "x" },
	{ "* PREAUTH x" NL, IMAP_SAYS_STATUS, IMAP_STATUS_PREAUTH, 0, "*", "", "x" },
	{ "* capability IMAP4rev1 X" NL, IMAP_SAYS_CAPABILITY, IMAP_STATUS_NONE, 0, "", "", "IMAP4rev1 X" },
	{ "* 7 EXISTS" NL, IMAP_SAYS_EXISTS, IMAP_STATUS_NONE, 7, "", "", "" },
	{ "* 7 expunge" NL, IMAP_SAYS_EXPUNGE, IMAP_STATUS_NONE, 7, "", "", "" },
	{ "* 7 RECENT" NL, IMAP_SAYS_OTHER, IMAP_STATUS_NONE, 7, "", "", "" },
	{ "* VANISHED (EARLIER) 1:3" NL, IMAP_SAYS_VANISHED, IMAP_STATUS_NONE, 0, "", "", "(EARLIER) 1:3" },
	{ "+ go on" NL, IMAP_SAYS_CONTINUE, IMAP_STATUS_NONE, 0, "", "", "go on" },
	{ "* LIST () \"/\" OK" NL, IMAP_SAYS_OTHER, IMAP_STATUS_NONE, 0, "", "", "() \"/\" OK" },
};

static bool same(struct imap_span s, const char *want)
{
	return s.len == strlen(want) && memcmp(s.p ? s.p : "", want, s.len) == 0;
}

static void test_heads(void **state)
{
	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		struct imap_response r;
		struct imap_piece p;

		imap_response_init(&r);
		assert_int_equal(imap_response_read(&r, heads[i].line, strlen(heads[i].line), &p), IMAP_PIECE_LINE);
		if (r.says != heads[i].says || r.status != heads[i].status || r.number != heads[i].number || !same(r.tag, heads[i].tag) ||
		    !same(r.code, heads[i].code) || !same(r.rest, heads[i].rest))
			fail_msg("%s: says %d, status %d, number %u, tag %.*s, code %.*s, rest %.*s", heads[i].line, r.says, r.status, r.number,
				 (int)r.tag.len, r.tag.p, (int)r.code.len, r.code.p, (int)r.rest.len, r.rest.p);
	}
}

static void test_code(void **state)
{
	const char *line = "* OK [uidvalidity 12] x" NL;
	struct imap_response r;
	struct imap_piece p;
	struct imap_span arg;

	imap_response_init(&r);
	imap_response_read(&r, line, strlen(line), &p);
	assert_true(imap_code_is(&r, "UIDVALIDITY", &arg));
	assert_true(same(arg, "12"));
	assert_false(imap_code_is(&r, "UIDVALID", &arg));
	assert_false(imap_code_is(&r, "UIDNEXT", &arg));
}

/* Lines longer than what is held come in pieces, with their literals; those of a status have none. */
static void test_long(void **state)
{
	static const struct { const char *head, *tail; bool literal; } cases[] = {
		{ "* SEARCH ", NL, false }, { "* LIST () \"/\" ", "{2}" NL "\r\n", true }, { "a OK [COPYUID 1 ", "{2}" NL, false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (size_t n = IMAP_HOLD_MAX - 50; n < IMAP_HOLD_MAX + 50; n += 7) {
			AUTO(buf) struct buf in = BUF_INIT(1 << 18), all = BUF_INIT(1 << 18);
			struct imap_response r;
			size_t at = 0, ends = 0;

			buf_adds(&in, cases[i].head);
			while (in.len < n + 1000)
				buf_adds(&in, "1,2,3 ");
			buf_adds(&in, cases[i].tail);
			if (cases[i].literal)
				buf_adds(&in, NL);
			buf_adds(&in, "b OK x" NL);
			imap_response_init(&r);
			for (size_t have = 0; at < in.len;) {
				struct imap_piece p;

				have = at + n < in.len ? at + n : in.len;
				imap_response_read(&r, in.data + at, have - at, &p);
				if (p.kind == IMAP_PIECE_MORE && have < in.len) {
					have = in.len;
					imap_response_read(&r, in.data + at, have - at, &p);
				}
				assert_true(p.kind != IMAP_PIECE_WRONG && p.kind != IMAP_PIECE_MORE);
				buf_add(&all, p.p, p.len);
				at += p.len;
				ends += p.kind == IMAP_PIECE_END;
				if (p.kind == IMAP_PIECE_LINE)
					assert_true(same(r.tag, "b") && at == in.len);
			}
			assert_int_equal(ends, 1);
			assert_true(all.len == in.len && memcmp(all.data, in.data, in.len) == 0);
		}
}

/* Digits without end: no number that anybody would read the same way. */
static void test_long_digits(void **state)
{
	AUTO(buf) struct buf in = BUF_INIT(1 << 18);
	struct imap_response r;
	struct imap_piece p;
	size_t at = 0;

	buf_adds(&in, "* X ");
	while (in.len < IMAP_HOLD_MAX + 100)
		buf_adds(&in, "1 ");
	buf_adds(&in, "{0000000000000000000000000002}" NL);
	imap_response_init(&r);
	do {
		imap_response_read(&r, in.data + at, in.len - at, &p);
		at += p.len;
	} while (p.kind > IMAP_PIECE_WRONG);
	assert_int_equal(p.kind, IMAP_PIECE_WRONG);
}

static void test_name_long(void **state)
{
	AUTO(buf) struct buf in = BUF_INIT(1 << 16);
	struct imap_response r;
	struct imap_piece p = { .kind = IMAP_PIECE_MORE };

	buf_adds(&in, "* 1 FETCH (BODY[HEADER.FIELDS (");
	while (in.len < 5000)
		buf_adds(&in, "Subject ");
	buf_adds(&in, "To)] NIL)" NL);
	imap_response_init(&r);
	for (size_t at = 0; at < in.len; at += p.len) {
		imap_response_read(&r, in.data + at, in.len - at, &p);
		assert_true(p.kind > IMAP_PIECE_WRONG);
		if (p.kind == IMAP_PIECE_VALUE)
			assert_true(r.name_len == IMAP_NAME_MAX && r.name_cut && memcmp(r.name, "BODY[HEADER.FIELDS (Su", 22) == 0);
	}
	assert_int_equal(p.kind, IMAP_PIECE_END);
}

static void test_nested(void **state)
{
	AUTO(buf) struct buf in = BUF_INIT(1 << 16);
	struct imap_response r;
	struct imap_piece p;
	size_t at = 0;

	buf_adds(&in, "* 1 FETCH (X ");
	for (int i = 0; i <= IMAP_NEST_MAX; i++)
		buf_addc(&in, '(');
	imap_response_init(&r);
	do {
		imap_response_read(&r, in.data + at, in.len - at, &p);
		at += p.len;
	} while (p.kind > IMAP_PIECE_WRONG);
	assert_int_equal(p.kind, IMAP_PIECE_WRONG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pieces), cmocka_unit_test(test_heads), cmocka_unit_test(test_code), cmocka_unit_test(test_long),
		cmocka_unit_test(test_long_digits), cmocka_unit_test(test_name_long), cmocka_unit_test(test_nested),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
