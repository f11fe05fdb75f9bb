/*
 * admin - what the commands that work in the stores begin with: quarantine, history, replay
 *
 * They open the files of the stores themselves, whether or not the gateway runs. Those files are the
 * user's of the configuration; root follows nothing that is the user's. So root is given up, for
 * good, before the first of them is touched.
 */
#ifndef ADMIN_H
#define ADMIN_H

#include "base/buf.h"

struct site;

enum { ADMIN_WHO_MAX = 64 };

/*
 * Read the configuration, without the policy (site_load_command), then become its user, or whose the stores are: where we
 * are root. errors: sentences, one per line; so are warnings that matter to a command.
 * 0 and *out; -EINVAL (the configuration), or another -errno. Once per process, before threads.
 */
int admin_open(const char *path, struct site **out, struct buf *errors);

/*
 * Who is asking, for the record: who called sudo, or logged in, or whose process this is. Printable,
 * never empty. As it was at admin_open.
 */
const char *admin_who(void);

/* state_dir/name of the site, in a buffer of the caller's. 0, -ENAMETOOLONG. */
int admin_path(const struct site *s, const char *name, char *out, size_t size);

#endif
