#include "base/version.h"

#include <string.h>

#define BEFORE "gatepost version: "

const char *version_text(void)
{
	static const char text[] = BEFORE GATEPOST_VERSION;

	return text + strlen(BEFORE);
}
