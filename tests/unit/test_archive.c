#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <archive.h>
#include <archive_entry.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/asan.h"
#include "base/syscalls.h"
#include "base/task.h"
#include "filters/archive.h"
#include "filters/archive_list.h"
#include "filters/charset.h"
#include "tests/support/filter_bench.h"

enum { ROOM = 8 << 20 };

typedef int step(struct archive *a);

struct file { const char *name, *content; size_t len; };

static void write_files(step *format, step *filter, const char *options, const struct file *files, size_t count, struct buf *out)
{
	struct archive *a = archive_write_new();
	size_t used = 0;

	assert_int_equal(buf_reserve(out, ROOM), 0);
	assert_int_equal(format(a), ARCHIVE_OK);
	if (filter)
		assert_int_equal(filter(a), ARCHIVE_OK);
	if (options) {
		assert_int_equal(archive_write_set_options(a, options), ARCHIVE_OK);
		archive_write_set_passphrase(a, "secret");
	}
	archive_write_set_bytes_in_last_block(a, 1);
	assert_int_equal(archive_write_open_memory(a, out->data, ROOM, &used), ARCHIVE_OK);
	for (size_t i = 0; i < count; i++) {
		struct archive_entry *e = archive_entry_new();

		archive_entry_set_pathname(e, files[i].name);
		archive_entry_set_size(e, (la_int64_t)files[i].len);
		archive_entry_set_filetype(e, AE_IFREG);
		archive_entry_set_perm(e, 0644);
		assert_true(archive_write_header(a, e) >= ARCHIVE_WARN);
		assert_int_equal(archive_write_data(a, files[i].content, files[i].len), files[i].len);
		archive_entry_free(e);
	}
	assert_int_equal(archive_write_close(a), ARCHIVE_OK);
	archive_write_free(a);
	out->len = used;
}

static const struct file two[] = { { "a.exe", "MZ", 2 }, { "dir/b.js", "x", 1 } };

/* Lines of the answer, ";" between. */
static bool join(void *arg, const char *p, size_t len)
{
	struct buf *out = arg;

	buf_add(out, p, len - 1);
	buf_addc(out, ';');
	return !out->failed;
}

static void check(const char *name, const char *p, size_t len, const char *want)
{
	AUTO(buf) struct buf got = BUF_INIT(1 << 20);

	print_message("    %s\n", name);
	archive_list(p, len, join, &got);
	assert_string_equal(buf_str(&got), want);
}

static const struct { const char *name; step *format, *filter; const char *options, *want; } kinds[] = {
	{ "zip", archive_write_set_format_zip, NULL, NULL, "na.exe;ndir/b.js;.;" },
	{ "zip, stored", archive_write_set_format_zip, NULL, "compression=store", "na.exe;ndir/b.js;.;" },
	{ "zip, encrypted", archive_write_set_format_zip, NULL, "encryption=traditional", "na.exe;e;ndir/b.js;.;" },
	{ "zip, AES", archive_write_set_format_zip, NULL, "encryption=aes256", "na.exe;e;ndir/b.js;.;" },
	{ "7z", archive_write_set_format_7zip, NULL, NULL, "na.exe;ndir/b.js;.;" },
	{ "7z, stored", archive_write_set_format_7zip, NULL, "compression=store", "na.exe;ndir/b.js;.;" },
	{ "iso", archive_write_set_format_iso9660, NULL, NULL, "n.;ndir;na.exe;ndir/b.js;.;" },
	{ "tar", archive_write_set_format_ustar, NULL, NULL, "na.exe;ndir/b.js;.;" },
	{ "tar, pax", archive_write_set_format_pax, NULL, NULL, "na.exe;ndir/b.js;.;" },
	{ "tar, GNU", archive_write_set_format_gnutar, NULL, NULL, "na.exe;ndir/b.js;.;" },
	{ "tar.gz", archive_write_set_format_ustar, archive_write_add_filter_gzip, NULL, "na.exe;ndir/b.js;.;" },
	{ "tar.bz2", archive_write_set_format_ustar, archive_write_add_filter_bzip2, NULL, "na.exe;ndir/b.js;.;" },
	{ "tar.xz", archive_write_set_format_ustar, archive_write_add_filter_xz, NULL, "na.exe;ndir/b.js;.;" },
	{ "tar.lzma", archive_write_set_format_ustar, archive_write_add_filter_lzma, NULL, "na.exe;ndir/b.js;.;" },
	{ "tar.zst", archive_write_set_format_ustar, archive_write_add_filter_zstd, NULL, "na.exe;ndir/b.js;.;" },
	{ "tar.lz4", archive_write_set_format_ustar, archive_write_add_filter_lz4, NULL, "na.exe;ndir/b.js;.;" },
	{ "tar.Z", archive_write_set_format_ustar, archive_write_add_filter_compress, NULL, "na.exe;ndir/b.js;.;" },
	{ "7z, compressed again", archive_write_set_format_7zip, archive_write_add_filter_gzip, NULL, "s;na.exe;ndir/b.js;.;" },
};

