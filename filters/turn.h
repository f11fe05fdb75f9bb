/*
 * turn - others have theirs while much is hashed
 *
 *     struct turn t = { 0 };
 *     for each piece: hash(p, len), turn_took(&t, len);
 *
 * Counted are octets and not time, so that the same work always yields at the same places: after TURN_OCTETS, which take a quarter of a millisecond
 * of body. What takes longer for its length counts as more.
 */
#ifndef TURN_H
#define TURN_H

#include <stddef.h>

enum {
	TURN_OCTETS = 256 * 1024,
	TURN_HEADER = 4,                /* times an octet of header: relaxed form has it word by word */
};

struct turn {
	size_t since;
};

/* So much has been done. In a task, others go on when it is enough. may wait */
void turn_took(struct turn *t, size_t octets);

#endif
