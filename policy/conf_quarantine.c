/* conf_quarantine - gatepost.conf: for how long messages are kept in quarantine, and how many */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "policy/conf_table.h"

enum { DAY_S = 86400 };

#define MIB ((int64_t)1024 * 1024)
#define QUARANTINE(field) offsetof(struct site, quarantine.field)
#define CLASS(field) offsetof(struct store_retention_class, field)

/* 0 is a value of both: for ever, without bound. */
static const struct conf_option quarantine_options[] = {
	CONF_NUMBER("keep", CONF_DURATION_S, QUARANTINE(keep_s), "30d", 0, 3650 * (int64_t)DAY_S),
	CONF_NUMBER("max_size", CONF_SIZE64, QUARANTINE(max_bytes), "0", 0, 1024 * 1024 * MIB),
	{ 0 },
};

const struct conf_section conf_quarantine = { "quarantine", NULL, quarantine_options, NULL, NULL };

static const struct conf_option class_options[] = {
	CONF_NUMBER("keep", CONF_DURATION_S, CLASS(keep_s), NULL, 0, 3650 * (int64_t)DAY_S),
	CONF_NUMBER("max_size", CONF_SIZE64, CLASS(max_bytes), "0", 0, 1024 * 1024 * MIB),
	{ 0 },
};

static void *class_open(struct conf *c, const char *title, int line)
{
	struct store_retention *r = &c->site->quarantine;
	struct store_retention_class *k;

	if (!*title || strlen(title) >= STORE_RETENTION_NAME || strpbrk(title, " \t\n")) {
		conf_error(c, line, "quarantine_class: \"%s\" is no name of a class, expected one of the policy", title);
		return NULL;
	}
	if (r->class_count == STORE_RETENTION_CLASSES) {
		conf_error(c, line, "quarantine_class: more than %d", STORE_RETENTION_CLASSES);
		return NULL;
	}
	k = &r->class[r->class_count++];
	*k = (struct store_retention_class){ .keep_s = -1 };
	snprintf(k->name, sizeof(k->name), "%s", title);
	return k;
}

static void class_close(struct conf *c, void *at, int line)
{
	if (!conf_given(c, "keep") && !conf_given(c, "max_size"))
		conf_warning(c, line, "quarantine_class %s: says nothing, expected keep or max_size", ((struct store_retention_class *)at)->name);
}

const struct conf_section conf_quarantine_class = { "quarantine_class", "class", class_options, class_open, class_close };
