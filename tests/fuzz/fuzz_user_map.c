/*
 * fuzz_user_map - the map of users, names of users that come from anywhere, and names of hosts (SNI): what is in the map is found, in any case, and
 * nothing else
 */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/tls_sni.h"
#include "policy/user_map.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Backends are called b0 to b9. */
static int find(const void *arg, const char *name, const char **why)
{
	*why = "unknown";
	return name[0] == 'b' && name[1] >= '0' && name[1] <= '9' && !name[2] ? name[1] - '0' : -1;
}

static void look(const struct user_map *m, const char *user)
{
	const struct user_map_backends *u = user_map_lookup(m, user);

	assert(!u || (u->count > 0 && u->count <= USER_MAP_BACKENDS_MAX));
	for (size_t i = 0; u && i < u->count; i++)
		assert(u->number[i] <= 9);
}

/* A map of one line has that user, also in capitals; not one whose name goes on. */
static void one(const char *user)
{
	AUTO(buf) struct buf text = BUF_INIT(1024), errors = BUF_INIT(1024);
	AUTO(user_map) struct user_map *m = NULL;
	char upper[USER_MAP_USER_MAX + 3];
	size_t len = strlen(user);

	if (len == 0 || len > USER_MAP_USER_MAX)
		return;
	buf_addf(&text, "%s b7\n", user);
	m = user_map_parse("m", buf_str(&text), text.len, find, NULL, &errors);
	assert(!m == (errors.len > 0));
	if (!m || user_map_list_count(m) == 0)          /* no user, or a comment */
		return;
	if (strpbrk(user, " \t\r\n#"))
		return;
	for (size_t i = 0; i <= len; i++)
		upper[i] = user[i] >= 'a' && user[i] <= 'z' ? (char)(user[i] - 32) : user[i];
	assert(user_map_lookup(m, user) && user_map_lookup(m, upper));
	assert(user_map_lookup(m, user)->number[0] == 7);
	memcpy(upper + len, "\n", 2);
	assert(!user_map_lookup(m, upper));
}

static void host(const char *asked)
{
	static const char *const list[] = { "*.example.net", "*.example.org", "a.example.org", "localhost" };
	const char *const *found = tls_sni_find(list, 4, sizeof(list[0]), asked);
	size_t len = strlen(asked);

	if (!found)
		return;
	if (len > 0 && asked[len - 1] == '.')
		len--;
	if ((*found)[0] == '*')
		assert(len > strlen(*found) - 1 && strncasecmp(asked + len - strlen(*found) + 1, *found + 1, strlen(*found) - 1) == 0);
	else
		assert(len == strlen(*found) && strncasecmp(asked, *found, len) == 0);
}

/* A user's name, which is a host's as well; NUL; the file. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO(buf) struct buf errors = BUF_INIT(64 * 1024);
	AUTO(user_map) struct user_map *m = NULL;
	char *name = strndup((const char *)data, size);
	size_t at = name ? strlen(name) + 1 : 0;

	if (!name)
		return 0;
	if (at < size) {
		m = user_map_parse("m", (const char *)data + at, size - at, find, NULL, &errors);
		assert(!m == (errors.len > 0));
		look(m, name);
	}
	one(name);
	host(name);
	free(name);
	return 0;
}
