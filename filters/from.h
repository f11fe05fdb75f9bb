/*
 * from - the author domains of a message, as facts from its From fields
 *
 * Several From fields are read together: whoever sees another field than we do still sees none of
 * other domains. from.domain is there only when there is exactly one domain, whatever else is odd
 * about the field.
 */
#ifndef FROM_H
#define FROM_H

#include "filters/filter.h"
#include "filters/from_parse.h"

extern const struct filter filter_from;

/*
 * The authors of m, into a zeroed out: how many From fields there are (each counts, at most 16 are
 * read), or -ENOMEM. *why: NULL when all that were read are valid, else what is wrong with one of
 * them.
 */
int from_of_message(const struct message *m, struct from_authors *out, const char **why);

#endif
