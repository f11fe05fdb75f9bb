/*
 * store_tidy - the index is made good from the message files: after a start, after damage, by `quarantine reindex`
 *
 * A whole message that the index does not know is indexed, with its state as ID.events tells it. One that was deleted, but whose files a crash
 * left, is not. A little at each step, and files are read before the index is written to, so that new messages are kept meanwhile.
 *
 * The keeper alone also removes what a crash left: half a message, which never was acknowledged, events without a message, files under a
 * temporary name. A command must not: what looks like half a message may be one that is being kept at this moment.
 */
#ifndef STORE_TIDY_H
#define STORE_TIDY_H

#include <stdbool.h>

struct store_index;
struct store_tidy;

/*
 * Through the last `days` day directories of dir_fd (0: all; the index is marked as complete then). keeper: also removes. NULL: no
 * memory, or the directory cannot be read.
 */
struct store_tidy *store_tidy_new(int dir_fd, int days, bool keeper);
void store_tidy_free(struct store_tidy *t);

/*
 * true: there is more to do. When it is done the keeper's result is in the log, if there was something to say.
 */
bool store_tidy_step(struct store_tidy *t, struct store_index *index);

/* So far: messages indexed; 0, or the last -errno of the index, after which what was looked through is not complete. */
int store_tidy_indexed(const struct store_tidy *t);
int store_tidy_error(const struct store_tidy *t);

#endif
