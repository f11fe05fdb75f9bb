#include "process/shared.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "policy/conf.h"

int shared_make(void)
{
	int fd = memfd_create("gatepost-shared", MFD_CLOEXEC | MFD_ALLOW_SEALING), rc;

	if (fd < 0)
		return -errno;
	/* Who has it cannot cut it off below the others. */
	if (ftruncate(fd, sizeof(struct shared)) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
		return fd;
	rc = -errno;
	close(fd);
	return rc;
}

struct shared *shared_map(int fd)
{
	struct shared *s;
	struct stat st;

	if (fstat(fd, &st) < 0 || st.st_size != (off_t)sizeof(*s) || !(fcntl(fd, F_GET_SEALS) & F_SEAL_SHRINK))
		return NULL;
	s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (s == MAP_FAILED)
		return NULL;
	if (s->layout == 0) {           /* new: all zeros */
		s->layout = SHARED_LAYOUT;
		s->started_s = clock_wall_s();
		login_shared_init(&s->login);
		load_shared_init(&s->load);
		client_use_init(&s->use);
		presence_init(&s->presence);
	}
	if (s->layout == SHARED_LAYOUT)
		return s;
	munmap(s, sizeof(*s));
	return NULL;
}

void shared_unmap(struct shared *s)
{
	if (s)
		munmap(s, sizeof(*s));
}

int shared_withhold(struct shared *s)
{
	return madvise(s, sizeof(*s), MADV_DONTFORK) < 0 ? -errno : 0;
}

int shared_names_find(const struct shared_names *n, const char *name)
{
	for (int i = 0; i < SHARED_PLACES; i++)
		if (n->name[i][0] && strncmp(n->name[i], name, SHARED_NAME_MAX - 1) == 0)
			return i;
	return -1;
}

static int claim(struct shared_names *n, const char *name, bool *new)
{
	int at = shared_names_find(n, name);

	*new = false;
	for (int i = 0; at < 0 && i < SHARED_PLACES; i++)
		if (!n->name[i][0]) {
			snprintf(n->name[i], SHARED_NAME_MAX, "%s", name);
			*new = true;
			at = i;
		}
	return at;
}

int shared_backend_claim(struct shared *s, const char *name)
{
	bool new;
	int at = claim(&s->backend_names, name, &new);

	if (new)
		memset(&s->backend[at], 0, sizeof(s->backend[at]));
	return at;
}

int shared_listener_claim(struct shared *s, const char *name)
{
	bool new;
	int at = claim(&s->listener_names, name, &new);

	if (new)
		memset(&s->listener[at], 0, sizeof(s->listener[at]));
	return at;
}

int shared_daemon_claim(struct shared *s, const char *name)
{
	bool new;
	int at = claim(&s->daemon_names, name, &new);

	if (new)
		memset(&s->daemon[at], 0, sizeof(s->daemon[at]));
	return at;
}

void shared_names_keep(struct shared_names *n, const char *const *names, size_t count)
{
	for (int i = 0; i < SHARED_PLACES; i++) {
		size_t k = 0;

		while (k < count && strncmp(n->name[i], names[k], SHARED_NAME_MAX - 1) != 0)
			k++;
		if (k == count)
			n->name[i][0] = 0;
	}
}

void shared_slot_clear(struct shared *s, int slot)
{
	struct shared_slot *l = &s->slot[slot];

	atomic_store(&l->sessions, 0);
	atomic_store(&l->accepted, 0);
	atomic_store(&l->log_dropped, 0);
	load_shared_forget(&s->load, slot);
	for (int i = 0; i < SHARED_PLACES; i++) {
		backend_shared_forget(&s->backend[i], slot);
		daemon_shared_forget(&s->daemon[i], slot);
		places_forget(&s->listener[i], slot);
	}
	places_forget(&s->smtp_sessions, slot);
	presence_forget(&s->presence, slot);
	rua_shared_forget(&s->rua, slot);
	atomic_store(&l->pid, 0);
}

void shared_slot_take(struct shared *s, int slot, unsigned generation)
{
	shared_slot_clear(s, slot);
	atomic_store(&s->slot[slot].generation, generation);
	/* Taken; the worker's pid comes with it. */
	atomic_store(&s->slot[slot].pid, -1);
}

int shared_sessions(const struct shared *s)
{
	int n = 0;

	for (int i = 0; i < SHARED_SLOTS; i++)
		n += atomic_load(&s->slot[i].sessions);
	return n;
}

struct dnsbl_health *shared_dnsbl(struct shared *s, unsigned generation)
{
	return &s->dnsbl[generation % SHARED_GENERATIONS];
}

static int zone_find(const struct site *site, const char *zone)
{
	for (size_t i = 0; site && i < site->dnsbl_count && i < DNSBL_ZONES_MAX; i++)
		if (strcasecmp(site->dnsbl[i].zone, zone) == 0)
			return (int)i;
	return -1;
}

void shared_dnsbl_begin(struct shared *s, unsigned generation, const struct site *site,
			unsigned former, const struct site *former_site)
{
	struct dnsbl_health *to = shared_dnsbl(s, generation), *from = shared_dnsbl(s, former);

	atomic_store(&to->tested, 0);
	for (size_t i = 0; i < DNSBL_ZONES_MAX; i++) {
		int at = i < site->dnsbl_count ? zone_find(former_site, site->dnsbl[i].zone) : -1;

		atomic_store(&to->zone[i].state,
			     at >= 0 ? atomic_load(&from->zone[at].state) : DNSBL_UNTESTED);
		atomic_store(&to->zone[i].suspect, 0);
	}
}
