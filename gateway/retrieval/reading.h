/*
 * reading - a broken header as many programs read it
 *
 * A line of the header that is no field ends it, says RFC 5322, and so it is judged; most mail programs pass over it, and find below it
 * what the body is. Some take a bare CR for a line's end, too. Pure.
 */
#ifndef READING_H
#define READING_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

/*
 * p[0..len), the beginning of a message: its fields to out, with CRLF, without what is none. The lines end with CRLF, LF or CR, the header
 * with the first empty one: *ended, and how many octets it has with that; else len.
 */
size_t reading_header(const char *p, size_t len, struct buf *out, bool *ended);

#endif
