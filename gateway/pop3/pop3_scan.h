/*
 * pop3_scan - a POP3 session after its login, where messages are judged on their way to the client (scan = yes)
 *
 * Commands are followed one by one, those that are known alone. What RETR and TOP would show is fetched first, and judged, unless it is what was
 * judged under its UIDL before (retrieval/retrieval.h); for TOP without lines the UIDL is enough. A message that is kept back is shown as a notice of
 * the same length. Of a message that the gateway has fetched for RETR the client gets the gateway's copy; TOP's whole message is fetched by TOP, too,
 * so that it does not count as read, if what comes is as long as LIST says.
 */
#ifndef POP3_SCAN_H
#define POP3_SCAN_H

struct access_session;

/* Until the end of the session. may wait */
void pop3_scan_serve(struct access_session *s);

#endif
