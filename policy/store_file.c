#include "policy/store_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json_whole.h"
#include "policy/store_id.h"
#include "policy/store_keeper.h"

/* The store adds to what it was given. */
enum { META_MAX = 2 * STORE_META_MAX };

int store_file_open(int dir_fd, const char *id, const char *end)
{
	char name[64], day[STORE_DAY_MAX];
	int fd;

	if (store_id_day(id, day) < 0)
		return -EINVAL;
	snprintf(name, sizeof(name), "%s/%s%s", day, id, end);
	fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

char *store_file_meta(int dir_fd, const char *id, size_t *len)
{
	int fd = store_file_open(dir_fd, id, ".json");
	char *text = NULL;
	struct stat st;

	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 && st.st_size <= META_MAX)
		text = calloc(1, (size_t)st.st_size + 1);
	if (text && pread(fd, text, (size_t)st.st_size, 0) != st.st_size) {
		free(text);
		text = NULL;
	}
	close(fd);
	if (text)
		*len = (size_t)st.st_size;
	return text;
}

json_t *store_file_record(int dir_fd, const char *id)
{
	size_t len = 0;
	char *text = store_file_meta(dir_fd, id, &len);
	json_t *record = text ? json_whole_load(text, len, JSON_ALLOW_NUL) : NULL;

	free(text);
	if (record && !json_is_object(record)) {
		json_decref(record);
		record = NULL;
	}
	return record;
}
