#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "command/command.h"
#include "filters/fact.h"
#include "policy/conf.h"
#include "process/control.h"

static const char usage[] = "usage: gatepost recipients [-c FILE] clear [ADDRESS]\n"
			    "\n"
			    "Forgets what is cached of who is a known recipient: of ADDRESS, or of "
			    "all. The running gateway is asked.\n";

static const char status_usage[] =
	"usage: gatepost status [-c FILE]\n"
	"\n"
	"How the running gateway is, as JSON.\n";

/* Ask the gateway of this configuration; request is taken over. NULL: said on stderr. */
static json_t *ask(const char *path, json_t *request)
{
	AUTO(buf) struct buf errors = BUF_INIT(1 << 20),
		   warnings = BUF_INIT(1 << 20), err = BUF_INIT(2000);
	json_t *answer = NULL;
	struct site *s;

	fact_register_all();            /* the policy is written in their names */
	s = site_load(path, &errors, &warnings);
	if (!s) {
		fputs(buf_str(&errors), stderr);
	} else if (control_ask(s->control_path, request, &answer, &err) < 0) {
		fprintf(stderr, "gatepost: %s\n", buf_str(&err));
		answer = NULL;
	} else if (!json_is_true(json_object_get(answer, "ok"))) {
		const char *why = json_string_value(json_object_get(answer, "error"));

		fprintf(stderr, "gatepost: %s\n", why ? why : "refused");
		json_decref(answer);
		answer = NULL;
	}
	json_decref(request);
	if (s)
		site_free(s);
	return answer;
}

int cmd_recipients(int argc, char **argv)
{
	const char *path;
	int status, at = command_options(argc, argv, usage, &path, &status);
	json_t *request, *answer;

	if (at < 0)
		return status;
	if (at >= argc || strcmp(argv[at], "clear") != 0 || argc - at > 2) {
		fprintf(stderr,
			"gatepost recipients: clear, and at most one address, was expected\n%s",
			usage);
		return 1;
	}
	request = json_pack("{s:s}", "cmd", "recipients.clear");
	if (argc - at == 2 &&
	    json_object_set_new(request, "address", json_string(argv[at + 1])) < 0) {
		fprintf(stderr, "gatepost recipients: the address is not UTF-8\n");
		json_decref(request);
		return 1;
	}
	answer = ask(path, request);
	if (!answer)
		return 1;
	printf("%lld forgotten\n",
	       (long long)json_integer_value(json_object_get(answer, "cleared")));
	json_decref(answer);
	return 0;
}

int cmd_status(int argc, char **argv)
{
	const char *path;
	int status, at = command_options(argc, argv, status_usage, &path, &status);
	json_t *answer;

	if (at < 0)
		return status;
	if (at < argc) {
		fprintf(stderr, "gatepost status: %s was not expected\n%s", argv[at], status_usage);
		return 1;
	}
	answer = ask(path, json_pack("{s:s}", "cmd", "status"));
	if (!answer)
		return 1;
	json_object_del(answer, "ok");
	json_dumpf(answer, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(answer);
	return 0;
}
