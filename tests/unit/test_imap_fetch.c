#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "imap/imap_fetch.h"
#include "imap/imap_structure.h"

#define NOTHING IMAP_SHOWS_NOTHING
#define HEADER IMAP_SHOWS_HEADER
#define CONTENT IMAP_SHOWS_CONTENT

static char *copy_of(const char *s)
{
	size_t len = strlen(s);

	return memcpy(malloc(len ? len : 1), s, len);
}

static const struct { const char *name; enum imap_show show; enum imap_section section; const char *part; int64_t origin; } items[] = {
	{ "BODY[]", CONTENT, IMAP_SECTION_WHOLE, "", -1 },
	{ "body.peek[]<0.100>", CONTENT, IMAP_SECTION_WHOLE, "", 0 },
	{ "BODY[]<4711>", CONTENT, IMAP_SECTION_WHOLE, "", 4711 },
	{ "BODY[TEXT]", CONTENT, IMAP_SECTION_TEXT, "", -1 },
	{ "BODY[HEADER]", HEADER, IMAP_SECTION_HEADER, "", -1 },
	{ "BODY.PEEK[HEADER]<7.1>", HEADER, IMAP_SECTION_HEADER, "", 7 },
	{ "BODY[HEADER.FIELDS (From To)]", NOTHING, IMAP_SECTION_NONE, "", -1 },
	{ "BODY.PEEK[HEADER.FIELDS.NOT (\"X]\")]<1.2>", NOTHING, IMAP_SECTION_NONE, "", 1 },
	{ "BODY[1]", CONTENT, IMAP_SECTION_PART, "1", -1 },
	{ "BODY[1.22.3]<9>", CONTENT, IMAP_SECTION_PART, "1.22.3", 9 },
	{ "BODY[1.MIME]", NOTHING, IMAP_SECTION_NONE, "1", -1 },
	{ "BODY[1.2.HEADER]", CONTENT, IMAP_SECTION_NONE, "1.2", -1 },
	{ "BODY[1.HEADER.FIELDS (From)]", CONTENT, IMAP_SECTION_NONE, "1", -1 },
	{ "BODY[2.TEXT]", CONTENT, IMAP_SECTION_NONE, "2", -1 },
	{ "BODY[1.x]", CONTENT, IMAP_SECTION_NONE, "1", -1 },
	{ "BODY[MIME]", CONTENT, IMAP_SECTION_NONE, "", -1 },
	{ "BODY[HEADER.FIELDSX]", CONTENT, IMAP_SECTION_NONE, "", -1 },
	{ "BODY[", CONTENT, IMAP_SECTION_NONE, "", -1 },
	{ "BODY[TEXT", CONTENT, IMAP_SECTION_NONE, "", -1 },
	{ "BODY[HEADER", CONTENT, IMAP_SECTION_NONE, "", -1 },
	{ "BODY[HEADER.FIELDS (From To Cc", NOTHING, IMAP_SECTION_NONE, "", -1 },
	{ "BODY[]<99999999999999999999999>", CONTENT, IMAP_SECTION_WHOLE, "", INT64_MAX },
	{ "BODY[]<x>", CONTENT, IMAP_SECTION_WHOLE, "", -1 },
	{ "BINARY[]", CONTENT, IMAP_SECTION_WHOLE, "", -1 },
	{ "BINARY.PEEK[1.2]<5.6>", CONTENT, IMAP_SECTION_NONE, "1.2", 5 },
	{ "BINARY[HEADER]", CONTENT, IMAP_SECTION_NONE, "", -1 },
	{ "BINARY[1.MIME]", CONTENT, IMAP_SECTION_NONE, "1", -1 },
	{ "BINARY[HEADER.FIELDS (x", CONTENT, IMAP_SECTION_NONE, "", -1 },
	{ "BINARY.SIZE[1]", NOTHING, IMAP_SECTION_NONE, "", -1 },
	{ "RFC822", CONTENT, IMAP_SECTION_WHOLE, "", -1 },
	{ "RFC822.TEXT", CONTENT, IMAP_SECTION_TEXT, "", -1 },
	{ "rfc822.header", HEADER, IMAP_SECTION_HEADER, "", -1 },
	{ "RFC822.SIZE", NOTHING, IMAP_SECTION_NONE, "", -1 },
	{ "BODY", NOTHING, IMAP_SECTION_NONE, "", -1 },
	{ "BodyStructure", NOTHING, IMAP_SECTION_NONE, "", -1 },
	{ "PREVIEW", CONTENT, IMAP_SECTION_NONE, "", -1 },
	{ "X-UNHEARD-OF", CONTENT, IMAP_SECTION_NONE, "", -1 },
	{ "", CONTENT, IMAP_SECTION_NONE, "", -1 },
};

