/*
 * session_replay - a recorded session again and again: whole, octet by octet, and cut in two at every place of either leg
 *
 * What client and servers hear, to the octet, has to be what it was the first time. Octets are those of the wires: under TLS the records', those of
 * the handshake included.
 */
#ifndef SESSION_REPLAY_H
#define SESSION_REPLAY_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rig/rig.h"

struct replay {
	const char *name;
	const void *session;
	/* Run it up to its end (rig_run); and look at what has come of it, once; rig_finish is done here. */
	void (*run)(const void *session, struct pace client, struct pace server);
	void (*check)(const void *session);
};

enum { TRANSCRIPT_MAX = 1 << 20 };

static inline void play(const struct replay *r, struct pace client, struct pace server, struct buf *out, uint64_t *said, uint64_t *answered)
{
	r->run(r->session, client, server);
	buf_clear(out);
	rig_transcript(out);
	buf_add(out, buf_str(&rig.host.kept), rig.host.kept.len);
	if (said) {
		r->check(r->session);
		*said = rig.client.end.delivered;
		*answered = 0;
		for (size_t i = 0; i < rig.servers; i++)
			*answered = rig.server[i].end.delivered > *answered ? rig.server[i].end.delivered : *answered;
	}
	rig_finish();
}

static inline void same(const struct replay *r, const char *how, uint64_t at, const struct buf *want, const struct buf *got)
{
	size_t first = 0;

	if (want->len == got->len && memcmp(want->data, got->data, want->len) == 0)
		return;
	while (first < want->len && first < got->len && want->data[first] == got->data[first])
		first++;
	first = first > 60 ? first - 60 : 0;
	fail_msg("%s, %s %llu: wanted\n%.300s\n---- got\n%.300s", r->name, how, (unsigned long long)at, buf_str(want) + first, buf_str(got) + first);
}

/* Prints how many octets went over each leg, and how many places were cut: of each leg one less. */
static inline void replay(const struct replay *r)
{
	static const struct pace whole, single = { .each = 1 };
	AUTO(buf) struct buf want = BUF_INIT(TRANSCRIPT_MAX), got = BUF_INIT(TRANSCRIPT_MAX);
	const uint64_t step = getenv("UNDER_VALGRIND") ? 29 : 1;        /* there, a session takes some tenths of a second */
	uint64_t said, answered, cuts = 0;

	play(r, whole, whole, &want, &said, &answered);
	play(r, whole, whole, &got, NULL, NULL);
	same(r, "again", 0, &want, &got);
	play(r, single, whole, &got, NULL, NULL);
	same(r, "the client octet by octet", 0, &want, &got);
	play(r, whole, single, &got, NULL, NULL);
	same(r, "the server octet by octet", 0, &want, &got);
	play(r, single, single, &got, NULL, NULL);
	same(r, "both octet by octet", 0, &want, &got);
	for (uint64_t i = 1; i < said; i += step, cuts++) {
		play(r, (struct pace){ .split = i }, whole, &got, NULL, NULL);
		same(r, "the client cut at", i, &want, &got);
	}
	for (uint64_t i = 1; i < answered; i += step, cuts++) {
		play(r, whole, (struct pace){ .split = i }, &got, NULL, NULL);
		same(r, "the server cut at", i, &want, &got);
	}
	print_message("%-40s client %5llu octets, server %5llu: %5llu places\n", r->name, (unsigned long long)said, (unsigned long long)answered,
		      (unsigned long long)cuts);
	assert_true(said > 1 && answered > 1);
	assert_int_equal(cuts, (said - 2) / step + 1 + (answered - 2) / step + 1);
}

#endif
