/*
 * port - ports of loopback for servers of tests
 *
 * Below those that the kernel gives to outgoing connections: another program's connection, or one of our own to a server that is not there (which is then
 * connected to itself), cannot have the port of a server that was stopped, or is about to start.
 */
#ifndef TESTS_PORT_H
#define TESTS_PORT_H

/* One that nobody has, for TCP and UDP. */
unsigned short port_free(void);

/* A socket that listens on *port of 127.0.0.1, which is chosen if it is 0. Aborts if it cannot. */
int port_listen(unsigned short *port, int backlog);

#endif
