#include "filters/message.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <unistd.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/buf.h"
#include "base/file.h"
#include "base/task.h"

enum { READ_CHUNK = 64 * 1024, COPIED_AT_ONCE = 1 << 20 };

/* Octets in files in memory, of all messages; in memory itself; and how many those may be, 0: any number. */
static size_t spare_used;
static uint64_t held, held_max;

void message_memory_bound(uint64_t bytes)
{
	held_max = bytes;
}

uint64_t message_spare_bytes(void)
{
	return spare_used;
}

struct message {
	struct message_limits lim;
	int (*open_fd)(void *arg);
	void *arg;
	struct buf head;                /* the header and its empty line; does not move once header_done */
	struct buf body;                /* the rest, while it lies in memory */
	int fd;                         /* the whole message, or -1 */
	bool spare;                     /* fd is a file in memory, as the disk is full */
	size_t spare_len;               /* octets of it that count in spare_used */
	size_t held;                    /* what counts in held */
	size_t size;
	size_t header_len;              /* the header with its fields' CRLFs, without the empty line */
	size_t scan;                    /* start of the header line not judged yet */
	bool header_done, broken;
	bool bare, eightbit, nul;
	bool last_cr;                   /* the previous chunk ended with CR */
	struct header_field *field;
	size_t field_count, field_cap;
	char *window;                   /* for message_read from the file */
	struct message *body_of;        /* the body is this one's */
};

/* What it has allocated has changed. */
static void hold(struct message *m)
{
	size_t now = m->head.cap + m->body.cap + m->field_cap * sizeof(struct header_field) + (m->window ? READ_CHUNK : 0);

	held += now;
	held -= m->held;
	m->held = now;
}

/* What has a file to go to is to go there. */
static bool tight(const struct message *m)
{
	return held_max && held > held_max && m->open_fd;
}

struct message *message_new(const struct message_limits *lim, int (*open_fd)(void *arg), void *arg)
{
	struct message *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->lim = *lim;
	m->open_fd = open_fd;
	m->arg = arg;
	m->fd = -1;
	buf_init(&m->head, SIZE_MAX / 2);       /* the bounds are judged line by line, and before the move */
	buf_init(&m->body, SIZE_MAX / 2);
	return m;
}

void message_free(struct message *m)
{
	if (!m)
		return;
	buf_release(&m->head);
	buf_release(&m->body);
	if (m->fd >= 0)
		close(m->fd);
	spare_used -= m->spare_len;
	held -= m->held;
	free(m->field);
	free(m->window);
	free(m);
}

/*
 * What kinds of octets a chunk has, in one pass. A CR or LF is bare unless each LF, and nothing else, follows a CR; a CRLF may be
 * split between chunks; a CR that ends the message is bare, which message_end sees.
 */
static void note_octets(struct message *m, const char *p, size_t len)
{
	bool cr = m->last_cr, bare = false, nul = false;
	unsigned char any = 0;
	size_t i = 0;

#ifdef __SSE2__
	__m128i all = _mm_setzero_si128(), nuls = _mm_setzero_si128();
	unsigned odd = 0, carry = cr;

	for (; len - i >= 16; i += 16) {
		__m128i v = _mm_loadu_si128((const void *)(p + i));
		unsigned crs = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8('\r')));
		unsigned lfs = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8('\n')));

		odd |= ((crs << 1 | carry) & 0xffff) ^ lfs;
		carry = crs >> 15;
		all = _mm_or_si128(all, v);
		nuls = _mm_or_si128(nuls, _mm_cmpeq_epi8(v, _mm_setzero_si128()));
	}
	cr = carry;
	bare = odd != 0;
	nul = _mm_movemask_epi8(nuls) != 0;
	any = _mm_movemask_epi8(all) ? 0x80 : 0;
#endif
	for (; i < len; i++) {
		bare = bare || (p[i] == '\n') != cr;
		cr = p[i] == '\r';
		nul = nul || p[i] == '\0';
		any |= (unsigned char)p[i];
	}
	m->last_cr = cr;
	m->bare = m->bare || bare;
	m->nul = m->nul || nul;
	m->eightbit = m->eightbit || (any & 0x80);
}

