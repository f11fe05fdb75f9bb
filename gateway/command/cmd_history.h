/*
 * cmd_history - gatepost history: what happened to the mail from X to Y? And gatepost explain CODE
 */
#ifndef CMD_HISTORY_H
#define CMD_HISTORY_H

#include <stdbool.h>
#include <stddef.h>

/* argv[0] is "history". The exit status. */
int cmd_history(int argc, char **argv);

/*
 * The code of a transaction (or the id of a session) in text: a code alone, in parentheses, or a whole reply that ends with one. Its
 * characters, copied to out of size; or NULL: there is none.
 */
const char *history_code(const char *text, char *out, size_t size);

/* Everything about the transaction of this code, of the configuration in file conf. The exit status. */
int history_explain(const char *conf, const char *code, bool json);

#endif
