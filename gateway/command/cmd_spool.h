/*
 * cmd_spool - gatepost spool list|show|retry|delete
 */
#ifndef CMD_SPOOL_H
#define CMD_SPOOL_H

int cmd_spool(int argc, char **argv);

#endif