static void test_kinds(void **state)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		AUTO(buf) struct buf archive = BUF_INIT(2 * ROOM);

		write_files(kinds[i].format, kinds[i].filter, kinds[i].options, two, 2, &archive);
		assert_true(archive_looks(archive.data, archive.len));
		check(kinds[i].name, archive.data, archive.len, kinds[i].want);
	}
}

/* What libarchive reads and does not write. Each has "a.exe" with the content "MZ". */
static const struct { const char *name; const char *octets; size_t len; const char *want; } samples[] = {
#define SAMPLE(name, octets, want) { name, octets, sizeof(octets) - 1, want }
	SAMPLE("cab",
	       "MSCF\0\0\0\0\x4c\0\0\0\0\0\0\0\x2c\0\0\0\0\0\0\0\3\1\1\0\1\0\0\0\0\0\0\0"
	       "\x42\0\0\0\1\0\0\0" "\2\0\0\0\0\0\0\0\0\0\0\0\0\0\x20\0" "a.exe\0" "\0\0\0\0\2\0\2\0MZ", "na.exe;.;"),
	SAMPLE("lha, level 0", "\033\022-lh0-\2\0\0\0\2\0\0\0\041\010\041\120\040\0\5" "a.exe\265\153MZ\0", "na.exe;.;"),
};

static uint32_t crc32_of(const char *p, size_t len)
{
	uint32_t c = 0xffffffff;

	for (size_t i = 0; i < len; i++) {
		c ^= (unsigned char)p[i];
		for (int k = 0; k < 8; k++)
			c = c >> 1 ^ (c & 1 ? 0xedb88320 : 0);
	}
	return ~c;
}

static void le(struct buf *out, uint64_t value, int octets)
{
	for (; octets--; value >>= 8)
		buf_addc(out, (char)(value & 0xff));
}

/* A block of RAR 4: what is behind its checksum, the low half of a CRC-32. */
static void rar4_block(struct buf *out, const struct buf *block)
{
	le(out, crc32_of(block->data, block->len), 2);
	buf_add(out, block->data, block->len);
}

static void make_rar4(struct buf *out, unsigned flags)
{
	AUTO(buf) struct buf main_head = BUF_INIT(100), file = BUF_INIT(100);

	buf_add(out, "Rar!\x1a\7\0", 7);
	buf_addc(&main_head, 0x73);
	le(&main_head, flags & 0x80, 2);
	le(&main_head, 13, 2);
	le(&main_head, 0, 6);
	rar4_block(out, &main_head);
	buf_addc(&file, 0x74);
	le(&file, 0x8000 | (flags & 4), 2);
	le(&file, 32 + 5, 2);
	le(&file, 2, 4);                        /* packed */
	le(&file, 2, 4);                        /* unpacked */
	buf_addc(&file, 2);                     /* of Windows */
	le(&file, crc32_of("MZ", 2), 4);
	le(&file, 0, 4);
	buf_addc(&file, 29);
	buf_addc(&file, 0x30);                  /* stored */
	le(&file, 5, 2);
	le(&file, 0x20, 4);
	buf_adds(&file, "a.exe");
	rar4_block(out, &file);
	buf_adds(out, "MZ");
}

