/*
 * check_dkim - `gatepost check`: whether the keys that messages are signed and sealed with are those that the world finds
 */
#ifndef CHECK_DKIM_H
#define CHECK_DKIM_H

struct site;

/* Ask for the record of each selector, and tell on stderr what is wrong. 1: receivers would not accept the signatures of one of them, or seals. */
int check_dkim(const struct site *s);

#endif
