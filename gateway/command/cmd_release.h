/*
 * cmd_release - gatepost quarantine release: messages that were held go to the mail server after all (smtp/release.h)
 *
 * Exit status: the highest of those of the messages.
 */
#ifndef CMD_RELEASE_H
#define CMD_RELEASE_H

enum release_exit {
	RELEASE_EXIT_OK,
	RELEASE_EXIT_WRONG,     /* a wrong option or configuration, the store cannot be read or written */
	RELEASE_EXIT_MISSING,   /* a message that was named is not there */
	RELEASE_EXIT_HAD_IT,    /* released before: nothing was done */
	RELEASE_EXIT_LATER,     /* the server cannot be reached, or said 4xx; or another command is at the message */
	RELEASE_EXIT_REFUSED,   /* the server said 5xx */
	RELEASE_EXIT_PERHAPS,   /* perhaps delivered: now, or by a release before, and nothing was done */
};

int quarantine_release(int argc, char **argv);

#endif
