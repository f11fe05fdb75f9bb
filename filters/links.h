/*
 * links - where the links of a message lead to, in decoded text and in HTML: facts link.domains, link.addresses, link.cut, in a box (unpack.h)
 *
 * Text parts are those of text.h, within its bounds; of HTML the attributes that lead somewhere (html.h), then what is read as text. Each host once, in the order of the message:
 * first those of attributes, then those of the text. Where there are more than LINKS_MAX, each registrable domain has one before any has a second.
 */
#ifndef LINKS_H
#define LINKS_H

#include "filters/filter.h"

enum { LINKS_MAX = 64 };                /* hosts; others are left out, and link.cut says so */

extern const struct filter filter_links;

#endif
