/*
 * directory_client - a worker's way to the process that asks directories (process/directory.h)
 *
 * A call waits for the answer, and for the process where it has died and is started again; all in all a little longer than a directory is waited for. Without an
 * answer it is DIRECTORY_LATER.
 */
#ifndef DIRECTORY_CLIENT_H
#define DIRECTORY_CLIENT_H

#include "directory/directory_ask.h"
#include "process/channel.h"

enum { DIRECTORY_CLIENT_MORE_MS = 3000 };

struct site;

struct directory_client {
	struct channel channel;
	bool needed;                    /* the site asks directories at all */
	int wait_ms;
	struct directory_asker asker;
};

void directory_client_init(struct directory_client *c, const struct site *site);
void directory_client_release(struct directory_client *c);

#endif