/* A block of RAR 5: size and content, with a CRC-32 of both before. */
static void rar5_block(struct buf *out, const char *content, size_t len)
{
	AUTO(buf) struct buf block = BUF_INIT(200);

	buf_addc(&block, (char)len);
	buf_add(&block, content, len);
	le(out, crc32_of(block.data, block.len), 4);
	buf_add(out, block.data, block.len);
}

static void make_rar5(struct buf *out, bool encrypted)
{
	static const char file[] = "\2\2\2\0\2\x20\0\0\5a.exe";     /* type, has data, 2 octets, no flags, 2 octets, attributes, stored, Windows */

	buf_add(out, "Rar!\x1a\7\1\0", 8);
	if (encrypted)
		rar5_block(out, "\4\0\0\0\17" "0123456789abcdef", 5 + 16);
	rar5_block(out, "\1\0\0", 3);
	rar5_block(out, file, sizeof(file) - 1);
	buf_adds(out, "MZ");
	rar5_block(out, "\5\0\0", 3);
}

static void test_samples(void **state)
{
	AUTO(buf) struct buf rar4 = BUF_INIT(1000), encrypted = BUF_INIT(1000), rar5 = BUF_INIT(1000);

	for (size_t i = 0; i < sizeof(samples) / sizeof(*samples); i++) {
		assert_true(archive_looks(samples[i].octets, samples[i].len));
		check(samples[i].name, samples[i].octets, samples[i].len, samples[i].want);
	}
	make_rar4(&rar4, 0);
	check("rar", rar4.data, rar4.len, "na.exe;.;");
	make_rar4(&encrypted, 4);
	check("rar, encrypted", encrypted.data, encrypted.len, "na.exe;e;.;");
	make_rar5(&rar5, false);
	check("rar 5", rar5.data, rar5.len, "na.exe;.;");
	buf_clear(&rar5);
	make_rar5(&rar5, true);
	check("rar 5, encrypted with its names", rar5.data, rar5.len, "e;.;");
}

static void test_nested(void **state)
{
	AUTO(buf) struct buf inner = BUF_INIT(2 * ROOM), outer = BUF_INIT(2 * ROOM), third = BUF_INIT(2 * ROOM), single = BUF_INIT(2 * ROOM);
	struct file file = { "in.bin", NULL, 0 };

	write_files(archive_write_set_format_zip, NULL, NULL, two, 1, &inner);
	file = (struct file){ "in.bin", inner.data, inner.len };
	write_files(archive_write_set_format_7zip, NULL, NULL, &file, 1, &outer);
	check("zip in 7z", outer.data, outer.len, "nin.bin;na.exe;.;");
	file = (struct file){ "in.7z", outer.data, outer.len };
	write_files(archive_write_set_format_ustar, archive_write_add_filter_gzip, NULL, &file, 1, &third);
	check("zip in 7z in tar.gz", third.data, third.len, "nin.7z;nin.bin;na.exe;.;");
	file = (struct file){ "x.js.gz", "\x1f\x8b\x08\x08\0\0\0\0\0\xff" "y.vbs\0\x4b\xcc\x06\0\x5c\xa3\x96\x3d\2\0\0\0", 28 };
	write_files(archive_write_set_format_zip, NULL, NULL, &file, 1, &single);
	check("gz in zip", single.data, single.len, "nx.js.gz;ny.vbs;nx.js;.;");
	check("gz", file.content, file.len, "ny.vbs;s;.;");
}

static void test_broken(void **state)
{
	AUTO(buf) struct buf zip = BUF_INIT(2 * ROOM), sfx = BUF_INIT(2 * ROOM);

	check("nothing", "", 0, "ban archive that cannot be read;.;");
	check("text", "hello", 5, "ban archive that cannot be read;.;");
	check("magic alone", "PK\3\4", 4, "ban archive that cannot be read to its end;.;");
	check("rar's magic alone", "Rar!\x1a\7\1", 8, "ban archive without entries;.;");
	write_files(archive_write_set_format_zip, NULL, NULL, two, 2, &zip);
	for (size_t len = 1; len < zip.len; len++) {
		AUTO(buf) struct buf got = BUF_INIT(1 << 20);

		archive_list(zip.data, len, join, &got);
		assert_string_equal(got.data + got.len - 2, ".;");
	}
	for (size_t i = 0; i < 1000; i++)
		buf_addc(&sfx, 'x');
	buf_add(&sfx, zip.data, zip.len);
	check("zip behind something else", sfx.data, sfx.len, "na.exe;ndir/b.js;.;");
}

