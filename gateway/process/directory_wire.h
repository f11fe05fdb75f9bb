/*
 * directory_wire - what is said between workers, the directory process, and who looks at it
 *
 * CHANNEL_DIRECTORY_ASK: an address in its normal form (directory/directory_address.h), without a NUL; answered with enum directory_answer as the status, 0 or more.
 *
 * Commands reach it through memory that all processes share: it looks there once a second.
 */
#ifndef DIRECTORY_WIRE_H
#define DIRECTORY_WIRE_H

#include <jansson.h>
#include <stdatomic.h>
#include <stddef.h>

#include "directory/directory_address.h"
#include "directory/directory_service.h"

struct directory_told {                 /* an answer for a command */
	int answer;
	char directory[DIRECTORY_NAME_MAX], by[160];
};

/* Zeroed at the start. What is not atomic may be read while it is written: it is shown to people, and nothing else. */
struct directory_shared {
	_Atomic unsigned generation;            /* whose process writes here: the latest */
	_Atomic unsigned refresh_wanted;        /* counted up by a command */
	_Atomic unsigned asked, answered;       /* the number of the latest question, and that of the latest answer */
	char question[DIRECTORY_ADDRESS_MAX];
	struct directory_told told;
	_Atomic int count;
	struct directory_view view[DIRECTORIES_MAX];
};

/* An address as it came from another process: of out's size, in its normal form. False: it is none. */
bool directory_wire_read(const void *data, size_t len, char out[DIRECTORY_ADDRESS_MAX]);

/* For `status`: "directories", where there are any. */
void directory_describe(const struct directory_shared *s, json_t *answer);

/*
 * Commands of the control socket (shared as their arg's; see keeper_state.c): recipients.refresh; recipients.ask {"address"}, answered with {"number"}; and
 * recipients.answer {"number"}, answered with {"answer", "directory", "by"} once there is one, before with nothing. 0 or -errno.
 */
int directory_command_refresh(struct directory_shared *s);
int directory_command_ask(struct directory_shared *s, json_t *request, json_t *answer);
int directory_command_answer(struct directory_shared *s, json_t *request, json_t *answer);

#endif
