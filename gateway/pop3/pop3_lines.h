/*
 * pop3_lines - answers of many lines, RFC 1939 3: dots that are put before dots, and the line with a dot that ends them
 *
 * Lines end with CRLF alone: behind a bare LF or CR a dot is a dot. Both ways work on pieces of any size, and copy nothing. Pure.
 */
#ifndef POP3_LINES_H
#define POP3_LINES_H

#include <stdbool.h>
#include <stddef.h>

/* Zeroed at the beginning of the first line. */
struct pop3_lines {
	unsigned char state;
	bool done;                      /* the dot has been read */
};

/*
 * Read on in p[0..len), which is not empty: *used octets are eaten, *out[0..*out_len) is content, in p or elsewhere; it may be empty. Go on until all
 * is eaten, or done: what is left then is not of this answer.
 */
void pop3_lines_read(struct pop3_lines *l, const char *p, size_t len, size_t *used, const char **out, size_t *out_len);

/* Content, to be sent: how much of p[0..len), which is not empty, goes as it is, behind a dot of its own if *dot. */
size_t pop3_lines_write(struct pop3_lines *l, const char *p, size_t len, bool *dot);

/* What ends an answer whose content was written: the content's own line end, if it lacks that, and the dot. */
const char *pop3_lines_end(const struct pop3_lines *l);

#endif