/* A field name is printable ASCII without colon (RFC 5322 2.2), then blanks (obsolete, 4.5), then the colon. */
static bool is_field(const char *line, size_t len, size_t *name_len)
{
	size_t n = 0, c;

	while (n < len && line[n] > 32 && line[n] < 127 && line[n] != ':')
		n++;
	for (c = n; c < len && (line[c] == ' ' || line[c] == '\t'); c++)
		;
	*name_len = n;
	return n > 0 && c < len && line[c] == ':';
}

static int add_field(struct message *m, size_t at, size_t name_len)
{
	if (m->field_count >= m->lim.header_fields)
		return -EMSGSIZE;
	if (m->field_count == m->field_cap) {
		size_t cap = m->field_cap ? m->field_cap * 2 : 32;
		struct header_field *v = reallocarray(m->field, cap, sizeof(*v));

		if (!v)
			return -ENOMEM;
		m->field = v;
		m->field_cap = cap;
	}
	/* While head may still move, raw_len holds the offset; header_fix makes the pointers. */
	m->field[m->field_count++] = (struct header_field){ .raw_len = at, .name_len = name_len };
	return 0;
}

static void trim_crlf(struct header_field *h)
{
	if (h->body_len && h->body[h->body_len - 1] == '\n')
		h->body_len--;
	if (h->body_len && h->body[h->body_len - 1] == '\r')
		h->body_len--;
}

static void header_fix(struct message *m)
{
	for (size_t i = 0; i < m->field_count; i++) {
		struct header_field *h = &m->field[i];
		size_t at = h->raw_len;
		size_t end = i + 1 < m->field_count ? m->field[i + 1].raw_len : m->header_len;

		h->raw = h->name = m->head.data + at;
		h->raw_len = end - at;
		h->body = (const char *)memchr(h->raw + h->name_len, ':', h->raw_len - h->name_len) + 1;
		h->body_len = h->raw_len - (size_t)(h->body - h->raw);
		trim_crlf(h);
	}
}

/* The header is header_len octets, the body begins at body_at: what is behind moves to the body. */
static int header_end(struct message *m, size_t header_len, size_t body_at)
{
	int rc = m->head.len > body_at ? buf_add(&m->body, m->head.data + body_at, m->head.len - body_at) : 0;

	if (rc < 0)
		return rc;
	m->head.len = body_at;
	m->header_len = header_len;
	m->header_done = true;
	header_fix(m);
	return 0;
}

/* Judge the line at m->scan, len octets with its LF. 0 or -errno. */
static int header_line(struct message *m, size_t len)
{
	const char *line = m->head.data + m->scan;
	size_t name_len;

	/* the last line may have no LF */
	if (line[len - 1] == '\n' && (len == 1 || (len == 2 && line[0] == '\r')))
		return header_end(m, m->scan, m->scan + len);
	if ((line[0] == ' ' || line[0] == '\t') && m->field_count)
		return 0;
	if (is_field(line, len, &name_len))
		return add_field(m, m->scan, name_len);
	m->broken = true;               /* the rest is body, this line included */
	return header_end(m, m->scan, m->scan);
}

static int header_scan(struct message *m)
{
	while (!m->header_done) {
		size_t left = m->head.len - m->scan;
		const char *line = m->head.data + m->scan;
		const char *lf = left ? memchr(line, '\n', left) : NULL;
		size_t len = lf ? (size_t)(lf - line) + 1 : left;
		int rc;

		if (m->scan + len > m->lim.header_bytes)
			return -EMSGSIZE;
		if (!lf)
			return 0;
		rc = header_line(m, len);
		if (rc < 0)
			return rc;
		m->scan += len;
	}
	return 0;
}

static bool is_full(int rc)
{
	return rc == -ENOSPC || rc == -EDQUOT;
}

static int spare_write(struct message *m, const char *p, size_t len)
{
	int rc = len > MESSAGE_SPARE_MAX - spare_used ? -ENOSPC : file_write_all(m->fd, p, len);

	if (rc < 0)
		return rc;
	spare_used += len;
	m->spare_len += len;
	return 0;
}

