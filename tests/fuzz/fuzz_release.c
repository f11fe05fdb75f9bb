/*
 * fuzz_release - a kept message as it is loaded to be released: its record, which a worker made and somebody may have edited, NUL, the message
 */
#include <assert.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "filters/filter.h"
#include "policy/conf.h"
#include "policy/store_id.h"
#include "smtp/release.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[] = "/tmp/gatepost-fuzz-XXXXXX", id[STORE_ID_MAX], day[STORE_DAY_MAX];
static int dir_fd = -1;

static void name_of(char out[64], const char *end)
{
	snprintf(out, 64, "%s/%s%s", day, id, end);
}

static void clean(void)
{
	char name[64];

	name_of(name, ".eml");
	unlinkat(dir_fd, name, 0);
	name_of(name, ".json");
	unlinkat(dir_fd, name, 0);
	unlinkat(dir_fd, day, AT_REMOVEDIR);
	rmdir(dir);
}

static void begin(void)
{
	assert(mkdtemp(dir));
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	store_id_make(1795310000000, 1, id);
	assert(dir_fd >= 0 && store_id_day(id, day) == 0 && mkdirat(dir_fd, day, 0700) == 0);
	atexit(clean);
	fact_register_all();
}

static void put(const char *end, const void *p, size_t len)
{
	char name[64];
	int fd;

	name_of(name, end);
	fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert(fd >= 0 && write(fd, p, len) == (ssize_t)len);
	close(fd);
}

static void check(struct release *r)
{
	AUTO(buf) struct buf why = BUF_INIT(1000);
	static const char *const other[] = { "other@example.com" };
	size_t pending;

	assert(r->from && r->params && r->message && r->rcpt_count > 0);
	for (size_t i = 0; i < r->rcpt_count; i++)
		assert(r->rcpt[i].address && r->rcpt[i].params && r->rcpt[i].name && release_before(r, r->rcpt[i].name) == STORE_STATE_KEPT);
	for (size_t i = 0; i < r->edit_count; i++)
		assert(r->edit[i].off + r->edit[i].len <= message_size(r->message));
	(void)release_is_ours(r);
	assert(release_choose(r, NULL, 0, false, &why) == 0);
	pending = release_count(r, RELEASE_PENDING);
	assert(pending + release_count(r, RELEASE_REFUSED) == r->rcpt_count);
	if (r->rcpt_count < RELEASE_RCPT_MAX)
		assert(release_instead(r, other, 1, true, &why) == 0 && release_count(r, RELEASE_PENDING) == pending + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct site site = { .hostname = "mx.example.com", .authserv_id = "mx.example.com", .client_header = "X-Client" };
	AUTO(buf) struct buf why = BUF_INIT(1000);
	const uint8_t *nul = memchr(data, 0, size);
	size_t len = nul ? (size_t)(nul - data) : size;
	struct release *r = NULL;

	if (dir_fd < 0)
		begin();
	put(".json", data, len);
	put(".eml", nul ? nul + 1 : nul, nul ? size - len - 1 : 0);
	if (release_load(dir_fd, id, &site, &r, &why) < 0)
		assert(why.len > 0 && !r);
	else
		check(r);
	release_free(r);
	return 0;
}
