/*
 * transfer - the encodings in which the content of a part is sent, RFC 2045 section 6
 *
 * Octets go in, in pieces of any size, and come out decoded. Nothing fails: it is lenient as mail programs are. What is no digit of base64 is
 * passed over, and padding ends a group wherever it stands; an equals sign of quoted-printable that begins nothing stays as it is. No I/O.
 */
#ifndef TRANSFER_H
#define TRANSFER_H

#include <stddef.h>

enum transfer_encoding {
	TRANSFER_PLAIN,                 /* 7bit, 8bit, binary, or none given */
	TRANSFER_BASE64,
	TRANSFER_QP,
	TRANSFER_UU,                    /* x-uuencode: in no RFC, but seen */
	TRANSFER_UNKNOWN,               /* taken as it is */
};

struct transfer {
	enum transfer_encoding encoding;
	unsigned bits, count;           /* base64, uuencode: bits that are no octet yet */
	unsigned left;                  /* uuencode: octets that the present line still has */
	unsigned char state;
	char held;                      /* quoted-printable: the first digit */
};

enum { TRANSFER_SPARE = 4 };

/* p[0..len): the body of Content-Transfer-Encoding, of which the first word counts. */
enum transfer_encoding transfer_find(const char *p, size_t len);

void transfer_init(struct transfer *t, enum transfer_encoding encoding);

/* Decodes p[0..len) to out, which has room for len + TRANSFER_SPARE octets. How many there are. */
size_t transfer_decode(struct transfer *t, const char *p, size_t len, char *out);

#endif
