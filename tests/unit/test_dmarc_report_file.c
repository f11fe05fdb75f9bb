/* Files with aggregate reports in them, and reports on the wire: what is found in good ones, and that nothing is believed of others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <openssl/evp.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/box.h"
#include "base/file.h"
#include "policy/dmarc_report_file.h"
#include "policy/dmarc_report_read.h"
#include "policy/dmarc_report_wire.h"
#include "policy/dmarc_report_xml.h"
#include "rua/rua_mail.h"
#include "support/scarce.h"

#define REPORT "<?xml version=\"1.0\"?><feedback><report_metadata><org_name>example.net</org_name></report_metadata><policy_published><domain>example.org</domain>" \
	       "<pct>50</pct></policy_published><record><row><source_ip>192.0.2.7</source_ip><count>12</count></row></record></feedback>"

/* Linked with --wrap=box_run: the answer of a box may be this test's own. */
int __real_box_run(const struct box_job *job, int in, int *left_ms, struct buf *out);
int __wrap_box_run(const struct box_job *job, int in, int *left_ms, struct buf *out);

static const struct buf *answer;        /* NULL: a real box */
static int answer_rc;

int __wrap_box_run(const struct box_job *job, int in, int *left_ms, struct buf *out)
{
	if (!answer)
		return __real_box_run(job, in, left_ms, out);
	return answer_rc ? answer_rc : buf_add(out, answer->data, answer->len);
}

/* --- the wire --- */

static struct dmarc_report *full_report(void)
{
	struct dmarc_report *r = dmarc_report_new();
	struct dmarc_report_record *rec;

	assert_non_null(r);
	dmarc_report_text(r, &r->org_name, "example.net", 11);
	dmarc_report_text(r, &r->email, "", 0);
	r->begin_s = -5;
	r->end_s = INT64_MAX;
	dmarc_report_error(r, "e1");
	dmarc_report_error(r, "");
	dmarc_report_text(r, &r->policy.domain, "example.org", 11);
	r->policy.discovery = DMARC_REPORT_DISCOVERY_PSL;
	r->policy.p = DMARC_REPORT_POLICY_REJECT;
	r->policy.np = DMARC_REPORT_POLICY_NONE;
	r->policy.aspf = DMARC_REPORT_MODE_STRICT;
	r->policy.testing = DMARC_REPORT_TESTING_YES;
	r->policy.pct = 50;
	rec = dmarc_report_record(r, "2001:db8::1", UINT64_MAX, NULL);
	rec->disposition = DMARC_REPORT_DISPOSITION_REJECT;
	rec->dkim_aligned = DMARC_REPORT_ALIGNED_FAIL;
	dmarc_report_text(r, &rec->envelope_from, "", 0);
	dmarc_report_reason(r, rec, DMARC_REPORT_OVERRIDE_SAMPLED_OUT, NULL);
	dmarc_report_reason(r, rec, DMARC_REPORT_OVERRIDE_OTHER, "c");
	dmarc_report_dkim(r, rec, "d.example", NULL, DMARC_REPORT_DKIM_PERMERROR, "h");
	dmarc_report_dkim(r, rec, NULL, "s", 0, NULL);
	dmarc_report_spf(r, rec, "s.example", DMARC_REPORT_SCOPE_HELO, DMARC_REPORT_SPF_POLICY, NULL);
	rec = dmarc_report_record(r, NULL, 0, NULL);
	dmarc_report_text(r, &rec->header_from, "\xff", 1);
	return r;
}

static void the_wire(void **state)
{
	AUTO(dmarc_report) struct dmarc_report *r = full_report(), *back = NULL;
	AUTO(buf) struct buf once = BUF_INIT(1 << 20), twice = BUF_INIT(1 << 20);

	assert_int_equal(dmarc_report_wire_write(r, &once), 0);
	assert_int_equal(dmarc_report_wire_read(once.data, once.len, &back), 0);
	assert_int_equal(back->begin_s, -5);
	assert_int_equal(back->end_s, INT64_MAX);
	assert_int_equal(back->policy.pct, 50);
	assert_string_equal(back->errors[1], "");
	assert_int_equal(back->records[0].count, UINT64_MAX);
	assert_string_equal(back->records[0].dkim[0].domain, "d.example");
	assert_null(back->records[0].dkim[0].selector);
	assert_string_equal(back->records[0].reasons[1].comment, "c");
	assert_int_equal(back->records[0].spf.scope, DMARC_REPORT_SCOPE_HELO);
	assert_string_equal(back->records[1].source_ip, "");
	assert_string_equal(back->records[1].header_from, "\xff");
	assert_int_equal(dmarc_report_wire_write(back, &twice), 0);
	assert_int_equal(once.len, twice.len);
	assert_memory_equal(once.data, twice.data, once.len);
}

