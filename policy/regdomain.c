#include "policy/regdomain.h"

#include <errno.h>
#include <libpsl.h>
#include <stdio.h>
#include <string.h>

static struct {
	psl_ctx_t *list;
	char source[128];
} psl;

int regdomain_init(const char *file)
{
	const char *path = file ? file : psl_dist_filename();

	regdomain_release();
	if (file)
		psl.list = psl_load_file(file);
	else
		psl.list = psl_latest(NULL);    /* Debian's file, if newer than what is built in */
	if (!psl.list)
		return -ENOENT;
	snprintf(psl.source, sizeof psl.source, "libpsl %s, %.80s", psl_get_version(),
	         path ? path : "built in");
	return 0;
}

void regdomain_release(void)
{
	psl_free(psl.list);
	psl.list = NULL;
	psl.source[0] = '\0';
}

const char *regdomain_source(void)
{
	return psl.source;
}

const char *regdomain_of(const char *name)
{
	/* A single label is a public suffix, listed or not (the list's rule "*"). */
	if (!psl.list || !strchr(name, '.'))
		return NULL;
	return psl_registrable_domain(psl.list, name);
}
