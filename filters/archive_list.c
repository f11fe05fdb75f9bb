#include "filters/archive_list.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "filters/charset.h"

enum { BLOCK = 64 * 1024, RETRIES = 10, TAR_MAGIC_AT = 257, ISO_MAGIC_AT = 32769 };

struct lister {
	bool (*write)(void *arg, const char *p, size_t len);
	void *arg;
	size_t entries;
	uint64_t unpacked, unpacked_max;
	bool encrypted;                 /* has been told */
	bool stop;                      /* past a limit, or nobody listens */
};

/* libarchive gives names in the charset of the locale. */
static locale_t utf8_locale;

struct magic { size_t at; const char *octets; size_t len; };

static const struct magic containers[] = {
	{ 0, "PK\3\4", 4 }, { 0, "PK\5\6", 4 }, { 0, "PK00PK", 6 }, { 0, "Rar!\x1a\7", 6 }, { 0, "7z\xbc\xaf\x27\x1c", 6 }, { 0, "MSCF", 4 },
	{ 2, "-lh", 3 }, { 2, "-lz", 3 }, { TAR_MAGIC_AT, "ustar", 5 }, { ISO_MAGIC_AT, "CD001", 5 }, { 0 },
};
static const struct magic compressed[] = {
	{ 0, "\x1f\x8b", 2 }, { 0, "BZh", 3 }, { 0, "\xfd" "7zXZ", 5 }, { 0, "\x5d\0\0", 3 }, { 0, "\x28\xb5\x2f\xfd", 4 },
	{ 0, "\x04\x22\x4d\x18", 4 }, { 0, "\x1f\x9d", 2 }, { 0 },
};

static const char *const extensions[] = {
	"zip", "rar", "7z", "cab", "iso", "lha", "lzh", "tar", "gz", "tgz", "bz2", "tbz", "tbz2", "xz", "txz", "lzma", "zst", "tzst", "lz4", "z", "jar", NULL,
};

typedef int enable_fn(struct archive *a);

/* What libarchive cannot do by itself it hands to programs, and says ARCHIVE_WARN: such a one is not used. All of these it does itself on Debian. */
static enable_fn *const filters_wanted[] = {
	archive_read_support_filter_gzip, archive_read_support_filter_bzip2, archive_read_support_filter_xz, archive_read_support_filter_lzma,
	archive_read_support_filter_zstd, archive_read_support_filter_lz4, archive_read_support_filter_compress,
};
enum { FILTERS = sizeof(filters_wanted) / sizeof(*filters_wanted) };
static bool filter_usable[FILTERS];

static enable_fn *const formats[] = {
	archive_read_support_format_zip, archive_read_support_format_rar, archive_read_support_format_rar5, archive_read_support_format_7zip,
	archive_read_support_format_tar, archive_read_support_format_cab, archive_read_support_format_lha, archive_read_support_format_iso9660, NULL,
};
/* What is compressed cannot be gone back and forth in, as most formats must: it is a tar, or a single file, perhaps an archive itself. */
static enable_fn *const stream_formats[] = { archive_read_support_format_tar, archive_read_support_format_raw, NULL };

void archive_list_setup(void)
{
	struct archive *a;

	if (utf8_locale)
		return;
	utf8_locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
	a = archive_read_new();
	for (size_t i = 0; a && i < FILTERS; i++)
		filter_usable[i] = filters_wanted[i](a) == ARCHIVE_OK;
	archive_read_free(a);
}

static bool has_magic(const struct magic *m, const char *p, size_t len)
{
	for (; m->len; m++)
		if (len >= m->at + m->len && memcmp(p + m->at, m->octets, m->len) == 0)
			return true;
	return false;
}

bool archive_looks(const char *p, size_t len)
{
	return has_magic(containers, p, len) || has_magic(compressed, p, len);
}

bool archive_is_called_so(const char *extension)
{
	for (const char *const *e = extensions; *e; e++)
		if (strcmp(*e, extension) == 0)
			return true;
	return false;
}

static void tell(struct lister *l, char kind, const char *p, size_t len)
{
	AUTO(buf) struct buf line = BUF_INIT(6 * ARCHIVE_NAME_MAX + 8);

	buf_addc(&line, kind);
	buf_add(&line, p, len);
	buf_addc(&line, '\n');
	if (line.failed || !l->write(l->arg, line.data, line.len))
		l->stop = true;
}