/* Cut anywhere, with more behind it, with any octet changed: refused, or a report within its bounds. */
static void a_wire_that_lies(void **state)
{
	AUTO(dmarc_report) struct dmarc_report *r = full_report();
	AUTO(buf) struct buf wire = BUF_INIT(1 << 20);

	assert_int_equal(dmarc_report_wire_write(r, &wire), 0);
	for (size_t len = 0; len < wire.len; len++) {
		struct dmarc_report *back = NULL;

		assert_int_equal(dmarc_report_wire_read(wire.data, len, &back), -EBADMSG);
		assert_null(back);
	}
	for (size_t at = 0; at < wire.len; at++)
		for (int bit = 0; bit < 8; bit++) {
			AUTO(dmarc_report) struct dmarc_report *back = NULL;
			AUTO(buf) struct buf xml = BUF_INIT(1 << 20);
			int rc;

			wire.data[at] ^= (char)(1 << bit);
			rc = dmarc_report_wire_read(wire.data, wire.len, &back);
			if (!rc)
				dmarc_report_xml(back, &xml);
			else
				assert_true(rc == -EBADMSG || rc == -ENOSPC);
			wire.data[at] ^= (char)(1 << bit);
		}
	buf_addc(&wire, '\0');
	{
		struct dmarc_report *back = NULL;

		assert_int_equal(dmarc_report_wire_read(wire.data, wire.len, &back), -EBADMSG);
	}
}

static void the_wire_without_memory(void **state)
{
	AUTO(dmarc_report) struct dmarc_report *r = full_report();
	AUTO(buf) struct buf wire = BUF_INIT(1 << 20);

	assert_int_equal(dmarc_report_wire_write(r, &wire), 0);
	for (int n = 1; scarce_begin(n); n++) {
		AUTO(dmarc_report) struct dmarc_report *back = NULL;
		int rc = dmarc_report_wire_read(wire.data, wire.len, &back);

		if (!scarce_end()) {
			assert_int_equal(rc, 0);
			return;
		}
		assert_int_equal(rc, -ENOMEM);
	}
}

/* --- files --- */

struct found { size_t reports, wrong; char last[512]; uint64_t messages; };

static void on_report(void *arg, struct dmarc_report *r)
{
	struct found *f = arg;

	f->reports++;
	for (size_t i = 0; i < r->record_count; i++)
		f->messages += r->records[i].count;
	dmarc_report_free(r);
}

static void on_wrong(void *arg, const char *why)
{
	struct found *f = arg;

	f->wrong++;
	snprintf(f->last, sizeof(f->last), "%s", why);
}

