/*
 * cmd_explain - gatepost explain: what the filters find in one message, what each rule makes of it, and the verdict
 */
#ifndef CMD_EXPLAIN_H
#define CMD_EXPLAIN_H

/* argv[0] is "explain". The exit status. */
int cmd_explain(int argc, char **argv);

#endif
