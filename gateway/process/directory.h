/*
 * directory - the process that asks directories who is a recipient: the only one that speaks LDAP, and that has the passwords for it
 *
 * One for each generation of workers, started before them, where the site has verify = directory. It reads the files with the passwords (as root, where the site was
 * started so), opens the two files of the copy (directory/directory_copy.h), confines itself, and is asked by workers (directory_wire.h). It lives as keepers do (keeper.h),
 * but on the loop of tasks: while it fetches all addresses or waits for a server, questions whose answer it has are answered at once, and others wait for
 * the `timeout` of the directory at most.
 *
 * The configuration in force is that of its generation; a new one, or a new password in the same file, takes effect at a reload. A process of an older generation that
 * dies is not started again: its workers ask the present one.
 */
#ifndef DIRECTORY_PROCESS_H
#define DIRECTORY_PROCESS_H

/* Where the copy is, below the state directory. */
#define DIRECTORY_COPY_DIR "directory"

#endif
