/*
 * clamd - whether ClamAV finds a virus in the message, by its daemon clamd
 *
 * The whole message as it was sent goes to clamd, which takes apart what is in it by itself. Facts: virus, virus.name, clamd.away, clamd.skipped. Without
 * a section clamd in the configuration none of them is ever known.
 */
#ifndef CLAMD_H
#define CLAMD_H

#include "filters/filter.h"

extern const struct filter filter_clamd;

#endif
