/*
 * store_tidy - after a start: what a crash left in the store's days
 *
 * A whole message that the index does not know is indexed (nobody was told about it, but it is
 * there); half a message, which never was acknowledged, is removed, and so are files under a
 * temporary name. A little at each step, so that new messages are kept meanwhile.
 */
#ifndef STORE_TIDY_H
#define STORE_TIDY_H

#include <stdbool.h>

struct store_index;
struct store_tidy;

/*
 * Through the last `days` day directories of dir_fd (0: all). NULL: no memory, or the directory
 * cannot be read.
 */
struct store_tidy *store_tidy_new(int dir_fd, int days);
void store_tidy_free(struct store_tidy *t);

/*
 * true: there is more to do. When it is done the result is in the log, if there was something to
 * say.
 */
bool store_tidy_step(struct store_tidy *t, struct store_index *index);

#endif