static struct found look(const char *p, size_t len)
{
	struct found f = { 0 };
	const struct dmarc_report_file found = { on_report, on_wrong, &f };
	int fd = memfd_create("report", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(file_write_all(fd, p, len), 0);
	assert_int_equal(dmarc_report_file(fd, &found), 0);
	close(fd);
	return f;
}

struct entry { const char *name, *p; size_t len; };

/* An archive by libarchive: a zip, or what is compressed alone. */
static void pack(struct buf *out, bool zip, const struct entry *entries, size_t count)
{
	struct archive *a = archive_write_new();
	size_t used = 0, room = 4 << 20;

	for (size_t i = 0; i < count; i++)
		room += entries[i].len;
	assert_int_equal(buf_reserve(out, room), 0);
	if (zip) {
		archive_write_set_format_zip(a);
	} else {
		archive_write_set_format_raw(a);
		archive_write_add_filter_gzip(a);
	}
	assert_int_equal(archive_write_open_memory(a, out->data, room, &used), ARCHIVE_OK);
	for (size_t i = 0; i < count; i++) {
		struct archive_entry *e = archive_entry_new();

		archive_entry_set_pathname(e, entries[i].name);
		archive_entry_set_filetype(e, AE_IFREG);
		archive_entry_set_size(e, (la_int64_t)entries[i].len);
		assert_int_equal(archive_write_header(a, e), ARCHIVE_OK);
		assert_int_equal(archive_write_data(a, entries[i].p, entries[i].len), (la_ssize_t)entries[i].len);
		archive_entry_free(e);
	}
	assert_int_equal(archive_write_close(a), ARCHIVE_OK);
	archive_write_free(a);
	out->len = used;
}

static const struct entry one[] = { { "r.xml", REPORT, sizeof(REPORT) - 1 } };
static const struct entry three[] = { { "a.xml", REPORT, sizeof(REPORT) - 1 }, { "__MACOSX/._a.xml", "\0\5\26\7", 4 }, { "b.xml", REPORT, sizeof(REPORT) - 1 } };

static void kinds_of_files(void **state)
{
	AUTO(buf) struct buf zip = BUF_INIT(8 << 20), gz = BUF_INIT(8 << 20), gzgz = BUF_INIT(8 << 20);
	struct found f;

	f = look(REPORT, sizeof(REPORT) - 1);
	assert_int_equal(f.reports, 1);
	assert_int_equal(f.messages, 12);
	assert_int_equal(f.wrong, 0);
	pack(&gz, false, one, 1);
	f = look(gz.data, gz.len);
	assert_int_equal(f.reports, 1);
	pack(&gzgz, false, &(struct entry){ "x.gz", gz.data, gz.len }, 1);
	f = look(gzgz.data, gzgz.len);
	assert_int_equal(f.reports, 1);
	pack(&zip, true, three, 3);
	f = look(zip.data, zip.len);
	assert_int_equal(f.reports, 2);
	assert_int_equal(f.wrong, 0);
}

static void a_message(struct buf *out, const char *header, const char *type, const char *p, size_t len)
{
	char *text = calloc(1, len * 2 + 16);

	assert_non_null(text);
	EVP_EncodeBlock((unsigned char *)text, (const unsigned char *)p, (int)len);
	buf_addf(out, "%sFrom: r@example.net\nSubject: Report Domain: example.org\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"
		 "--b\nContent-Type: text/plain\n\nThis is a report. <not XML\n--b\nContent-Type: text/html\n\n<html>\n--b\nContent-Type: image/png\n\n\x89PNG\n"
		 "--b\nContent-Type: %s\nContent-Transfer-Encoding: base64\n\n%s\n--b--\n", header, type, text);
	free(text);
}

static void messages(void **state)
{
	AUTO(buf) struct buf zip = BUF_INIT(8 << 20), gz = BUF_INIT(8 << 20);
	static const char *const types[] = { "application/gzip", "application/zip", "application/x-zip-compressed", "application/octet-stream",
					     "application/octet-stream; name=\"x.zip\"", "text/xml" };

	pack(&gz, false, one, 1);
	pack(&zip, true, one, 1);
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		for (int kind = 0; kind < 3; kind++) {          /* what it is called does not matter */
			AUTO(buf) struct buf mail = BUF_INIT(1 << 20);
			struct found f;

			a_message(&mail, i % 2 ? "Received: by x\n" : "From r@example.net Sat Nov 21 00:00:00 2026\n", types[i],
				  kind == 0 ? gz.data : kind == 1 ? zip.data : REPORT, kind == 0 ? gz.len : kind == 1 ? zip.len : sizeof(REPORT) - 1);
			f = look(mail.data, mail.len);
			if (f.reports != 1 || f.wrong)
				fail_msg("%s, %d: %zu reports, %s", types[i], kind, f.reports, f.last);
		}
}

/* The mail that we send, kept by whoever got it. */
static void our_own_mail(void **state)
{
	static const char *const to[] = { "dmarc@example.org" };
	const struct rua_mail m = { .from = "reports@example.net", .org = "example.net", .domain = "example.org", .report_id = "1@example.net", .begin_s = 1795219200,
				    .end_s = 1795305599, .messages = 5, .rows = 1, .now_s = 1795310000, .to = to, .to_count = 1 };
	AUTO(buf) struct buf xml = BUF_INIT(1 << 20), gz = BUF_INIT(8 << 20), mail = BUF_INIT(1 << 20);
	AUTO(dmarc_report) struct dmarc_report *r = full_report();
	struct found f;

	assert_int_equal(dmarc_report_xml(r, &xml), 0);
	pack(&gz, false, &(struct entry){ "x", xml.data, xml.len }, 1);
	rua_mail_head(&m, &mail);
	rua_mail_lines(gz.data, gz.len, &mail);
	rua_mail_tail(&m, &mail);
	assert_false(mail.failed);
	f = look(mail.data, mail.len);
	assert_string_equal(f.last, "");
	assert_int_equal(f.reports, 1);
}

static void wrong_files(void **state)
{
	AUTO(buf) struct buf zip = BUF_INIT(8 << 20), gz = BUF_INIT(8 << 20), bomb = BUF_INIT(80 << 20), bombs = BUF_INIT(80 << 20), none = BUF_INIT(8 << 20),
		many = BUF_INIT(16 << 20), rowsful = BUF_INIT(80 << 20), mail = BUF_INIT(1 << 20);
	static struct entry entries[DMARC_REPORT_FILE_ENTRIES_MAX + 1];
	char *blanks = malloc(70 << 20), *rows = malloc(8 << 20);
	struct found f;

	f = look("", 0);
	assert_string_equal(f.last, "it is empty");
	f = look("unused", 6);
	assert_string_equal(f.last, "it is neither XML, nor gzip or zip, nor a mail message");
	f = look("\x7f" "ELF", 4);
	assert_string_equal(f.last, "it is neither XML, nor gzip or zip, nor a mail message");
	f = look("<feedback>", 10);
	assert_string_equal(f.last, "it ends in the middle");
	f = look("Subject: x\n\nnothing\n", 20);
	assert_string_equal(f.last, "the message carries no report");
	a_message(&mail, "", "application/zip", "unused", 6);
	f = look(mail.data, mail.len);
	assert_string_equal(f.last, "an attachment is called like a report and is none: neither XML, nor gzip or zip");
	buf_clear(&mail);
	a_message(&mail, "", "application/gzip", "", 0);
	f = look(mail.data, mail.len);
	assert_string_equal(f.last, "an attachment is empty");

	pack(&gz, false, one, 1);
	for (size_t len = 2; len < gz.len; len += 31) {          /* cut off */
		f = look(gz.data, len);
		assert_int_equal(f.reports, 0);
		assert_int_equal(f.wrong, 1);
	}
	pack(&zip, true, one, 1);
	for (size_t len = 4; len < 100; len += 23) {
		f = look(zip.data, len);
		assert_int_equal(f.reports, 0);
		assert_int_equal(f.wrong, 1);
	}
	pack(&none, true, NULL, 0);
	f = look(none.data, none.len);
	assert_string_equal(f.last, "the archive is empty");

	assert_true(blanks && rows);
	memset(blanks, ' ', 70 << 20);
	memcpy(blanks, "<feedback>", 10);
	pack(&bomb, false, &(struct entry){ "x", blanks, 70 << 20 }, 1);
	f = look(bomb.data, bomb.len);
	assert_string_equal(f.last, "it unpacks to more than any report has");
	assert_int_equal(f.reports, 0);
	pack(&bombs, true, &(struct entry){ "x", blanks, 4 << 20 }, 1);
	f = look(bombs.data, bombs.len);
	assert_string_equal(f.last, "it unpacks to more than any report has");
	f = look(blanks, (64 << 20) + 1);
	assert_string_equal(f.last, "it is larger than any report may be");
	free(blanks);

	for (size_t i = 0; i < 3; i++)
		entries[i] = (struct entry){ "x", rows, (size_t)sprintf(rows, "<feedback>") };
	for (size_t i = 0; i < DMARC_REPORT_RECORDS_MAX; i++)
		entries[0].len += (size_t)sprintf(rows + entries[0].len, "<record><row><count>%zu</count></row></record>", i * 7919 % 100003 * 1000003);
	entries[0].len += (size_t)sprintf(rows + entries[0].len, "</feedback>");
	entries[1] = entries[2] = entries[0];
	pack(&rowsful, true, entries, 3);
	free(rows);
	f = look(rowsful.data, rowsful.len);
	assert_int_equal(f.reports, 2);
	assert_string_equal(f.last, "its reports have more records than are read of one file");

	for (size_t i = 0; i < DMARC_REPORT_FILE_ENTRIES_MAX + 1; i++)
		entries[i] = one[0];
	pack(&many, true, entries, DMARC_REPORT_FILE_ENTRIES_MAX + 1);
	f = look(many.data, many.len);
	assert_int_equal(f.reports, DMARC_REPORT_FILE_ENTRIES_MAX);
	assert_string_equal(f.last, "it holds more reports than are read of one file");
}

static void put(struct buf *out, char kind, const char *p, size_t len)
{
	const char head[] = { kind, (char)(len >> 24), (char)(len >> 16), (char)(len >> 8), (char)len };

	assert_int_equal(buf_add(out, head, 5), 0);
	assert_int_equal(buf_add(out, p, len), 0);
}

/* Whatever a box says that somebody else has taken over: no more than one of ours could say is believed. */
static void boxes_that_lie(void **state)
{
	static const char ended[] = "the process that read it was ended before it came to an end";
	AUTO(buf) struct buf full = BUF_INIT(1 << 20), empty = BUF_INIT(1 << 20), said = BUF_INIT(64 << 20);
	AUTO(dmarc_report) struct dmarc_report *r = full_report(), *many = dmarc_report_new();
	struct found f;

	assert_int_equal(dmarc_report_wire_write(r, &full), 0);
	answer = &said;
	put(&said, 'r', full.data, full.len);
	put(&said, 'w', "and this", 8);
	for (size_t len = 0, whole = said.len; len <= whole; len++) {           /* cut anywhere: without "$" */
		said.len = len;
		f = look("x", 1);
		assert_string_equal(f.last, ended);
		assert_int_equal(f.reports, len >= 5 + full.len);
		said.len = whole;
	}
	put(&said, '$', "", 0);
	put(&said, 'r', full.data, full.len);                                   /* behind it nothing counts */
	f = look("x", 1);
	assert_int_equal(f.reports, 1);
	assert_string_equal(f.last, "and this");

	buf_clear(&said);
	put(&said, 'r', full.data, full.len - 1);                               /* a report that is none */
	put(&said, '$', "", 0);
	f = look("x", 1);
	assert_string_equal(f.last, ended);
	assert_int_equal(f.reports, 0);
	buf_clear(&said);
	put(&said, '?', "", 0);
	f = look("x", 1);
	assert_string_equal(f.last, ended);
	buf_clear(&said);
	buf_add(&said, "w\xff\xff\xff\xff" "abc", 8);                          /* longer than it is */
	f = look("x", 1);
	assert_string_equal(f.last, ended);
	assert_int_equal(f.wrong, 1);

	buf_clear(&said);                                                       /* more than anybody wants */
	for (int i = 0; i < 100000; i++)
		put(&said, 'w', "", 0);
	put(&said, '$', "", 0);
	f = look("x", 1);
	assert_true(f.wrong < 1000);
	assert_string_equal(f.last, ended);
	assert_non_null(many);
	for (int i = 0; i < DMARC_REPORT_RECORDS_MAX; i++)
		assert_non_null(dmarc_report_record(many, NULL, 1, NULL));
	buf_init(&empty, 8 << 20);
	assert_int_equal(dmarc_report_wire_write(many, &empty), 0);
	buf_clear(&said);
	for (int i = 0; i < 5; i++)
		put(&said, 'r', empty.data, empty.len);
	put(&said, '$', "", 0);
	f = look("x", 1);
	assert_int_equal(f.reports, 2);
	assert_string_equal(f.last, ended);

	answer_rc = -ETIMEDOUT;
	f = look("x", 1);
	assert_string_equal(f.last, "it takes too long");
	answer_rc = 0;
	answer = NULL;
}

static int setup(void **state)
{
	return dmarc_report_file_setup();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_wire),
		cmocka_unit_test(a_wire_that_lies),
		cmocka_unit_test(the_wire_without_memory),
		cmocka_unit_test(kinds_of_files),
		cmocka_unit_test(messages),
		cmocka_unit_test(our_own_mail),
		cmocka_unit_test(wrong_files),
		cmocka_unit_test(boxes_that_lie),
	};

	return cmocka_run_group_tests_name("dmarc_report_file", tests, setup, NULL);
}