static void past_limit(struct lister *l, const char *why)
{
	if (!l->stop)
		tell(l, 'x', why, strlen(why));
	l->stop = true;
}

static void broken(struct lister *l, const char *why)
{
	tell(l, 'b', why, strlen(why));
}

static void tell_encrypted(struct lister *l)
{
	if (!l->encrypted)
		tell(l, 'e', "", 0);
	l->encrypted = true;
}

/* In whichever charset: where the archive says which, libarchive has made UTF-8 of it. */
static void tell_name(struct lister *l, const char *name, size_t len)
{
	AUTO(buf) struct buf text = BUF_INIT(6 * ARCHIVE_NAME_MAX);

	if (len > ARCHIVE_NAME_MAX) {           /* its end is what counts */
		name += len - ARCHIVE_NAME_MAX;
		len = ARCHIVE_NAME_MAX;
	}
	if (charset_decode(charset_find("unknown8bit", 11), name, len, &text) < 0)
		return;
	charset_tidy(&text, 0);
	if (text.len)
		tell(l, 'n', text.data, text.len);
}

/* The name that gzip's header has for what is in it (RFC 1952 2.3): programs go by it. */
static void tell_gzip_name(struct lister *l, const char *p, size_t len)
{
	enum { HEADER = 10, EXTRA = 4, NAME = 8 };
	size_t at = HEADER;

	if (len < HEADER || memcmp(p, "\x1f\x8b", 2) != 0 || !(p[3] & NAME))
		return;
	if (p[3] & EXTRA) {
		if (len < HEADER + 2)
			return;
		at += 2 + ((unsigned char)p[HEADER] | (size_t)(unsigned char)p[HEADER + 1] << 8);
	}
	if (at < len)
		tell_name(l, p + at, strnlen(p + at, len - at < ARCHIVE_NAME_MAX ? len - at : ARCHIVE_NAME_MAX));
}

/* A single file is called like what it is in: "x.exe.gz". The outermost's name is known outside only. */
static void tell_single(struct lister *l, const char *outer)
{
	const char *dot = outer ? strrchr(outer, '.') : NULL;

	if (!outer)
		tell(l, 's', "", 0);
	else if (dot)
		tell_name(l, outer, (size_t)(dot - outer));
}

static bool count_unpacked(struct lister *l, size_t n)
{
	l->unpacked += n;
	if (l->unpacked > l->unpacked_max)
		past_limit(l, "more is unpacked than is read");
	return !l->stop;
}

static void list(struct lister *l, const char *p, size_t len, const char *name, int depth);

/* The content of an entry that is an archive, whose beginning content has. */
static void list_inner(struct lister *l, struct archive *a, struct buf *content, const char *name, int depth)
{
	char *block = malloc(BLOCK);
	la_ssize_t n = 0;

	if (depth == ARCHIVE_DEPTH_MAX) {
		past_limit(l, "archives nested too deeply");
		free(block);
		return;
	}
	while (block && (n = archive_read_data(a, block, BLOCK)) > 0 && count_unpacked(l, (size_t)n))
		buf_add(content, block, (size_t)n);
	free(block);
	if (n < 0)
		broken(l, "an archive within it cannot be unpacked");
	if (content->failed || !block)
		past_limit(l, "more is unpacked than is read");
	if (!l->stop)
		list(l, buf_str(content), content->len, name, depth + 1);
}

/*
 * What an entry contains. Its beginning shows whether it is an archive. Where entries can be reached only by unpacking those before them, it is read here: libarchive
 * would do so without counting.
 */
static void read_content(struct lister *l, struct archive *a, const char *name, int depth)
{
	AUTO(buf) struct buf content = BUF_INIT(l->unpacked_max);
	bool counted = archive_filter_count(a) > 1 || archive_format(a) == ARCHIVE_FORMAT_7ZIP;
	la_ssize_t n = 1;

	if (buf_reserve(&content, BLOCK) < 0) {
		past_limit(l, "out of memory");
		return;
	}
	while (content.len < ARCHIVE_LOOK && n > 0 && !l->stop) {
		n = archive_read_data(a, content.data + content.len, ARCHIVE_LOOK - content.len);
		if (n > 0 && count_unpacked(l, (size_t)n))
			content.len += (size_t)n;
	}
	if (n < 0)
		broken(l, "an entry cannot be unpacked");
	else if (!l->stop && archive_looks(content.data, content.len))
		list_inner(l, a, &content, name, depth);
	while (counted && n > 0 && !l->stop) {
		n = archive_read_data(a, content.data, ARCHIVE_LOOK);
		if (n > 0)
			count_unpacked(l, (size_t)n);
	}
}