static void test_items(void **state)
{
	for (size_t i = 0; i < sizeof(items) / sizeof(items[0]); i++) {
		char *p = copy_of(items[i].name);
		struct imap_item it;
		int64_t origin;

		imap_item_parse(p, strlen(items[i].name), &it);
		origin = !it.partial ? -1 : it.origin > INT64_MAX / 2 ? INT64_MAX : (int64_t)it.origin;
		if (it.show != items[i].show || it.section != items[i].section || origin != items[i].origin || it.part.len != strlen(items[i].part) ||
		    (it.part.len && memcmp(it.part.p, items[i].part, it.part.len) != 0))
			fail_msg("%s: show %d, section %d, part %.*s, origin %lld", items[i].name, it.show, it.section, (int)it.part.len, it.part.p,
				 (long long)origin);
		free(p);
	}
}

/* show -1: refused */
static const struct { const char *in; int show; const char *set, *rest; bool header, structure; } commands[] = {
	{ "1 BODY[]", CONTENT, "1", " BODY[]", false, false },
	{ "1:* (FLAGS UID)", NOTHING, "1:*", " (FLAGS UID)", false, false },
	{ "$ ALL", NOTHING, "$", " ALL", false, false },
	{ "1,3:5,7:*  ( UID  BODY.PEEK[HEADER.FIELDS (From \"To\")] )", NOTHING, "1,3:5,7:*", "  ( UID  BODY.PEEK[HEADER.FIELDS (From \"To\")] )", false, false },
	{ "1 (BODY.PEEK[HEADER] FLAGS)", HEADER, "1", " (BODY.PEEK[HEADER] FLAGS)", false, false },
	{ "1 BODY[HEADER]<0.10>", HEADER, "1", " BODY[HEADER]<0.10>", true, false },
	{ "1 BODY[]<0.10>", CONTENT, "1", " BODY[]<0.10>", true, false },
	{ "1 BODY[TEXT]<0.10>", CONTENT, "1", " BODY[TEXT]<0.10>", false, false },
	{ "1 (UID BODY[1] BODY[2.MIME])", CONTENT, "1", " (UID BODY[1] BODY[2.MIME])", false, true },
	{ "1 (UID) (CHANGEDSINCE 5)", NOTHING, "1", " (UID) (CHANGEDSINCE 5)", false, false },
	{ "1 (BODY[]) (PARTIAL -1:-100)", CONTENT, "1", " (BODY[]) (PARTIAL -1:-100)", false, false },
	{ "1 (PREVIEW (LAZY) UID)", CONTENT, "1", " (PREVIEW (LAZY) UID)", false, false },
	{ "1 FLAGS ", NOTHING, "1", " FLAGS ", false, false },
	{ "1 (UID) (CHANGEDSINCE 5 VANISHED)", -1, "", "", false, false },
	{ "1 (UID) (vanished)", -1, "", "", false, false },
	{ "1 (UID", -1, "", "", false, false },
	{ "1 (UID BODY[", -1, "", "", false, false },
	{ "1 (UID BODY[1)", -1, "", "", false, false },
	{ "1 ()", -1, "", "", false, false },
	{ "1 ((UID))", -1, "", "", false, false },
	{ "1 (UID) x", -1, "", "", false, false },
	{ "1 UID FLAGS", -1, "", "", false, false },
	{ "1 )", -1, "", "", false, false },
	{ "1 ", -1, "", "", false, false },
	{ "1", -1, "", "", false, false },
	{ "", -1, "", "", false, false },
	{ " ", -1, "", "", false, false },
	{ "x UID", -1, "", "", false, false },
	{ "0 UID", -1, "", "", false, false },
	{ "1, UID", -1, "", "", false, false },
	{ "1: UID", -1, "", "", false, false },
	{ ":1 UID", -1, "", "", false, false },
	{ "1:2:3 UID", -1, "", "", false, false },
	{ "4294967296 UID", -1, "", "", false, false },
	{ "99999999999999999999 UID", -1, "", "", false, false },
	{ "1,$ UID", -1, "", "", false, false },
	{ "-1 UID", -1, "", "", false, false },
};

