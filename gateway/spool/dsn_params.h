/*
 * dsn_params - what a sender asked for by RFC 3461, read from the parameters that an envelope carries
 *
 * The parameters are those of smtp_command_params(), perhaps of an earlier version or of a file that a person edited: words that are not
 * known, or malformed, are passed over, as if they had not been said. Pure: no I/O.
 */
#ifndef DSN_PARAMS_H
#define DSN_PARAMS_H

#include <stdbool.h>

#include "smtp/smtp_command.h"

struct dsn_params {
	unsigned notify;                        /* NOTIFY_ bits; 0: none given */
	enum smtp_ret ret;
	char envid[SMTP_ENVID_MAX + 1];         /* decoded; "": none */
	char orcpt[SMTP_ORCPT_MAX + 1];         /* xtext as given; "": none */
	bool utf8;                              /* SMTPUTF8 */
};

/* params: of MAIL or of RCPT; NULL: none. */
void dsn_params_parse(const char *params, struct dsn_params *out);

/*
 * Whether the sender is to be told (RFC 3461 4.1) that a recipient with these parameters failed, is late, or was handed to a server that
 * sends no notifications. Without NOTIFY: failures and delays.
 */
bool dsn_wants_failure(const char *rcpt_params);
bool dsn_wants_delay(const char *rcpt_params);
bool dsn_wants_success(const char *rcpt_params);

#endif
