/*
 * fuzz_imap_runs - which messages a FETCH is about, as servers number them, and what is expunged meanwhile: as a plain list has it
 *
 * Octets in pairs: how far number and UID of the next message lie above those of the one before; 255: the list is complete. Then: what happens, and to
 * whom.
 */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "imap/imap_runs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MESSAGES = 500 };

static struct { uint32_t seq, uid; } plain[MESSAGES];
static size_t count;

static void same(const struct imap_runs *r)
{
	uint32_t seq = 0, uid = 0, at = 0, other;

	assert(r->messages == count);
	for (size_t i = 0; i < count; i++) {
		assert(imap_runs_next(r, at, &seq, &uid) && seq == plain[i].seq && uid == plain[i].uid);
		assert(imap_runs_uid(r, seq, &other) && other == uid && imap_runs_seq(r, uid, &other) && other == seq);
		at = uid;
	}
	assert(!imap_runs_next(r, at, &seq, &uid));
	imap_runs_top(r, &seq, &uid);
	assert(seq == (count ? plain[count - 1].seq : 0) && uid == (count ? plain[count - 1].uid : 0));
}

static void gone(size_t i)
{
	memmove(&plain[i], &plain[i + 1], (--count - i) * sizeof(plain[0]));
}

static void forget(struct imap_runs *r, uint32_t uid)
{
	assert(imap_runs_forget(r, uid) == 0);
	for (size_t i = 0; i < count; i++)
		if (plain[i].uid == uid) {
			gone(i);
			return;
		}
}

static void expunge(struct imap_runs *r, uint32_t seq)
{
	assert(imap_runs_expunge(r, seq) == 0);
	for (size_t i = 0; i < count; i++)
		if (plain[i].seq == seq)
			gone(i);
	for (size_t i = 0; i < count; i++)
		if (plain[i].seq > seq)
			plain[i].seq--;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct imap_runs r = { 0 };
	uint32_t seq = 0, uid = 0;
	size_t i = 0;
	int rc;

	for (count = 0; i + 1 < size && data[i] != 255 && count < MESSAGES; i += 2) {
		seq += data[i] % 16 + 1;
		uid += data[i] % 16 + 1 + data[i + 1] % 4;
		plain[count].seq = seq;
		plain[count++].uid = uid;
	}
	/* They come in any order. */
	for (size_t k = 0; k < count; k++) {
		size_t n = size % 2 ? count - 1 - k : k;

		assert(imap_runs_add(&r, plain[n].seq, plain[n].uid) == 0);
	}
	rc = imap_runs_sort(&r);
	assert(rc == 0);
	same(&r);
	for (; i + 1 < size; i += 2) {
		if (data[i] % 2)
			forget(&r, count ? plain[data[i + 1] % count].uid + data[i] % 4 / 2 : data[i + 1]);
		else
			expunge(&r, data[i + 1] + 1u);
		same(&r);
	}
	imap_runs_release(&r);
	/* What no mailbox has is refused, or is none the less within its bounds. */
	for (i = 0; i + 7 < size; i += 8) {
		uint32_t any[2];

		memcpy(any, data + i, sizeof(any));
		rc = imap_runs_add(&r, any[0], any[1]);
		assert(rc == 0 || rc == -EPROTO);
	}
	if (imap_runs_sort(&r) == 0)
		for (uint32_t at = 0; imap_runs_next(&r, at, &seq, &uid) && i-- > 0; at = uid)
			assert(uid > at);
	imap_runs_release(&r);
	return 0;
}