static bool same(struct imap_span s, const char *want)
{
	return s.len == strlen(want) && memcmp(s.p, want, s.len) == 0;
}

static void test_commands(void **state)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		char *p = copy_of(commands[i].in);
		struct imap_fetch f;
		const char *why = imap_fetch_parse(p, strlen(commands[i].in), &f);

		if (commands[i].show < 0 ? !why : why || (int)f.show != commands[i].show || !same(f.set, commands[i].set) || !same(f.rest, commands[i].rest) ||
						  f.needs_header != commands[i].header || f.needs_structure != commands[i].structure)
			fail_msg("%s: %s", commands[i].in, why ? why : "taken for something else");
		free(p);
	}
}

static const struct { const char *set; uint32_t top; const char *want; int count; } sets[] = {
	{ "1:*", 10, "1:10", 1 }, { "*", 10, "10", 1 }, { "*:1", 10, "1:10", 1 }, { "5:*", 3, "3", 1 }, { "*:5", 3, "3", 1 }, { "*:*", 3, "3", 1 },
	{ "1:100", 10, "1:10", 1 }, { "100:1", 10, "1:10", 1 }, { "11:20", 10, "", 0 }, { "1,11,3", 10, "1,3", 2 }, { "10:12,4:2", 10, "10,2:4", 2 },
	{ "1:*", 0, "", 0 }, { "*", 0, "", 0 }, { "$", 5, "$", 1 }, { "4294967295", UINT32_MAX, "4294967295", 1 }, { "3:*", 4294967295u, "3:4294967295", 1 },
};

static void test_sets(void **state)
{
	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
		AUTO(buf) struct buf out = BUF_INIT(100);
		int n = imap_set_clip((struct imap_span){ sets[i].set, strlen(sets[i].set) }, sets[i].top, &out);

		if (n != sets[i].count || strcmp(buf_str(&out), sets[i].want) != 0)
			fail_msg("%s of %u: %d, %s", sets[i].set, sets[i].top, n, buf_str(&out));
	}
}

static void test_set_long(void **state)
{
	AUTO(buf) struct buf out = BUF_INIT(4);

	assert_int_equal(imap_set_clip((struct imap_span){ "1,3,5", 5 }, 9, &out), -ENOSPC);
}

#define LEAF(encoding) "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"" encoding "\" 12 1 NIL NIL NIL NIL)"
#define MIXED(parts) "(" parts " \"mixed\" (\"boundary\" \"x)(\") NIL NIL NIL)"
#define ENVELOPE "(NIL \"s\" ((NIL NIL \"a\" \"b\")) NIL NIL NIL NIL NIL NIL NIL)"
#define MESSAGE(body) "(\"message\" \"RFC822\" NIL NIL NIL \"7bit\" 99 " ENVELOPE " " body " 7 NIL NIL NIL NIL)"