/* outer: what the archive itself is called, or NULL. */
static void entry(struct lister *l, struct archive *a, struct archive_entry *e, const char *outer, int depth)
{
	const char *name = archive_entry_pathname(e);
	bool single = archive_format(a) == ARCHIVE_FORMAT_RAW;

	if (++l->entries > ARCHIVE_ENTRIES_MAX) {
		past_limit(l, "more entries than are read");
		return;
	}
	if (!name)
		name = archive_entry_pathname_utf8(e);
	if (single)                     /* libarchive makes a name up for it */
		tell_single(l, outer);
	else if (name)
		tell_name(l, name, strlen(name));
	if (archive_entry_is_encrypted(e))
		tell_encrypted(l);
	else if (archive_entry_filetype(e) == AE_IFREG)
		read_content(l, a, single ? outer : name, depth);
}

static struct archive *open_archive(const char *p, size_t len)
{
	bool stream = has_magic(compressed, p, len);
	struct archive *a = archive_read_new();

	if (!a)
		return NULL;
	for (size_t i = 0; stream && i < FILTERS; i++)
		if (filter_usable[i])
			filters_wanted[i](a);
	for (enable_fn *const *f = stream ? stream_formats : formats; *f; f++)
		(*f)(a);
	if (archive_read_open_memory(a, p, len) == ARCHIVE_OK)
		return a;
	archive_read_free(a);
	return NULL;
}

/* The entries, one after the other. What ended it. */
static int walk(struct lister *l, struct archive *a, const char *name, int depth)
{
	int rc = ARCHIVE_OK, retries = 0;

	while (!l->stop) {
		struct archive_entry *e;

		rc = archive_read_next_header(a, &e);
		if (rc == ARCHIVE_EOF || rc == ARCHIVE_FATAL || (rc == ARCHIVE_RETRY && ++retries > RETRIES))
			break;
		if (rc == ARCHIVE_RETRY)
			continue;
		/* Anything is a single file: what only looked compressed, too. */
		if (archive_format(a) == ARCHIVE_FORMAT_RAW && archive_filter_count(a) < 2)
			return ARCHIVE_FATAL;
		entry(l, a, e, name, depth);
	}
	return rc;
}

/* Even its list. Of some formats libarchive says it in words only. */
static bool is_encrypted(struct archive *a)
{
	const char *error = archive_error_string(a);

	return archive_read_has_encrypted_entries(a) == 1 || (error && strstr(error, "ncrypt"));
}

static void list(struct lister *l, const char *p, size_t len, const char *name, int depth)
{
	struct archive *a = open_archive(p, len);
	int rc;

	tell_gzip_name(l, p, len);
	if (!a) {
		broken(l, "an archive that cannot be read");
		return;
	}
	rc = walk(l, a, name, depth);
	if (is_encrypted(a))
		tell_encrypted(l);
	else if (!l->stop && rc != ARCHIVE_EOF)
		broken(l, "an archive that cannot be read to its end");
	else if (!l->stop && archive_file_count(a) == 0)
		broken(l, "an archive without entries");
	archive_read_free(a);
}

void archive_list(const char *p, size_t len, bool (*write)(void *arg, const char *p, size_t len), void *arg)
{
	struct lister l = { .write = write, .arg = arg, .unpacked_max = (uint64_t)len * ARCHIVE_UNPACKED_TIMES };
	locale_t before;

	archive_list_setup();
	before = utf8_locale ? uselocale(utf8_locale) : (locale_t)0;
	if (l.unpacked_max < ARCHIVE_UNPACKED_MAX)
		l.unpacked_max = ARCHIVE_UNPACKED_MAX;
	list(&l, p, len, NULL, 1);
	tell(&l, '.', "", 0);
	if (before)
		uselocale(before);
}