/* From here on the message is in a file in memory. */
static int spare_open(struct message *m)
{
	int fd = memfd_create("message", MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (m->fd >= 0)
		close(m->fd);
	m->fd = fd;
	m->spare = true;
	return 0;
}

/* The disk is full: what stands in the file on it, len octets, goes to one in memory. */
static int spare_take_over(struct message *m, size_t len)
{
	AUTO(buf) struct buf block = BUF_INIT(READ_CHUNK);
	int from = dup(m->fd), rc = from < 0 ? -errno : buf_reserve(&block, READ_CHUNK);

	if (rc == 0)
		rc = spare_open(m);
	for (size_t off = 0; rc == 0 && off < len;) {
		ssize_t n = pread(from, block.data, len - off < READ_CHUNK ? len - off : READ_CHUNK, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		rc = n > 0 ? spare_write(m, block.data, (size_t)n) : n < 0 ? -errno : -EIO;
		off += n > 0 ? (size_t)n : 0;
		if (off % COPIED_AT_ONCE == 0 && task_self())
			task_yield();
	}
	if (from >= 0)
		close(from);
	return rc;
}

/* Behind the len octets that the file has. */
static int file_add(struct message *m, size_t len, const char *p, size_t n)
{
	int rc = m->spare ? spare_write(m, p, n) : file_write_all(m->fd, p, n);

	if (m->spare || !is_full(rc))
		return rc;
	rc = spare_take_over(m, len);
	return rc < 0 ? rc : spare_write(m, p, n);
}

/* The message has outgrown its memory: all of it goes to the file; the header stays in memory for its index. */
static int move_to_file(struct message *m)
{
	int fd = m->open_fd ? m->open_fd(m->arg) : -EMSGSIZE;
	int rc;

	if (fd < 0 && !is_full(fd))
		return fd;
	m->fd = fd < 0 ? -1 : fd;
	rc = fd < 0 ? spare_open(m) : 0;
	if (rc == 0)
		rc = file_add(m, 0, m->head.data, m->head.len);
	if (rc == 0)
		rc = file_add(m, m->head.len, m->body.data, m->body.len);
	buf_release(&m->body);
	return rc;
}

int message_add(struct message *m, const char *p, size_t len)
{
	int rc;

	if (!len)
		return 0;
	note_octets(m, p, len);
	m->size += len;
	if (m->fd >= 0)
		return file_add(m, m->size - len, p, len);
	rc = buf_add(m->header_done ? &m->body : &m->head, p, len);
	if (rc == 0 && !m->header_done)
		rc = header_scan(m);
	hold(m);
	if (rc < 0)
		return rc;
	if (!m->header_done)
		return tight(m) && m->head.len > MESSAGE_TIGHT ? -ENOSPC : 0;
	if (m->body.len <= m->lim.memory_bytes && !(m->body.len > MESSAGE_TIGHT && tight(m)))
		return 0;
	rc = move_to_file(m);
	hold(m);
	return rc;
}

int message_end(struct message *m)
{
	size_t left = m->head.len - m->scan;
	int rc = 0;

	if (m->last_cr)
		m->bare = true;
	if (m->header_done)
		return 0;
	if (left)                       /* a last line without LF */
		rc = header_line(m, left);
	return rc < 0 || m->header_done ? rc : header_end(m, m->head.len, m->head.len);
}

struct message *message_new_like(const struct message *m)
{
	return message_new(&m->lim, m->open_fd, m->arg);
}

struct message *message_derive(struct message *m, const char *header, size_t len)
{
	struct message *d = message_new_like(m);

	if (!d)
		return NULL;
	if (message_add(d, header, len) < 0 || !d->header_done || d->body.len) {
		message_free(d);
		return NULL;
	}
	d->body_of = m;
	d->size += m->size - m->head.len;
	/* What the body has is not told apart from what its header had: rather too much than too little. */
	d->bare |= m->bare;
	d->eightbit |= m->eightbit;
	d->nul |= m->nul;
	return d;
}

/* The header is kept in memory, of the body only what octets it has. may wait */
static int adopt_octets(struct message *m, int fd, char *chunk)
{
	for (;;) {
		ssize_t n = pread(fd, chunk, READ_CHUNK, (off_t)m->size);
		int rc;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		if (m->header_done) {
			note_octets(m, chunk, (size_t)n);
			m->size += (size_t)n;
		} else {
			rc = message_add(m, chunk, (size_t)n);
			if (rc < 0)
				return rc;
			buf_clear(&m->body);
		}
		if (m->size % COPIED_AT_ONCE == 0 && task_self())
			task_yield();
	}
}

int message_adopt(struct message *m, int fd)
{
	char *chunk = malloc(READ_CHUNK);
	int rc = chunk ? 0 : -ENOMEM;

	m->lim.memory_bytes = SIZE_MAX;         /* it has its file */
	if (rc == 0)
		rc = adopt_octets(m, fd, chunk);
	if (rc == 0)
		rc = message_end(m);
	buf_release(&m->body);
	m->fd = fd;
	free(chunk);
	hold(m);
	return rc;
}

bool message_header_done(const struct message *m)
{
	return m->header_done;
}

size_t message_size(const struct message *m)
{
	return m->size;
}

size_t message_body_offset(const struct message *m)
{
	return m->head.len;
}

bool message_has_bare(const struct message *m)
{
	return m->bare;
}

bool message_has_8bit(const struct message *m)
{
	return m->eightbit;
}

bool message_has_nul(const struct message *m)
{
	return m->nul;
}

bool message_header_has_bare_cr(const struct message *m)
{
	const char *p = buf_str(&m->head), *end = p + m->head.len;

	for (; m->bare && p < end && (p = memchr(p, '\r', (size_t)(end - p))); p++)
		if (p + 1 == end || p[1] != '\n')
			return true;
	return false;
}

size_t message_field_count(const struct message *m)
{
	return m->header_done ? m->field_count : 0;
}

const struct header_field *message_field(const struct message *m, size_t i)
{
	return &m->field[i];
}

const struct header_field *message_find(const struct message *m, const char *name, size_t nth)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < message_field_count(m); i++)
		if (m->field[i].name_len == len && strncasecmp(m->field[i].name, name, len) == 0 && nth-- == 0)
			return &m->field[i];
	return NULL;
}

