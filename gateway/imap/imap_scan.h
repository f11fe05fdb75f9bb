/*
 * imap_scan - IMAP after the login where messages are scanned on the way out (scan = yes)
 *
 * The client's commands and the server's responses are read as they pass, and pass as they came, with these exceptions:
 *
 * A FETCH that shows what a message holds waits until all commands before it have been answered. Then the gateway asks the server which messages are
 * meant, asks retrieval/ what is known of them, fetches those of which nothing is known and has them scanned; then the FETCH goes its way, cut down to
 * the messages that were looked at, and the next commands wait until it is answered. Of messages that are convicted every octet of their content is
 * replaced by a notice (retrieval/notice.h) as it passes, and their header is made fit for it. What the server shows of a message
 * without having been asked is replaced, too.
 *
 * After a reload, a session goes on until it wants to see a message: then it hears BYE, and comes again to who knows the new policy.
 *
 * Literals that a client sends without waiting (LITERAL+, LITERAL-) wait here until the server wants them, or are not sent to it.
 *
 * Commands that nobody here knows are refused, as are those whose answers could not be seen through; ENABLE enables the others.
 *
 * Capabilities are adjusted (imap_caps.h) wherever the server tells them.
 *
 * A header alone (BODY[HEADER], RFC822.HEADER) is shown as that of a convicted message if it is known to be one, but nothing is scanned for it; fields of it
 * (HEADER.FIELDS), structures, envelopes and sizes pass as they are.
 */
#ifndef IMAP_SCAN_H
#define IMAP_SCAN_H

struct access_session;

/* From the login to the end of the session, of which access_end() has been told. may wait */
void imap_scan_serve(struct access_session *s);

#endif
