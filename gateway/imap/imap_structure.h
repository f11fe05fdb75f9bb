/*
 * imap_structure - in which encoding a part of a message is, by its BODYSTRUCTURE, RFC 9051 section 7.5.2
 *
 * No I/O.
 */
#ifndef IMAP_STRUCTURE_H
#define IMAP_STRUCTURE_H

#include <stddef.h>

#include "filters/transfer.h"
#include "imap/imap_span.h"

/*
 * p[0..len): the value of BODYSTRUCTURE or BODY, strings in it quoted or literals, as it came. part: "1.2". TRANSFER_PLAIN, too, where there is no
 * such part, or it is a container, or the value is not to be understood.
 */
enum transfer_encoding imap_structure_encoding(const char *p, size_t len, struct imap_span part);

#endif