const char *header_field_text(const struct header_field *f, size_t *len)
{
	size_t n = 0;

	while (n < f->body_len && strchr(" \t\r\n", f->body[n]))
		n++;
	*len = f->body_len - n;
	return f->body + n;
}

bool message_header_broken(const struct message *m)
{
	return m->broken;
}

static int read_file(struct message *m, size_t off, const char **p, size_t *len)
{
	ssize_t n;

	if (!m->window) {
		m->window = malloc(READ_CHUNK);
		if (!m->window)
			return -ENOMEM;
		hold(m);
	}
	do
		n = pread(m->fd, m->window, READ_CHUNK, (off_t)off);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n == 0)
		return -EIO;            /* shorter than what was written */
	*p = m->window;
	*len = (size_t)n;
	return 0;
}

ssize_t message_copy(struct message *m, size_t off, char *out, size_t size)
{
	const char *p;
	size_t len;
	ssize_t n;
	int rc;

	if (m->fd >= 0) {
		size_t left = off < m->size ? m->size - off : 0;

		do {
			n = left ? pread(m->fd, out, left < size ? left : size, (off_t)off) : 0;
		} while (n < 0 && errno == EINTR);
		return n < 0 ? -errno : n == 0 && left ? -EIO : n;
	}
	rc = message_read(m, off, &p, &len);
	if (rc < 0)
		return rc;
	if (len > size)
		len = size;
	memcpy(out, p, len);
	return (ssize_t)len;
}

int message_read(struct message *m, size_t off, const char **p, size_t *len)
{
	const struct buf *b = &m->head;

	*len = 0;
	*p = "";
	if (off >= m->size)
		return 0;
	if (m->fd >= 0)
		return read_file(m, off, p, len);
	if (off >= m->head.len && m->body_of)
		return message_read(m->body_of, off - m->head.len + m->body_of->head.len, p, len);
	if (off >= m->head.len) {
		off -= m->head.len;
		b = &m->body;
	}
	*p = b->data + off;
	*len = b->len - off < READ_CHUNK ? b->len - off : READ_CHUNK;
	return 0;
}

int message_fd(const struct message *m)
{
	return m->spare ? -1 : m->fd;
}
