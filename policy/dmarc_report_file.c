#include "policy/dmarc_report_file.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/box.h"
#include "filters/archive_list.h"
#include "filters/charset.h"
#include "filters/mime.h"
#include "filters/unpack.h"
#include "policy/dmarc_report_read.h"
#include "policy/dmarc_report_wire.h"

/*
 * The answer is pieces: a letter, a length of four octets, so many octets. "r": a report on the wire; "w": what is wrong; "$", the last one: it has come to its
 * end.
 */
enum { BLOCK = 64 * 1024, LOOK = 512, FEEDBACK_WITHIN = 4096, HEAD = 5, WHY_MAX = 512, CPU_S = 30, ANSWER_MAX = 256 << 20, WIRE_MAX = 192 << 20 };

/* --- in the box --- */

struct opener {
	int out;
	size_t unpacked;                /* octets that came out of archives */
	size_t reports, records;        /* found, or tried */
	struct buf part;                /* of a message: what is decoded of the present one */
	struct transfer transfer;
	bool wanted, called_so;         /* it may be a report; it is called like one */
	bool stop;                      /* past a limit, or nobody listens */
};

static int answer_fd;

static void say(struct opener *o, char kind, const char *p, size_t len)
{
	const char head[HEAD] = { kind, (char)(len >> 24), (char)(len >> 16), (char)(len >> 8), (char)len };

	if (!unpack_answer(o->out, head, HEAD) || !unpack_answer(o->out, p, len))
		o->stop = true;
}

static void say_wrong(struct opener *o, const char *why)
{
	say(o, 'w', why, strlen(why));
}

static void past_limit(struct opener *o, const char *why)
{
	if (!o->stop)
		say_wrong(o, why);
	o->stop = true;
}

/* Its CPU time is over. */
static void on_limit(int signo)
{
	static const char answer[] = "w\0\0\0\x11it takes too long$\0\0\0\0";

	(void)send(answer_fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL);
	_exit(0);
}

/* What a reader has made of it. */
static void say_report(struct opener *o, struct dmarc_report_reader *rd, int rc)
{
	AUTO(dmarc_report) struct dmarc_report *r = NULL;
	AUTO(buf) struct buf wire = BUF_INIT(WIRE_MAX);

	if (!rc)
		rc = dmarc_report_reader_end(rd, &r);
	if (rc) {
		say_wrong(o, dmarc_report_reader_why(rd));
		return;
	}
	o->records += r->record_count;
	if (o->records > DMARC_REPORT_FILE_RECORDS_MAX)
		past_limit(o, "its reports have more records than are read of one file");
	else if (dmarc_report_wire_write(r, &wire) == 0)
		say(o, 'r', buf_str(&wire), wire.len);
	else
		say_wrong(o, "no memory");
}

static bool one_more(struct opener *o)
{
	if (o->reports++ < DMARC_REPORT_FILE_ENTRIES_MAX)
		return !o->stop;
	past_limit(o, "it holds more reports than are read of one file");
	return false;
}

static void open_xml(struct opener *o, const char *p, size_t len)
{
	AUTO(dmarc_report_reader) struct dmarc_report_reader *rd = dmarc_report_reader_new();

	if (!one_more(o))
		return;
	if (rd)
		say_report(o, rd, dmarc_report_reader_add(rd, p, len));
	else
		say_wrong(o, "no memory");
}

static bool unpacked(struct opener *o, size_t n, size_t packed)
{
	o->unpacked += n;
	if (o->unpacked > DMARC_REPORT_FILE_UNPACKED_MAX || (o->unpacked > DMARC_REPORT_FILE_RATIO_FROM && o->unpacked / DMARC_REPORT_FILE_RATIO_MAX > packed))
		past_limit(o, "it unpacks to more than any report has");
	return !o->stop;
}

/* The present entry of an archive. false: nothing of the archive can be read behind it. */
static bool open_entry(struct opener *o, struct archive *a, size_t packed)
{
	AUTO(dmarc_report_reader) struct dmarc_report_reader *rd = dmarc_report_reader_new();
	char *block = malloc(BLOCK);
	la_ssize_t n = 0;
	int rc = 0;

	if (!rd || !block) {
		say_wrong(o, "no memory");
		free(block);
		return false;
	}
	while (!rc && (n = archive_read_data(a, block, BLOCK)) > 0 && unpacked(o, (size_t)n, packed))
		rc = dmarc_report_reader_add(rd, block, (size_t)n);
	free(block);
	if (o->stop)
		return false;
	if (n < 0 && !rc)
		say_wrong(o, archive_read_has_encrypted_entries(a) == 1 ? "it is encrypted" : "it cannot be unpacked: it is damaged, or cut off");
	else
		say_report(o, rd, rc);
	return n >= 0;
}

static struct archive *archive_of(const char *p, size_t len, bool zip)
{
	struct archive *a = archive_read_new();

