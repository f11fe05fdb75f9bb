/*
 * cmd_sink - `gatepost sink`: a small mail server that keeps what it is given in a Maildir
 *
 * It stands in for the server behind the gateway in demonstrations and tests. It knows EHLO with SIZE, 8BITMIME, SMTPUTF8,
 * PIPELINING, CHUNKING and ENHANCEDSTATUSCODES. A message is answered 250 when it lies in new/ and file and directory are on stable storage:
 * its bytes as they were received, below one Return-Path, a Delivered-To for each recipient and a Received line.
 *
 *     gatepost sink --listen ADDR:PORT --maildir DIR [--hostname NAME] [--reject ADDR ...] [--accept ADDR ...]
 *
 * --reject: this recipient is refused with 550 5.1.1. --accept: once given, all others are. Both may be repeated. Port 0: any;
 * the line event=listening on stderr says which.
 */
#ifndef CMD_SINK_H
#define CMD_SINK_H

/* argv[0] is "sink". The exit status. */
int cmd_sink(int argc, char **argv);

#endif
