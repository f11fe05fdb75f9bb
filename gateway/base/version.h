/*
 * version - this program's
 *
 * It stands in the program file once, behind "gatepost version: ": that tells what a file is without running it.
 */
#ifndef VERSION_H
#define VERSION_H

const char *version_text(void);         /* "0.1" */

#endif