static const struct { const char *in, *part; enum transfer_encoding want; } structures[] = {
	{ LEAF("base64"), "1", TRANSFER_BASE64 },
	{ LEAF("BASE64"), "1", TRANSFER_BASE64 },
	{ LEAF("7bit"), "1", TRANSFER_PLAIN },
	{ LEAF("base64"), "2", TRANSFER_PLAIN },
	{ LEAF("base64"), "1.1", TRANSFER_PLAIN },
	{ LEAF("base64"), "", TRANSFER_BASE64 },
	{ MIXED(LEAF("7bit") LEAF("base64")), "1", TRANSFER_PLAIN },
	{ MIXED(LEAF("7bit") LEAF("base64")), "2", TRANSFER_BASE64 },
	{ MIXED(LEAF("7bit") " " LEAF("base64")), "2", TRANSFER_BASE64 },
	{ MIXED(LEAF("7bit") LEAF("base64")), "3", TRANSFER_PLAIN },
	{ MIXED(LEAF("7bit") LEAF("base64")), "2.1", TRANSFER_PLAIN },
	{ MIXED(MIXED(LEAF("7bit") LEAF("base64")) LEAF("7bit")), "1.2", TRANSFER_BASE64 },
	{ MIXED(MIXED(LEAF("base64") LEAF("base64")) LEAF("7bit")), "1", TRANSFER_PLAIN },
	{ MIXED(MESSAGE(LEAF("base64")) LEAF("7bit")), "1", TRANSFER_PLAIN },
	{ MIXED(MESSAGE(LEAF("base64")) LEAF("7bit")), "1.1", TRANSFER_BASE64 },
	{ MIXED(MESSAGE(LEAF("base64")) LEAF("7bit")), "1.2", TRANSFER_PLAIN },
	{ MIXED(MESSAGE(MIXED(LEAF("7bit") LEAF("base64"))) LEAF("7bit")), "1.2", TRANSFER_BASE64 },
	{ MESSAGE(LEAF("base64")), "1.1", TRANSFER_BASE64 },
	{ "(\"text\" {5}\r\npl)in NIL NIL {1}\r\n\" {6}\r\nbase64 1 1)", "1", TRANSFER_BASE64 },
	{ "(\"a\\\"\" \"b\" NIL NIL NIL \"base64\" 1)", "1", TRANSFER_BASE64 },
	{ "(\"text\" \"plain\" NIL NIL NIL NIL 1 1)", "1", TRANSFER_PLAIN },
	{ "(\"text\" {99}\r\nplain NIL NIL NIL \"base64\" 1)", "1", TRANSFER_PLAIN },
	{ "(\"text\" {99999999999999999999}\r\nplain NIL NIL NIL \"base64\" 1)", "1", TRANSFER_PLAIN },
	{ "(\"text\" {5", "1", TRANSFER_PLAIN },
	{ "(\"text", "1", TRANSFER_PLAIN },
	{ "(\"text\\", "1", TRANSFER_PLAIN },
	{ "(((((((", "1", TRANSFER_PLAIN },
	{ "(((((((", "1.1.1.1.1.1.1.1.1.1", TRANSFER_PLAIN },
	{ ")", "1", TRANSFER_PLAIN },
	{ "NIL", "1", TRANSFER_PLAIN },
	{ "", "1", TRANSFER_PLAIN },
	{ MIXED(LEAF("base64")), "0", TRANSFER_PLAIN },
	{ MIXED(LEAF("base64")), "99999999999999999999", TRANSFER_PLAIN },
	{ MIXED(LEAF("base64")), "x", TRANSFER_PLAIN },
};

static void test_structures(void **state)
{
	for (size_t i = 0; i < sizeof(structures) / sizeof(structures[0]); i++) {
		char *p = copy_of(structures[i].in);
		struct imap_span part = { structures[i].part, strlen(structures[i].part) };

		if (imap_structure_encoding(p, strlen(structures[i].in), part) != structures[i].want)
			fail_msg("part %s of %s", structures[i].part, structures[i].in);
		/* cut anywhere it is not read past its end */
		for (size_t n = 0; n < strlen(structures[i].in); n++) {
			char *cut = memcpy(malloc(n ? n : 1), p, n);

			imap_structure_encoding(cut, n, part);
			free(cut);
		}
		free(p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_items), cmocka_unit_test(test_commands), cmocka_unit_test(test_sets), cmocka_unit_test(test_set_long),
		cmocka_unit_test(test_structures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
