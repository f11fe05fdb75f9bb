/*
 * pop3_server - the gateway's side of POP3: the dialogue before the login
 */
#ifndef POP3_SERVER_H
#define POP3_SERVER_H

#include "access/access_session.h"

extern const struct access_protocol pop3_protocol;

#endif
