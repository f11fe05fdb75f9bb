/*
 * html - what a person reads in a text in HTML
 *
 * UTF-8 in, UTF-8 out, in one pass, and no more of it than went in. Tags are found as browsers find them (WHATWG HTML, section 13.2.5):
 * quotes in a tag hide a ">", and what is not closed swallows the rest. Tags within a line leave nothing, so that a word that is cut by them is whole
 * again; those of blocks leave a line end. Comments, scripts and styles are left out; character references are resolved, those of HTML 4 and of ASCII by name.
 * Of an image its alternative text is kept.
 *
 * What an element hides by an attribute (hidden, or in style display:none, visibility:hidden, font-size:0, opacity:0) goes apart:
 * between the letters of a word it would break it, but it must not be lost, as a style sheet may show it after all.
 */
#ifndef HTML_H
#define HTML_H

#include <stddef.h>

#include "base/buf.h"

/* Appends to out what p[0..len) shows, to hidden what it hides. Room for 3 * len in each suffices. 0 or -ENOMEM. */
int html_text(const char *p, size_t len, struct buf *out, struct buf *hidden);

/*
 * The same; and where its attributes lead to (href, src, action, formaction, background, the content of <meta>), references resolved, the first HTML_LINK_MAX octets of each, in a line each: appended to
 * links as far as its bound allows. NULL: not wanted.
 */
enum { HTML_LINK_MAX = 512 };
int html_text_links(const char *p, size_t len, struct buf *out, struct buf *hidden, struct buf *links);

/*
 * The charset that p[0..len), octets, names in a <meta> element among its first 1,024: *label, its length given back. 0: none.
 */
size_t html_charset(const char *p, size_t len, const char **label);

#endif
