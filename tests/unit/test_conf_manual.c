/* What is shipped, gatepost.conf and its manual page, against the tables: every option is shown, described, and has the default that is said. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "policy/conf_table.h"

static char dir[] = "/tmp/gatepost-conf-manual-XXXXXX";

/* The text as a file without mistakes. */
static struct site *load_good(const char *text)
{
	AUTO(buf) struct buf errors = BUF_INIT(65536);
	char path[64], policy[64];
	struct site *s;
	FILE *f;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/gatepost.conf", dir);
	snprintf(policy, sizeof policy, "%s/policy.conf", dir);
	f = fopen(policy, "w");
	fputs("accept\n", f);
	fclose(f);
	f = fopen(path, "w");
	fputs(text, f);
	fclose(f);
	s = site_load(path, &errors, NULL);
	unlink(path);
	unlink(policy);
	rmdir(dir);
	memset(dir + strlen(dir) - 6, 'X', 6);
	assert_string_equal(buf_str(&errors), "");
	assert_non_null(s);
	return s;
}

static char *slurp(const char *path)
{
	FILE *f = fopen(path, "r");
	char *text = calloc(1, 256 * 1024);

	if (!f)
		fail_msg("%s: %s (run it at the top of the source tree)", path, strerror(errno));
	assert_true(fread(text, 1, 256 * 1024 - 1, f) > 0);
	fclose(f);
	return text;
}

/* Where the lines of a section begin in the shipped file: "limits {" or "#dnsbl zen.example.org {". */
static const char *shipped_section(const char *text, const struct conf_section *s)
{
	size_t len = strlen(s->name);

	if (!len)
		return text;
	for (const char *p = text; p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
		const char *q = p + (*p == '#');

		if (strncmp(q, s->name, len) == 0 && q[len] == ' ' && memchr(q, '{', strcspn(q, "\n")))
			return strchr(p, '\n') + 1;
	}
	return NULL;
}

/* The value that the shipped file shows for an option, before the section's end; NULL: it shows none. */
static char *shipped_value(const char *text, const char *option)
{
	size_t len = strlen(option);

	for (const char *p = text; p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
		const char *q = p + strspn(p, "#\t");

		if (*q == '}')
			return NULL;
		if (strncmp(q, option, len) == 0 && strncmp(q + len, " = ", 3) == 0) {
			q += len + 3;
			return *q == '"' ? strndup(q + 1, strcspn(q + 1, "\"\n")) : strndup(q, strcspn(q, "\n"));
		}
	}
	return NULL;
}

static void test_shipped_file(void **state)
{
	char *text = slurp("conf/gatepost.conf");

	for (size_t i = 0; conf_sections[i]; i++) {
		const char *at = shipped_section(text, conf_sections[i]);

		if (!at)
			fail_msg("conf/gatepost.conf has no section %s", conf_sections[i]->name);
		for (const struct conf_option *o = conf_sections[i]->options; o->name; o++) {
			char *value = shipped_value(at, o->name);

			if (!value)
				fail_msg("conf/gatepost.conf does not show %s of %s", o->name, conf_sections[i]->name);
			if (o->value && strcmp(o->value, value) != 0)
				fail_msg("conf/gatepost.conf shows %s = %s, the default is %s", o->name, value, o->value);
			free(value);
		}
	}
	free(text);
}

/* As it is, and with every default that it shows taken in, it is a good file. */
static void test_shipped_file_loads(void **state)
{
	char *text = slurp("conf/gatepost.conf");
	AUTO(buf) struct buf all = BUF_INIT(256 * 1024);

	site_free(load_good(text));
	for (char *rest = text, *line; (line = strsep(&rest, "\n"));) {
		size_t tabs = strspn(line, "\t"), name = strcspn(line + tabs + (line[tabs] == '#'), " ");
		bool taken = false;

		for (size_t i = 0; line[tabs] == '#' && conf_sections[i]; i++) {
			const struct conf_option *o = conf_option_find(conf_sections[i], line + tabs + 1, name);

			taken |= o && o->value && strncmp(line + tabs + 1 + name, " = ", 3) == 0 && (tabs > 0) == (i > 0);
		}
		buf_addf(&all, "%s\n", taken ? line + tabs + 1 : line);
	}
	site_free(load_good(buf_str(&all)));
	free(text);
}

/* The page has a subsection for each section, an item for each option, and its default. */
static void test_man_page(void **state)
{
	char *text = slurp("conf/gatepost.conf.5");

	for (size_t i = 0; conf_sections[i]; i++) {
		const struct conf_section *s = conf_sections[i];
		char head[64], item[64], value[64];
		const char *at, *end;

		snprintf(head, sizeof head, ".Ss %s%s", s->name[0] ? s->name : "The top level", s->name[0] ? " " : "\n");
		at = strstr(text, head);
		if (!at)
			fail_msg("gatepost.conf(5) has no section %s", s->name);
		end = strstr(at, "\n.El");
		for (const struct conf_option *o = s->options; o->name; o++) {
			const char *here, *next;

			snprintf(item, sizeof item, "\n.It Ic %s = ", o->name);
			here = strstr(at, item);
			if (!here || here > end)
				fail_msg("gatepost.conf(5) does not describe %s of %s", o->name, s->name);
			next = strstr(here + 1, "\n.It ");
			next = !next || next > end ? end : next;
			for (int form = 0; o->value && form < 3; form++) {
				static const char *const forms[] = { "%s.\n", ".Cm %s", ".Pa %s" };
				const char *found;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
				snprintf(value, sizeof value, forms[form], o->value);
#pragma GCC diagnostic pop
				found = strstr(here, value);
				if ((found && found < next) || strcmp(o->value, "0") == 0)
					break;
				if (form == 2)
					fail_msg("gatepost.conf(5) does not say that the default of %s is %s", o->name, o->value);
			}
		}
	}
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shipped_file),
		cmocka_unit_test(test_shipped_file_loads),
		cmocka_unit_test(test_man_page),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
