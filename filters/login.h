/*
 * login - facts about where a client came in, and who of ours it is: listener, client.relay, auth.user, auth.mechanism
 *
 * They are there from MAIL on: who logs in does so before.
 */
#ifndef LOGIN_H
#define LOGIN_H

#include "filters/filter.h"

extern const struct filter filter_login;

#endif
