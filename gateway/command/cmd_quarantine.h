/*
 * cmd_quarantine - gatepost quarantine ACTION: the table of what can be done with the messages that are held
 */
#ifndef CMD_QUARANTINE_H
#define CMD_QUARANTINE_H

int cmd_quarantine(int argc, char **argv);

#endif
