/*
 * known - senders to whom the site's users have written
 *
 * Addresses are learnt from outbound mail that was delivered (known_learn), and are known for the time that the site
 * sets (known_senders, 60 days) after the last such message. The fact sender.known says whether the
 * envelope sender of a message is one of them. It is the envelope sender and not From: it is there
 * at MAIL, and SPF can say whether it is true; a rule that trusts it asks for that, too.
 *
 * Addresses are compared without case, without a +detail behind the name, and without the tag of a
 * bounce address (prvs=1234567890=): who is written to as one of these may answer as another. The
 * state remembers; where it is away, or there is none, the fact is unknown, so that nobody is known and
 * nothing is deferred for it.
 */
#ifndef KNOWN_H
#define KNOWN_H

#include <stddef.h>

struct filter;
struct recent;
struct recipient;
struct state;

extern const struct filter filter_known;

enum { KNOWN_LEARN_MAX = 100 };         /* recipients of one message that are learnt */

/*
 * A message of a user of ours was delivered to these: those who are not the site's own are known for
 * life_s from now on (0: nothing is learnt). recent (may be NULL) keeps it cheap: who was learnt within
 * the hour is not told to the state again. How many the state was told; -errno when it is away. may wait
 */
int known_learn(struct state *s, struct recent *recent, int life_s, const struct recipient *const *rcpt, size_t count);

#endif
