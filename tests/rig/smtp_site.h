/*
 * smtp_site - the site of the SMTP sessions that are fuzzed and replayed, and what has to hold after each of them
 */
#ifndef RIG_SMTP_SITE_H
#define RIG_SMTP_SITE_H

#include "rig/rig.h"

/* Once in a process; again is nothing. */
void smtp_site_open(void);

/*
 * One session: script is the client's. kind chooses, by its lowest bits: 0..3 the listener (inbound with STARTTLS, TLS from the first octet, submission, one
 * of ours that may send anywhere); 4: the server behind offers STARTTLS; 8: it offers nothing. Ends the program when something is wrong.
 */
void smtp_site_client(char kind, const char *script, size_t len);
/* The same, up to the end of the session: rig_transcript can be asked; rig_finish is the caller's. paces: how octets arrive. */
void smtp_site_run(char kind, const char *script, size_t len, struct pace client, struct pace server);

/*
 * One session of a good client with two messages, by DATA and by BDAT, before a server that says what script says. kind: 4 and 8 as above, for what the
 * backend has said at the start; 64: the mail goes out, and the server is one that an MX names.
 */
void smtp_site_server(char kind, const char *script, size_t len);

#endif
