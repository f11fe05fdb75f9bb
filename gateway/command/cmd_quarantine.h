/*
 * cmd_quarantine - gatepost quarantine SUBCOMMAND: the table of its subcommands
 */
#ifndef CMD_QUARANTINE_H
#define CMD_QUARANTINE_H

/* argv[0] is "quarantine". The exit status: command/quarantine.h. */
int cmd_quarantine(int argc, char **argv);

#endif