static void test_names(void **state)
{
	static const struct file files[] = { { "\xe5\x8f\x91\xe7\xa5\xa8.js", "x", 1 }, { "\xb7\xa2\xc6\xb1.exe", "x", 1 }, { "a\nb\rc.lnk", "x", 1 } };
	AUTO(buf) struct buf zip = BUF_INIT(2 * ROOM), tar = BUF_INIT(2 * ROOM), more = BUF_INIT(2 * ROOM), got = BUF_INIT(4 << 20);
	char *name = calloc(1, 3000);
	struct file *many = calloc(ARCHIVE_ENTRIES_MAX + 1, sizeof(*many));

	write_files(archive_write_set_format_zip, NULL, NULL, files, 3, &zip);
	check("zip", zip.data, zip.len, "n\xe5\x8f\x91\xe7\xa5\xa8.js;n\xe5\x8f\x91\xe7\xa5\xa8.exe;na b c.lnk;.;");
	write_files(archive_write_set_format_gnutar, NULL, NULL, files, 3, &tar);
	check("tar", tar.data, tar.len, "n\xe5\x8f\x91\xe7\xa5\xa8.js;n\xe5\x8f\x91\xe7\xa5\xa8.exe;na b c.lnk;.;");

	memset(name, 'x', 2999);
	memcpy(name + 2995, ".exe", 4);
	many[0] = (struct file){ name, "x", 1 };
	write_files(archive_write_set_format_gnutar, NULL, NULL, many, 1, &more);
	archive_list(more.data, more.len, join, &got);
	assert_int_equal(got.len, ARCHIVE_NAME_MAX + 4);
	assert_non_null(strstr(got.data, "x.exe;.;"));

	for (int i = 0; i <= ARCHIVE_ENTRIES_MAX; i++)
		many[i] = two[0];
	for (int extra = 0; extra < 2; extra++) {
		write_files(archive_write_set_format_ustar, NULL, NULL, many, ARCHIVE_ENTRIES_MAX + (size_t)extra, &more);
		buf_clear(&got);
		archive_list(more.data, more.len, join, &got);
		assert_int_equal(strstr(got.data, "xmore entries than are read;.;") != NULL, extra);
	}
	free(many);
	free(name);
}

/* More and more in itself: a zip in a zip in a zip, ten times each. */
static void test_bombs(void **state)
{
	AUTO(buf) struct buf archive = BUF_INIT(2 * ROOM), next = BUF_INIT(2 * ROOM), got = BUF_INIT(4 << 20), zeros = BUF_INIT(2 * ROOM);
	struct file files[10];

	buf_reserve(&zeros, ROOM - 1000);
	memset(zeros.data, 0, ROOM - 1000);
	for (int i = 0; i < 10; i++)
		files[i] = (struct file){ "zeros", zeros.data, ROOM - 1000 };
	write_files(archive_write_set_format_ustar, archive_write_add_filter_gzip, NULL, files, 10, &archive);
	check("80 MB of zeros", archive.data, archive.len,
	      "nzeros;nzeros;nzeros;nzeros;nzeros;nzeros;nzeros;nzeros;nzeros;xmore is unpacked than is read;.;");
	for (int i = 0; i < 10; i++)
		files[i].content = archive.data, files[i].len = archive.len;
	write_files(archive_write_set_format_zip, NULL, NULL, files, 10, &next);
	archive_list(next.data, next.len, join, &got);
	assert_non_null(strstr(got.data, "xmore is unpacked than is read;.;"));

	write_files(archive_write_set_format_zip, NULL, NULL, two, 1, &archive);
	for (int depth = 2; depth <= ARCHIVE_DEPTH_MAX + 1; depth++) {
		buf_clear(&got);
		files[0] = (struct file){ "z", archive.data, archive.len };
		write_files(archive_write_set_format_zip, NULL, NULL, files, 1, &next);
		buf_clear(&archive);
		buf_add(&archive, next.data, next.len);
		archive_list(archive.data, archive.len, join, &got);
		assert_int_equal(strstr(got.data, "xarchives nested too deeply;") != NULL, depth > ARCHIVE_DEPTH_MAX);
		assert_int_equal(strstr(got.data, "na.exe;") != NULL, depth <= ARCHIVE_DEPTH_MAX);
	}
}

