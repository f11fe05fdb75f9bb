/*
 * attachment - what the parts of a message are called
 *
 * Facts attachment.* and mime.*, from one pass over the message (mime.h) in a box (unpack.h), when a rule asks. An attachment is a part with a name, or with
 * Content-Disposition: attachment, or of a type that is neither text nor a container. Each value is listed once, FACT_LIST_MAX of them; where there are more,
 * mime.broken says so.
 */
#ifndef ATTACHMENT_H
#define ATTACHMENT_H

#include "filters/filter.h"

extern const struct filter filter_mime;

#endif
