/*
 * access_site - the site of the IMAP and POP3 sessions that are fuzzed and replayed, and what has to hold after each of them
 */
#ifndef RIG_ACCESS_SITE_H
#define RIG_ACCESS_SITE_H

#include "rig/rig.h"

/* Once in a process; again is nothing. */
void access_site_open(void);

/*
 * One session. kind chooses, by its lowest bits: 0..2 the listener (with STARTTLS; TLS from the first octet; one that reads messages on the way); 4: the
 * server offers TLS. The script is the client's before a server that answers for itself, or, with client NULL, server is the
 * script of the server, and the client says what a good one would say. Both: the server's script is for the server. Ends the program when something is wrong.
 */
void access_site_session(bool imap, char kind, const char *client, size_t len, const char *server, size_t server_len);
/* The same up to its end; rig_transcript can be asked, rig_finish is the caller's. */
void access_site_run(bool imap, char kind, const char *client, size_t len, const char *server, size_t server_len, struct pace to_client, struct pace to_server);

#endif
