/*
 * conf_lab - a directory with a gatepost.conf and the files that it names, for tests of its options
 */
#ifndef CONF_LAB_H
#define CONF_LAB_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "policy/conf.h"

/* The least that a file has to say: three lines. */
#define MINIMAL "hostname = mx.example.com\ndomains = { example.com }\nbackend main { address = \"10.0.0.5\" }\n"

static char dir[] = "/tmp/gatepost-conf-XXXXXX";

static inline const char *in_dir(const char *name)
{
	static char path[512];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static inline void put_bytes(const char *name, const char *text, size_t len)
{
	FILE *f = fopen(in_dir(name), "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	fclose(f);
}

static inline void put(const char *name, const char *text)
{
	put_bytes(name, text, strlen(text));
}

/* A private key to sign with. */
static inline void put_key(const char *name, enum dkim_key_type type, unsigned bits, mode_t mode)
{
	AUTO(buf) struct buf pem = BUF_INIT(8192);
	AUTO(dkim_private) struct dkim_private *key = dkim_private_make(type, bits);

	assert_int_equal(dkim_private_pem(key, &pem), 0);
	put(name, buf_str(&pem));
	assert_int_equal(chmod(in_dir(name), mode), 0);
}

/* With a policy.conf that accepts all. */
static inline void dir_make(void)
{
	assert_non_null(mkdtemp(dir));
	put("policy.conf", "accept\n");
}

/* Group teardown. */
static inline int dir_remove(void **state)
{
	DIR *d = opendir(dir);

	for (struct dirent *e; d && (e = readdir(d));)
		if (e->d_name[0] != '.')
			unlink(in_dir(e->d_name));
	if (d)
		closedir(d);
	return rmdir(dir);
}

static inline struct site *load(const char *text, struct buf *errors, struct buf *warnings)
{
	put("gatepost.conf", text);
	return site_load(in_dir("gatepost.conf"), errors, warnings);
}

/* text stands behind MINIMAL, so it begins on line 4. */
static inline struct site *load_rest(const char *text, struct buf *errors, struct buf *warnings)
{
	AUTO(buf) struct buf all = BUF_INIT(65536);

	buf_addf(&all, "%s%s", MINIMAL, text);
	return load(buf_str(&all), errors, warnings);
}

/* A file without mistakes. */
static inline struct site *load_good(const char *text)
{
	AUTO(buf) struct buf errors = BUF_INIT(65536);
	struct site *s = load(text, &errors, NULL);

	assert_string_equal(buf_str(&errors), "");
	assert_non_null(s);
	return s;
}

/* want with the path of the file for "@", its directory for "%"; whether got is that, or begins with it when want is no whole line. */
static inline bool as_wanted(const char *got, const char *want)
{
	AUTO(buf) struct buf b = BUF_INIT(65536);

	for (const char *p = want; *p; p++) {
		if (*p == '@' && (p == want || p[-1] == '\n') && p[1] == ':')
			buf_adds(&b, in_dir("gatepost.conf"));
		else if (*p == '%')
			buf_adds(&b, dir);
		else
			buf_addc(&b, *p);
	}
	if (b.len > 0 && b.data[b.len - 1] == '\n')
		return strcmp(got, buf_str(&b)) == 0;
	return strncmp(got, buf_str(&b), b.len) == 0;
}

#endif
