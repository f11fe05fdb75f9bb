/*
 * knot - a real authoritative name server (knotd) on a free port of 127.0.0.1, for tests
 *
 *     struct knot *k = knot_start((const struct knot_zone[]){ { "example.org", "@ TXT hello\n", NULL }, { NULL } });
 *     ... knot_port(k) ...
 *     knot_stop(k);
 *
 * A zone's text needs neither SOA nor NS: they are put before it, with TTL 300. sign: "rsasha256", "ecdsap256sha256" (with NSEC3), or NULL. A text that
 * begins with ";" is served as it is. The server ends with the test program.
 */
#ifndef TESTS_KNOT_H
#define TESTS_KNOT_H

#include <stdbool.h>

struct knot_zone {
	const char *name, *text, *sign;
};

struct knot;

bool knot_there(void);                                          /* whether knotd is installed */
struct knot *knot_start(const struct knot_zone *zones);         /* name NULL last; asserts that it comes up, zones loaded and signed */
void knot_stop(struct knot *k);
unsigned short knot_port(const struct knot *k);
char *knot_zone_text(const struct knot *k, const char *name);   /* the zone file as the server wrote it (signatures too); freed by the caller */

#endif
