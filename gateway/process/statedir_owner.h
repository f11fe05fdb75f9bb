/*
 * statedir_owner - what lies in a directory of the state directory is given to the user whose it is to be
 *
 * For a site that gets a user, or another one: the files of the one before could be read or written by nobody. Done by root, in directories that
 * others could write to: so nothing is followed. What is given is looked at through a descriptor first: a file with one name, or a directory, on the same
 * file system, that belonged to one of the site's users, or to whom the directory belongs (root, when there was no user). All else stays.
 */
#ifndef STATEDIR_OWNER_H
#define STATEDIR_OWNER_H

#include <stddef.h>
#include <sys/types.h>

struct statedir_owners {
	uid_t to;
	gid_t to_group;
	uid_t from[5];          /* whose things are given away */
	size_t from_count;
};

/*
 * All below the directory dir (O_PATH will do), then dir itself: last, and root's until then, so that who is stopped in the middle begins again. 0 and *given, how many; or -errno:
 * -ELOOP is a tree deeper than any of ours.
 */
int statedir_give(int dir, const struct statedir_owners *o, size_t *given);

#endif
