/*
 * report_make - `gatepost report make DOMAIN DAY`: the aggregate report that is, or would be, sent
 */
#ifndef REPORT_MAKE_H
#define REPORT_MAKE_H

/* argv[0] is its whole name, "gatepost report make". The exit status. */
int report_make(int argc, char **argv);

#endif
