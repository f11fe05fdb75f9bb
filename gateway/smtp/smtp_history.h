/*
 * smtp_history - what became of a transaction, handed to the history
 *
 * Called beside each line of the log (smtp_log.c). Costs microseconds, and never waits.
 */
#ifndef SMTP_HISTORY_H
#define SMTP_HISTORY_H

#include "smtp/smtp_session.h"

void smtp_history_verdict(struct smtp_session *s, const struct smtp_verdict_line *line);
/* A transaction that ended without a verdict. */
void smtp_history_broken(struct smtp_session *s, const char *why, const char *reply);
/* A MAIL that was refused: there is no transaction. */
void smtp_history_mail(struct smtp_session *s, const char *from, const char *reply);

#endif
