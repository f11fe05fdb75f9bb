/*
 * imap_server - the gateway's side of IMAP, from the greeting to the login
 *
 * The server's greeting is passed on; then the client's commands are read strictly (imap_command.h): CAPABILITY, NOOP, ID and LOGOUT are the server's to
 * answer, STARTTLS is ours, LOGIN and AUTHENTICATE are in imap_auth.h; there are no others before a login. When the user is in, bytes flow.
 */
#ifndef IMAP_SERVER_H
#define IMAP_SERVER_H

#include "access/access_session.h"

extern const struct access_protocol imap_protocol;

#endif
