/*
 * content - what a glance at the message tells: some header fields as text, sizes, kinds of octets
 *
 * Facts header.*, message.*, received.count, rcpt.count. A field that is missing leaves its fact unknown. What a person reads is
 * decoded (rfc2047.h), by the converters that filter_header opens in its setup.
 */
#ifndef CONTENT_H
#define CONTENT_H

#include "filters/filter.h"

extern const struct filter filter_header, filter_message;

#endif
