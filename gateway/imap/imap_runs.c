#include "imap/imap_runs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void imap_runs_release(struct imap_runs *r)
{
	free(r->run);
	*r = (struct imap_runs){ 0 };
}

static bool reserve(struct imap_runs *r)
{
	size_t cap = r->cap ? r->cap * 2 : 8;
	struct imap_run *grown;

	if (r->count < r->cap)
		return true;
	grown = realloc(r->run, cap * sizeof(*grown));
	if (!grown)
		return false;
	r->run = grown;
	r->cap = cap;
	return true;
}

/* Whether b follows a without a gap in either. */
static bool joins(const struct imap_run *a, const struct imap_run *b)
{
	return a->seq + a->count == b->seq && a->uid + a->count == b->uid;
}

int imap_runs_add(struct imap_runs *r, uint32_t seq, uint32_t uid)
{
	struct imap_run one = { seq, uid, 1 };

	if (seq == 0 || uid == 0)
		return -EPROTO;
	if (r->messages >= IMAP_MESSAGES_MAX)
		return -ENOSPC;
	r->messages++;
	if (r->count && joins(&r->run[r->count - 1], &one)) {
		r->run[r->count - 1].count++;
		return 0;
	}
	if (r->count >= IMAP_RUNS_MAX)
		return -ENOSPC;
	if (!reserve(r))
		return -ENOMEM;
	r->run[r->count++] = one;
	return 0;
}

static int by_seq(const void *a, const void *b)
{
	uint32_t x = ((const struct imap_run *)a)->seq, y = ((const struct imap_run *)b)->seq;

	return x < y ? -1 : x > y;
}

int imap_runs_sort(struct imap_runs *r)
{
	size_t n = 0;

	if (r->count)
		qsort(r->run, r->count, sizeof(*r->run), by_seq);
	for (size_t i = 0; i < r->count; i++) {
		struct imap_run *last = n ? &r->run[n - 1] : NULL, *this = &r->run[i];

		/* told twice: the answer to a set that names messages twice */
		if (last && this->seq - last->seq < last->count && this->uid - last->uid == this->seq - last->seq) {
			uint32_t twice = last->count - (this->seq - last->seq);

			twice = twice < this->count ? twice : this->count;
			r->messages -= twice;
			last->count += this->count - twice;
			continue;
		}
		if (last && (this->seq - last->seq < last->count || this->uid < last->uid || this->uid - last->uid < last->count))
			return -EPROTO;
		if (last && joins(last, this))
			last->count += this->count;
		else
			r->run[n++] = *this;
	}
	r->count = n;
	return 0;
}

/* The last run that begins at or below; count: none. */
static size_t find(const struct imap_runs *r, uint32_t at, bool uid)
{
	size_t lo = 0, hi = r->count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if ((uid ? r->run[mid].uid : r->run[mid].seq) <= at)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo ? lo - 1 : r->count;
}

bool imap_runs_uid(const struct imap_runs *r, uint32_t seq, uint32_t *uid)
{
	size_t i = find(r, seq, false);

	if (i == r->count || seq - r->run[i].seq >= r->run[i].count)
		return false;
	*uid = r->run[i].uid + (seq - r->run[i].seq);
	return true;
}

bool imap_runs_seq(const struct imap_runs *r, uint32_t uid, uint32_t *seq)
{
	size_t i = find(r, uid, true);

	if (i == r->count || uid - r->run[i].uid >= r->run[i].count)
		return false;
	*seq = r->run[i].seq + (uid - r->run[i].uid);
	return true;
}

bool imap_runs_next(const struct imap_runs *r, uint32_t above, uint32_t *seq, uint32_t *uid)
{
	size_t i = find(r, above, true);

	if (i == r->count) {
		i = 0;
	} else if (above - r->run[i].uid + 1 < r->run[i].count) {
		*uid = above + 1;
		*seq = r->run[i].seq + (*uid - r->run[i].uid);
		return true;
	} else {
		i++;
	}
	if (i >= r->count)
		return false;
	*uid = r->run[i].uid;
	*seq = r->run[i].seq;
	return true;
}

void imap_runs_top(const struct imap_runs *r, uint32_t *seq, uint32_t *uid)
{
	const struct imap_run *last = r->count ? &r->run[r->count - 1] : NULL;

	*seq = last ? last->seq + last->count - 1 : 0;
	*uid = last ? last->uid + last->count - 1 : 0;
}

/* The run i without its message at k; numbers stay. */
static int cut(struct imap_runs *r, size_t i, uint32_t k)
{
	struct imap_run *run = &r->run[i];

	r->messages--;
	if (run->count == 1) {
		memmove(run, run + 1, (r->count - i - 1) * sizeof(*run));
		r->count--;
	} else if (k == 0) {
		run->count--;
		run->seq++;
		run->uid++;
	} else if (k == run->count - 1) {
		run->count--;
	} else {
		if (!reserve(r)) {
			imap_runs_release(r);
			return -ENOMEM;
		}
		run = &r->run[i];
		memmove(run + 1, run, (r->count - i) * sizeof(*run));
		r->count++;
		run[1] = (struct imap_run){ run->seq + k + 1, run->uid + k + 1, run->count - k - 1 };
		run->count = k;
	}
	return 0;
}

int imap_runs_forget(struct imap_runs *r, uint32_t uid)
{
	size_t i = find(r, uid, true);

	return i < r->count && uid - r->run[i].uid < r->run[i].count ? cut(r, i, uid - r->run[i].uid) : 0;
}

int imap_runs_expunge(struct imap_runs *r, uint32_t seq)
{
	int rc = 0;

	/* They may not be sorted yet. */
	for (size_t i = 0; i < r->count; i++)
		if (seq >= r->run[i].seq && seq - r->run[i].seq < r->run[i].count) {
			rc = cut(r, i, seq - r->run[i].seq);
			break;
		}
	for (size_t i = 0; i < r->count; i++)
		if (r->run[i].seq > seq)
			r->run[i].seq--;
	return rc;
}