	if (!a)
		return NULL;
	if (zip)
		archive_read_support_format_zip(a);
	else
		archive_read_support_format_raw(a);
	if (!zip)
		archive_read_support_filter_gzip(a);
	if (archive_read_open_memory(a, p, len) == ARCHIVE_OK)
		return a;
	archive_read_free(a);
	return NULL;
}

static bool is_file(struct archive_entry *e, bool zip)
{
	const char *name = archive_entry_pathname(e);

	/* What a Mac puts beside each file. */
	return !zip || (archive_entry_filetype(e) == AE_IFREG && !(name && strncmp(name, "__MACOSX/", 9) == 0));
}

static void open_archive(struct opener *o, const char *p, size_t len, bool zip)
{
	struct archive *a = archive_of(p, len, zip);
	struct archive_entry *e;
	size_t before = o->reports;
	int rc = ARCHIVE_FATAL;
	bool going = true;

	while (a && going && !o->stop && ((rc = archive_read_next_header(a, &e)) == ARCHIVE_OK || rc == ARCHIVE_WARN))
		if (is_file(e, zip) && one_more(o))
			going = open_entry(o, a, len);
	if (going && !o->stop && rc != ARCHIVE_EOF)
		say_wrong(o, "it cannot be unpacked: it is damaged, or cut off");
	else if (!o->stop && o->reports == before)
		say_wrong(o, "the archive is empty");
	archive_read_free(a);
}

/* XML, but for blanks and marks before it. */
static bool looks_xml(const char *p, size_t len)
{
	size_t n = 0;

	if (len >= 2 && (!memcmp(p, "\xff\xfe", 2) || !memcmp(p, "\xfe\xff", 2) || !memcmp(p, "<\0", 2) || !memcmp(p, "\0<", 2)))
		return true;
	while (n < len && strchr(" \t\r\n\xef\xbb\xbf", p[n]) && p[n])
		n++;
	return n < len && p[n] == '<';
}

/* false: p[0..len) is nothing that holds a report. */
static bool open_octets(struct opener *o, const char *p, size_t len)
{
	if (len >= 4 && (!memcmp(p, "PK\3\4", 4) || !memcmp(p, "PK\5\6", 4)))
		open_archive(o, p, len, true);
	else if (len >= 2 && !memcmp(p, "\x1f\x8b", 2))
		open_archive(o, p, len, false);
	else if (looks_xml(p, len))
		open_xml(o, p, len);
	else
		return false;
	return true;
}

/* --- a message --- */

static void begin_part(struct opener *o, const struct mime_part *part)
{
	static const char *const types[] = { "application/gzip", "application/x-gzip", "application/zip", "application/x-zip", "application/x-zip-compressed",
					     "text/xml", "application/xml" };
	static const char *const extensions[] = { "xml", "gz", "gzip", "zip" };
	char extension[MIME_EXTENSION_MAX + 1];

	o->called_so = false;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (!strcasecmp(part->type, types[i]))
			o->called_so = true;
	for (size_t i = 0; i < part->name_count; i++)
		for (size_t j = 0; j < sizeof(extensions) / sizeof(extensions[0]); j++)
			if (mime_extension(part->names[i], extension) && !strcmp(extension, extensions[j]))
				o->called_so = true;
	o->wanted = !part->container && (o->called_so || strncasecmp(part->type, "text/", 5) != 0);
	transfer_init(&o->transfer, part->encoding);
}

/* A part that is called application/octet-stream may be one; of one that is XML of any other kind nothing is said. */
static bool is_for_us(const struct opener *o)
{
	const char *p = buf_str(&o->part);
	size_t len = o->part.len;

	return o->called_so || !looks_xml(p, len) || memmem(p, len < FEEDBACK_WITHIN ? len : FEEDBACK_WITHIN, "feedback", 8);
}

static int end_part(struct opener *o)
{
	if (o->wanted && is_for_us(o) && !open_octets(o, buf_str(&o->part), o->part.len) && o->called_so && !o->stop) {
		o->reports++;
		say_wrong(o, o->part.len ? "an attachment is called like a report and is none: neither XML, nor gzip or zip" : "an attachment is empty");
	}
	o->wanted = false;
	buf_clear(&o->part);
	return o->stop ? -E2BIG : 0;
}

static int on_part(void *arg, const struct mime_part *part)
{
	struct opener *o = arg;
	int rc = end_part(o);

	begin_part(o, part);
	return rc;
}

static int on_content(void *arg, const char *p, size_t len)
{
	struct opener *o = arg;

	for (size_t n; o->wanted && len; p += n, len -= n) {
		n = len < BLOCK ? len : BLOCK;
		if (buf_reserve(&o->part, n + TRANSFER_SPARE) < 0) {
			past_limit(o, "an attachment is larger than any report may be");
			return -E2BIG;
		}
		o->part.len += transfer_decode(&o->transfer, p, n, o->part.data + o->part.len);
	}
	return 0;
}

