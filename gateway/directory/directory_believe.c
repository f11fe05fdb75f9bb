#include "directory/directory_believe.h"

bool directory_believe(size_t before, size_t doubted, size_t now)
{
	if (now == 0)
		return false;
	if (before == 0 || now >= before - before / 2)
		return true;
	return doubted > 0 && (now > doubted ? now - doubted : doubted - now) <= doubted / 16;
}

int64_t directory_retry_ms(int failures, int refresh_s)
{
	int64_t most = (int64_t)refresh_s * 1000, ms;

	if (most > DIRECTORY_RETRY_MAX_MS)
		most = DIRECTORY_RETRY_MAX_MS;
	if (failures > 10)
		return most;
	ms = (int64_t)DIRECTORY_RETRY_MS << (failures > 0 ? failures - 1 : 0);
	return ms < most ? ms : most;
}

int64_t directory_next_ms(bool believed, int refresh_s, uint32_t chance)
{
	int64_t ms = (int64_t)refresh_s * 1000, tenth = ms / 10;

	if (!believed && ms > DIRECTORY_DOUBT_MS)
		return DIRECTORY_DOUBT_MS;
	return ms - tenth + (tenth > 0 ? (int64_t)(chance % (uint32_t)(2 * tenth)) : 0);
}

int64_t directory_fresh_ms(int refresh_s)
{
	return (int64_t)refresh_s * 1000 * 5 / 2;       /* two refreshes may have failed, or one was late */
}
