#include "policy/history_channel.h"

#include <errno.h>
#include <event2/event.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/task.h"
#include "process/channel.h"

enum {
	LENGTH_OCTETS = 4,
	SEND_OCTETS = 48 * 1024,        /* sent at once; a single record may be more */
	SAY_MS = 10 * 1000,
};

static void put_length(char *p, size_t n)
{
	for (int i = 0; i < LENGTH_OCTETS; i++)
		p[i] = (char)(n >> 8 * i);
}

static size_t get_length(const char *p)
{
	size_t n = 0;

	for (int i = LENGTH_OCTETS - 1; i >= 0; i--)
		n = n << 8 | (unsigned char)p[i];
	return n;
}

int history_channel_next(const char *data, size_t len, size_t *at, const char **p, size_t *n)
{
	size_t left = len - *at;

	if (left == 0)
		return -ENOENT;
	if (left < LENGTH_OCTETS || get_length(data + *at) > left - LENGTH_OCTETS)
		return -EBADMSG;
	*n = get_length(data + *at);
	*p = data + *at + LENGTH_OCTETS;
	*at += LENGTH_OCTETS + *n;
	return 0;
}

/* How much of what is held goes together: whole records. */
static size_t piece(const struct buf *held, size_t from)
{
	size_t end = from;

	while (end < held->len) {
		size_t n = LENGTH_OCTETS + get_length(held->data + end);

		if (end > from && end + n - from > SEND_OCTETS)
			break;
		end += n;
	}
	return end - from;
}

static void wait_more(struct history_channel *h)
{
	struct timeval tv = { 0, HISTORY_FLUSH_MS * 1000 };

	if (!h->waiting && h->timer)
		h->waiting = event_add(h->timer, &tv) == 0;
}

static void flush(struct history_channel *h)
{
	size_t sent = 0;

	while (sent < h->held.len) {
		size_t n = piece(&h->held, sent);
		int rc = channel_notify(h->channel, CHANNEL_HISTORY_ADD, h->held.data + sent, n, -1);

		if (rc == -EAGAIN || rc == -EPIPE)
			break;          /* it is busy, or away: later */
		sent += n;              /* or it can never be sent */
	}
	buf_eat(&h->held, sent);
	if (h->held.len > 0)
		wait_more(h);
}

static void say_dropped(struct history_channel *h)
{
	int64_t now_ms = clock_ms();
	struct log_line l;

	if (h->dropped_here == h->said || (h->said_ms && now_ms - h->said_ms < SAY_MS))
		return;
	log_start(&l, LOG_LEVEL_WARNING, "history");
	log_str(&l, "error", "the history keeper does not keep up, or is away: records are dropped, mail goes on");
	log_num(&l, "dropped", (int64_t)(h->dropped_here - h->said));
	log_emit(&l);
	h->said = h->dropped_here;
	h->said_ms = now_ms;
}

static void on_timer(int fd, short what, void *arg)
{
	struct history_channel *h = arg;

	h->waiting = false;
	flush(h);
	say_dropped(h);
}

void history_channel_init(struct history_channel *h, struct channel *channel, bool records, _Atomic uint64_t *dropped)
{
	*h = (struct history_channel){ .channel = channel, .records = records, .dropped = dropped, .held = BUF_INIT(HISTORY_HELD_MAX) };
}

int history_channel_start(struct history_channel *h)
{
	h->timer = event_new(loop_base(), -1, 0, on_timer, h);
	return h->timer ? 0 : -ENOMEM;
}

void history_channel_release(struct history_channel *h)
{
	if (h->channel && h->held.len)
		flush(h);
	if (h->timer)
		event_free(h->timer);
	h->timer = NULL;
	buf_release(&h->held);
}

void history_channel_add(struct history_channel *h, const struct history_record *r)
{
	static const char length[LENGTH_OCTETS];
	size_t begin;

	if (!h || !h->records)
		return;
	begin = h->held.len;
	if (h->held.max - begin < LENGTH_OCTETS || buf_add(&h->held, length, LENGTH_OCTETS) < 0 || history_encode(r, &h->held) < 0) {
		h->held.len = begin;
		h->held.failed = false;
		h->dropped_here++;
		atomic_fetch_add(h->dropped, 1);
		say_dropped(h);
	} else {
		put_length(h->held.data + begin, h->held.len - begin - LENGTH_OCTETS);
	}
	if (h->held.len >= SEND_OCTETS && !h->waiting)
		flush(h);
	else
		wait_more(h);
}