/* p[0..len), with the line that a mailbox puts before each message, perhaps. */
static void open_message(struct opener *o, const char *p, size_t len)
{
	AUTO(mime) struct mime *m = mime_new(on_part, o);
	const char *line = memchr(p, '\n', len);
	int rc = 0;

	if (!m) {
		say_wrong(o, "no memory");
		return;
	}
	if (line && !memcmp(p, "From ", 5)) {
		len -= (size_t)(line + 1 - p);
		p = line + 1;
	}
	buf_init(&o->part, DMARC_REPORT_FILE_MAX);
	mime_want_content(m, on_content);
	for (size_t n; len && !rc; p += n, len -= n) {
		n = len < BLOCK ? len : BLOCK;
		rc = mime_add(m, p, n);
	}
	if (!rc)
		rc = mime_end(m);
	if (!rc)
		rc = end_part(o);
	if (rc == -ENOMEM)
		say_wrong(o, "no memory");
	else if (!rc && !o->reports && !o->stop)
		say_wrong(o, "the message carries no report");
	buf_release(&o->part);
}

/* Its first line is a field of a header: "Received: by ...". */
static bool looks_mail(const char *p, size_t len)
{
	size_t n = 0;

	while (n < len && p[n] > ' ' && p[n] < 0x7f && p[n] != ':')
		n++;
	return n && n < len && (p[n] == ':' || (n == 4 && !memcmp(p, "From ", 5)));
}

static void report_box(int in, int out, uint64_t arg)
{
	struct opener o = { .out = out };
	AUTO(buf) struct buf file = BUF_INIT(DMARC_REPORT_FILE_MAX);
	ssize_t n = 1;

	answer_fd = out;
	signal(SIGXCPU, on_limit);
	while (n > 0 && buf_reserve(&file, BLOCK < file.max - file.len ? BLOCK : file.max - file.len) == 0) {
		n = pread(in, file.data + file.len, BLOCK < file.max - file.len ? BLOCK : file.max - file.len, (off_t)file.len);
		file.len += n > 0 ? (size_t)n : 0;
	}
	if (!file.len)
		say_wrong(&o, "it is empty");
	else if (open_octets(&o, file.data, file.len))
		;
	else if (looks_mail(file.data, file.len < LOOK ? file.len : LOOK))
		open_message(&o, file.data, file.len);
	else
		say_wrong(&o, "it is neither XML, nor gzip or zip, nor a mail message");
	say(&o, '$', "", 0);
}

/* --- outside --- */

struct answer {
	const struct dmarc_report_file *found;
	size_t pieces, records;
};

static void tell_wrong(const struct dmarc_report_file *found, const char *p, size_t len)
{
	char why[WHY_MAX];

	snprintf(why, sizeof(why), "%.*s", (int)(len < WHY_MAX ? len : WHY_MAX - 1), p);
	found->wrong(found->arg, why);
}

/* One piece of the answer. false: no box of ours says such a thing. */
static bool take_piece(struct answer *a, char kind, const char *p, size_t len)
{
	AUTO(dmarc_report) struct dmarc_report *r = NULL;

	if (a->pieces++ > 2 * DMARC_REPORT_FILE_ENTRIES_MAX)
		return false;
	if (kind == 'w') {
		tell_wrong(a->found, p, len);
		return true;
	}
	if (kind != 'r' || dmarc_report_wire_read(p, len, &r) < 0)
		return false;
	a->records += r->record_count;
	if (a->records > DMARC_REPORT_FILE_RECORDS_MAX)
		return false;
	a->found->report(a->found->arg, r);
	r = NULL;
	return true;
}

static void take_answer(const struct dmarc_report_file *found, const char *p, size_t len)
{
	struct answer a = { .found = found };

	while (len >= HEAD) {
		const unsigned char *q = (const unsigned char *)p;
		size_t n = (size_t)q[1] << 24 | (size_t)q[2] << 16 | (size_t)q[3] << 8 | q[4];

		if (*p == '$' && !n)
			return;
		if (n > len - HEAD || !take_piece(&a, *p, p + HEAD, n))
			break;
		p += HEAD + n;
		len -= HEAD + n;
	}
	found->wrong(found->arg, "the process that read it was ended before it came to an end");
}

int dmarc_report_file(int fd, const struct dmarc_report_file *found)
{
	const struct box_job job = { .fn = report_box, .cpu_s = CPU_S, .quick = true };
	AUTO(buf) struct buf answer = BUF_INIT(ANSWER_MAX);
	int left_ms = DMARC_REPORT_FILE_TIME_MS, rc;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size > DMARC_REPORT_FILE_MAX) {
		found->wrong(found->arg, "it is larger than any report may be");
		return 0;
	}
	rc = box_run(&job, fd, &left_ms, &answer);
	if (rc == -ETIMEDOUT)
		found->wrong(found->arg, "it takes too long");
	else if (rc < 0)
		return rc;
	else
		take_answer(found, buf_str(&answer), answer.len);
	return 0;
}

int dmarc_report_file_setup(void)
{
	const char *missing;

	charset_setup(&missing);
	archive_list_setup();
	return box_start();
}
