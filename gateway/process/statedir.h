/*
 * statedir - the directory where a site keeps what must last, as the parent prepares it
 *
 *     lock            held by the parent: one gatepost per directory
 *     tls/            0700 root: the self-signed certificate and its key, made at the first start
 *     empty/          0555 root: the root directory of the workers
 *     state/          0700 of keeper_user: the state keeper's, its root directory; state.db
 *     quarantine/     0700 of keeper_user: the store keeper's, its root directory
 *     history/        0700 of keeper_user: the history keeper's, its root directory; history.db
 *     spool/          0700 of keeper_user: the spool keeper's, its root directory
 *     directory/      0700 of directory_user: what the directory process knows; two files that it opens before it is confined
 *
 * Nothing that belongs to such a user is written, or followed, by root. A part that belongs to another one (of a configuration of before) is handed over
 * with what it holds: statedir_owner.h.
 */
#ifndef STATEDIR_H
#define STATEDIR_H

#include "base/buf.h"
#include "process/confine.h"

struct key_list;
struct site;

/*
 * Make what is missing, check what is there, take the lock. The lock's descriptor, or -errno with a
 * sentence in err. held: it has been taken already (-1: not), and is what is returned.
 */
int statedir_open(const char *path, const struct confine of[ROLE_COUNT], int held, struct buf *err);

/*
 * The self-signed certificate of host name, made at the first call (aside: this process never has its key). *cert_pem (free); the place of its key, which is added
 * to keys; or -errno with a sentence in err.
 */
int statedir_certificate(const char *path, const char *hostname, char **cert_pem, struct key_list *keys, struct buf *err);

#endif
