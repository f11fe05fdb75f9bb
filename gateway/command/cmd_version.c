#include <sys/param.h>

#include <archive.h>
#include <arpa/nameser.h>
#include <confuse.h>
#include <dlfcn.h>
#include <event2/event.h>
#include <jansson.h>
#include <libpsl.h>
#include <netinet/in.h>
#include <openssl/crypto.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <seccomp.h>
#include <sqlite3.h>
#include <unbound.h>

#include <opendkim/dkim.h>
#include <opendmarc/dmarc.h>
#include <spf2/spf.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/version.h"
#include "command/command.h"
#include "policy/regdomain.h"

static const char usage[] =
	"usage: gatepost version\n"
	"\n"
	"This program's version, and those of the libraries that it runs on now.\n";

static void line(const char *name, const char *version)
{
	printf("  %-14s %s\n", name, version);
}

/* A library that does not tell its version: the file that it was loaded from does. */
static void line_of_file(const char *name, void *symbol)
{
	Dl_info info;
	char *path =
		dladdr(symbol, &info) && info.dli_fname ? realpath(info.dli_fname, NULL) : NULL;

	if (path)
		line(name, strrchr(path, '/') + 1);
	free(path);
}

int cmd_version(int argc, char **argv)
{
	char text[128] = "";
	const char *path;
	int status, major, minor, patch, at = command_options(argc, argv, usage, &path, &status);
	uint32_t dkim = dkim_libversion();

	if (at < 0)
		return status;
	printf("gatepost %s\n", version_text());
	line("libevent", event_get_version());
	line("libunbound", ub_version());
	line("OpenSSL", OpenSSL_version(OPENSSL_VERSION_STRING));
	snprintf(text, sizeof(text), "%u.%u.%u", dkim >> 24, dkim >> 16 & 255, dkim >> 8 & 255);
	line("libopendkim", text);
	SPF_get_lib_version(&major, &minor, &patch);
	snprintf(text, sizeof(text), "%d.%d.%d", major, minor, patch);
	line("libspf2", text);
	line_of_file("libopendmarc", (void *)opendmarc_policy_library_init);
	line("libpsl", psl_get_version());
	if (pcre2_config(PCRE2_CONFIG_VERSION, text) > 0)
		line("PCRE2", text);
	line("libconfuse", confuse_version);
	line("SQLite", sqlite3_libversion());
	line("jansson", jansson_version_str());
	line("libarchive", archive_version_string() + strlen("libarchive "));
	snprintf(text, sizeof(text), "%u.%u.%u", seccomp_version()->major, seccomp_version()->minor, seccomp_version()->micro);
	line("libseccomp", text);
	if (regdomain_init(NULL) == 0)
		line("suffix list", regdomain_source());
	regdomain_release();
	return 0;
}
