/*
 * imap_server - the gateway's side of IMAP: the dialogue before the login
 */
#ifndef IMAP_SERVER_H
#define IMAP_SERVER_H

#include "access/access_session.h"

extern const struct access_protocol imap_protocol;

#endif
