/*
 * html_entity - character references: "&auml;", "&#228;", "&#xe4;"
 */
#ifndef HTML_ENTITY_H
#define HTML_ENTITY_H

#include <stddef.h>
#include <stdint.h>

/*
 * The character that p[0..len) begins with a reference to (p[0] is "&"), *used its octets. 0: it is none that is known. Numbers that are no
 * character become U+FFFD, those from 128 to 159 are taken as windows-1252, as browsers do.
 */
uint32_t html_entity(const char *p, size_t len, size_t *used);

#endif