/* A 7z that has nothing but a number of empty files without names. all: as many as it says, so that each takes memory. */
static void make_promises(struct buf *out, uint64_t files, bool all)
{
	AUTO(buf) struct buf head = BUF_INIT(16 << 20), start = BUF_INIT(100);

	buf_add(&head, "\1\5\xff", 3);
	le(&head, files, 8);
	buf_add(&head, "\xe\xff", 2);
	le(&head, all ? files / 8 : 1, 8);
	for (uint64_t i = 0; i < (all ? files / 8 : 1); i++)
		buf_addc(&head, '\xff');
	le(&head, 0, 2);
	le(&start, 0, 8);
	le(&start, head.len, 8);
	le(&start, crc32_of(head.data, head.len), 4);
	buf_add(out, "7z\xbc\xaf\x27\x1c\0\4", 8);
	le(out, crc32_of(start.data, start.len), 4);
	buf_add(out, start.data, start.len);
	buf_add(out, head.data, head.len);
}

static void test_promises(void **state)
{
	AUTO(buf) struct buf out = BUF_INIT(1 << 20);

	make_promises(&out, 90 * 1000 * 1000, false);
	check("7z of 90 million files", out.data, out.len, "ban archive that cannot be read to its end;.;");
}

static void open_with(struct filter_bench *b, const char *name, const char *octets, size_t len)
{
	static const struct message_limits limits = { 64 << 20, 1 << 16, 100 };
	AUTO(buf) struct buf head = BUF_INIT(1000);

	buf_addf(&head, "Content-Type: application/octet-stream; name=\"%s\"\r\n\r\n", name);
	filter_bench_open(b, "192.0.2.7");
	b->txn.message = message_new(&limits, NULL, NULL);
	assert_int_equal(message_add(b->txn.message, buf_str(&head), head.len), 0);
	assert_int_equal(message_add(b->txn.message, octets, len), 0);
	assert_int_equal(message_end(b->txn.message), 0);
	b->txn.stage = STAGE_DATA;
}

static void test_facts(void **state)
{
	static const char gz[] = "\x1f\x8b\x08\0\0\0\0\0\0\xff\x4b\xcc\x06\0\x5c\xa3\x96\x3d\2\0\0";
	AUTO(buf) struct buf zip = BUF_INIT(2 * ROOM);
	struct filter_bench b;

	write_files(archive_write_set_format_zip, NULL, "encryption=traditional", two, 2, &zip);
	open_with(&b, "photo.png", zip.data, zip.len);
	assert_string_equal(filter_bench_word(&b, "archive.name"), "a.exe,dir/b.js");
	assert_string_equal(filter_bench_word(&b, "archive.extension"), "exe,js");
	assert_string_equal(filter_bench_word(&b, "archive.encrypted"), "true");
	assert_string_equal(filter_bench_word(&b, "archive.broken"), "false");
	assert_string_equal(filter_bench_word(&b, "archive.bomb"), "false");
	filter_bench_close(&b);

	open_with(&b, "photo.png", "no archive", 10);
	assert_string_equal(filter_bench_word(&b, "archive.name"), "");
	assert_string_equal(filter_bench_word(&b, "archive.broken"), "false");
	filter_bench_close(&b);

	open_with(&b, "photo.ZIP", "no archive", 10);
	assert_string_equal(filter_bench_word(&b, "archive.broken"), "true");
	assert_string_equal(filter_bench_why(&b, "archive.broken"), "an archive that cannot be read");
	filter_bench_close(&b);

	open_with(&b, "invoice.js.gz", gz, sizeof(gz));
	assert_string_equal(filter_bench_word(&b, "archive.name"), "invoice.js");
	assert_string_equal(filter_bench_word(&b, "archive.broken"), "false");
	filter_bench_close(&b);
}

