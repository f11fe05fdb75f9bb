/*
 * policy_files - the list files of a policy: which there are, and new contents while it runs
 *
 * A list is known by the path of its file, so that processes with policies of different ages
 * understand each other. Paths are as the policy found them: relative ones begin with its directory.
 */
#ifndef POLICY_FILES_H
#define POLICY_FILES_H

#include "policy/policy.h"
#include "policy/policy_list.h"

/*
 * What the built-in list `allowed` holds: the entries of this file, which is remembered as that of the list; a file that does
 * not exist is an empty list. 0; -EINVAL: it has errors, or cannot be read, said in errors as by policy_parse; -ENOMEM.
 */
int policy_set_allowed(struct policy *p, const char *path, struct buf *errors);

/* fn for each list that has a file; the same path may come more than once. */
void policy_files_each(const struct policy *p, void (*fn)(const char *path, const struct list_stamp *stamp, void *arg),
		       void *arg);

/*
 * A file has changed: read it. NULL, and lines in errors: it has errors, or too many regular expressions for this policy, or
 * cannot be read (then stamp->there is false); the policy is as it was. stamp is that of what was read.
 */
struct policy_list *policy_file_read(const struct policy *p, const char *path, struct list_stamp *stamp, struct buf *errors);

/*
 * The lists of this path become the image in fd (the caller's). How many there are, or -errno: some may be as they were.
 * Between two lookups: nothing that waits holds on to the inside of a list.
 */
int policy_files_replace(struct policy *p, const char *path, int fd);

#endif
