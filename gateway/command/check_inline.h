/*
 * check_inline - whether this machine is set up for the transparent listeners of a configuration
 */
#ifndef CHECK_INLINE_H
#define CHECK_INLINE_H

struct site;

/* Lines on stderr, each with what mends it. 1: it cannot work (kernel, capability); 0: it can, perhaps when what was said has been done. */
int check_inline(const struct site *s);

#endif
