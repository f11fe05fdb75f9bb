/*
 * notify - telling the service manager how we are, by the protocol of sd_notify(3)
 *
 * A datagram of KEY=value lines to the socket in $NOTIFY_SOCKET: that is all of it, and libsystemd,
 * which would bring its own dependencies into a root process, is not needed for that. Without
 * $NOTIFY_SOCKET nothing happens.
 */
#ifndef NOTIFY_H
#define NOTIFY_H

#include <stdint.h>

void notify_ready(void);
void notify_reloading(void); /* with MONOTONIC_USEC, as Type=notify-reload wants */
void notify_stopping(void);
void notify_watchdog(void);
void notify_status(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Half of $WATCHDOG_USEC in milliseconds: how often to call notify_watchdog; 0: never. */
int notify_watchdog_ms(void);

#endif
