/*
 * redis - a real redis-server on a free port of 127.0.0.1, for tests; it keeps nothing on disk
 *
 * It ends with the test program.
 */
#ifndef TESTS_REDIS_H
#define TESTS_REDIS_H

struct redis;

/* port 0: a free one. password NULL: none. Asserts that it comes up. */
struct redis *redis_start(unsigned short port, const char *password);
void redis_stop(struct redis *r);       /* kill -9; NULL: nothing */
unsigned short redis_port(const struct redis *r);
void redis_freeze(struct redis *r);     /* it answers nothing any more */
void redis_thaw(struct redis *r);

#endif
