#include "process/files.h"

#include <stdio.h>
#include <sys/resource.h>

#include "policy/conf.h"

enum { OTHERS = 256 };          /* channels, DNS, Redis, the log, pipes of pumps */

uint64_t files_wanted(const struct site *s)
{
	uint64_t workers = s->workers > 0 ? (uint64_t)s->workers : 1, passing = 0;
	bool smtp = false;

	for (size_t i = 0; i < s->listener_count; i++) {
		if (s->listener[i].protocol == LISTENER_SMTP)
			smtp = true;
		else
			passing += (uint64_t)s->listener[i].max_connections;
	}
	return (2 * passing + workers - 1) / workers + (smtp ? (uint64_t)s->limits.sessions : 0) + OTHERS;
}

bool files_missing(const struct site *s, char *why)
{
	uint64_t wanted = files_wanted(s);
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) < 0 || r.rlim_cur == RLIM_INFINITY || r.rlim_cur >= wanted)
		return false;
	snprintf(why, FILES_WHY_MAX,
		 "a worker may have %llu open files, and %llu are wanted: two for each of the listeners' max_connections, over the workers, and one for each of "
		 "limits { sessions }; raise LimitNOFILE of the service (systemctl edit gatepost), or lower those",
		 (unsigned long long)r.rlim_cur, (unsigned long long)wanted);
	return true;
}