#if !UNDER_ASAN
/* It would take gigabytes: the box ends. */
static void test_promises_in_the_box(void **state)
{
	AUTO(buf) struct buf out = BUF_INIT(16 << 20);
	struct filter_bench b;

	make_promises(&out, 80 * 1000 * 1000, true);
	open_with(&b, "x.7z", out.data, out.len);
	assert_string_equal(filter_bench_word(&b, "archive.name"), "");
	assert_string_equal(filter_bench_word(&b, "archive.broken"), "true");
	filter_bench_close(&b);
}

/* What a task's stack would have to hold, were it not for the box. */
static void *list_all(void *arg)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		AUTO(buf) struct buf archive = BUF_INIT(2 * ROOM), got = BUF_INIT(1 << 20);

		write_files(kinds[i].format, kinds[i].filter, kinds[i].options, two, 2, &archive);
		archive_list(archive.data, archive.len, join, &got);
	}
	return NULL;
}

static void test_stack(void **state)
{
	enum { SIZE = 1 << 20, BOUND = 48 * 1024 };
	unsigned char *stack = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pthread_attr_t attr;
	pthread_t thread;
	size_t unused = 0;

	if (getenv("UNDER_VALGRIND")) {
		print_message("    skipped: it looks at what a stack has left behind, which valgrind forbids\n");
		munmap(stack, SIZE);
		skip();
	}
	memset(stack, 0xa5, SIZE);
	pthread_attr_init(&attr);
	pthread_attr_setstack(&attr, stack, SIZE);
	assert_int_equal(pthread_create(&thread, &attr, list_all, NULL), 0);
	pthread_join(thread, NULL);
	while (unused < SIZE && stack[unused] == 0xa5)
		unused++;
	print_message("    %zu octets\n", SIZE - unused);
	assert_true(SIZE - unused < BOUND);
	munmap(stack, SIZE);
}
#endif

/* Under valgrind no box is quick: they go two at a time, and wait no longer than ARCHIVE_TIME_MS for that. */
enum { MANY = 60, MANY_SLOW = 6 };

static struct message *with_zip;
static int left_to_look;

static void look_at_one(void *arg)
{
	struct txn t = { .message = with_zip };
	struct facts f = { 0 };

	assert_int_equal(filter_archive.run(&t, 0, &f), 0);
	assert_string_equal(facts_word(&f, "archive.extension"), "exe");
	facts_release(&f);
	if (--left_to_look == 0)
		loop_stop();
}

/* Many messages at once: each has its turn. */
static void test_many(void **state)
{
	static const struct message_limits limits = { 1 << 20, 1 << 16, 100 };
	static const char head[] = "Content-Type: application/zip; name=a.zip\r\nContent-Transfer-Encoding: 8bit\r\n\r\n";
	AUTO(buf) struct buf zip = BUF_INIT(ROOM + 1);

	write_files(archive_write_set_format_zip, NULL, NULL, two, 1, &zip);
	with_zip = message_new(&limits, NULL, NULL);
	assert_int_equal(message_add(with_zip, head, sizeof(head) - 1), 0);
	assert_int_equal(message_add(with_zip, zip.data, zip.len), 0);
	assert_int_equal(message_end(with_zip), 0);
	assert_int_equal(loop_init(), 0);
	left_to_look = getenv("UNDER_VALGRIND") ? MANY_SLOW : MANY;
	for (int i = left_to_look; i > 0; i--)
		assert_int_equal(task_spawn("one", look_at_one, NULL, NULL), 0);
	loop_run();
	loop_release();
	message_free(with_zip);
}

static int setup(void **state)
{
	const char *missing = NULL;

	archive_list_setup();
	if (getenv("UNDER_VALGRIND"))           /* it does not know seccomp(2): the boxes' processes go without */
		syscalls_none();
	return charset_setup(&missing);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds), cmocka_unit_test(test_samples), cmocka_unit_test(test_nested),   cmocka_unit_test(test_broken),
		cmocka_unit_test(test_names), cmocka_unit_test(test_bombs),   cmocka_unit_test(test_promises), cmocka_unit_test(test_facts),
		cmocka_unit_test(test_many),
#if !UNDER_ASAN
		cmocka_unit_test(test_promises_in_the_box), cmocka_unit_test(test_stack),
#endif
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
