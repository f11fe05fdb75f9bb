#include "policy/policy_files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "policy/policy_rule.h"

static const char *reason(int rc)
{
	return rc == -EFBIG ? "too large" : rc == -EINVAL ? "not a file" : strerror(-rc);
}

int policy_set_allowed(struct policy *p, const char *path, struct buf *errors)
{
	struct named_list *l = &p->list[LIST_ALLOWED];
	AUTO(policy_list) struct policy_list *fresh = policy_list_new();
	int rc;

	free(l->path);
	l->path = strdup(path);
	if (!l->path || !fresh)
		return -ENOMEM;
	rc = policy_list_load(fresh, path, path, &l->stamp, errors);
	if (rc == -ENOENT)
		return 0;
	if (rc < 0 && errors)
		buf_addf(errors, "%s: %s, expected a list file\n", path, reason(rc));
	if (rc == 0 && p->regexes + policy_list_regexes(fresh) > POLICY_REGEX_MAX) {
		buf_addf(errors, "%s: too many regular expressions, expected at most %d in a policy and its lists\n", path,
			 POLICY_REGEX_MAX);
		rc = -ENOSPC;
	}
	if (rc != 0)
		return -EINVAL;
	p->regexes += policy_list_regexes(fresh);
	p->fingerprint = 0;
	close(policy_list_take_fd(fresh));
	policy_list_become(l->list, fresh);
	fresh = NULL;
	return 0;
}

void policy_files_each(const struct policy *p, void (*fn)(const char *path, const struct list_stamp *stamp, void *arg),
		       void *arg)
{
	for (size_t i = 0; i < p->list_count; i++)
		if (p->list[i].path)
			fn(p->list[i].path, &p->list[i].stamp, arg);
}

/* Regular expressions of the policy if the lists of this path had so many. */
static size_t regexes_with(const struct policy *p, const char *path, size_t count)
{
	size_t n = p->regexes;

	for (size_t i = 0; i < p->list_count; i++)
		if (p->list[i].path && strcmp(p->list[i].path, path) == 0)
			n += count - policy_list_regexes(p->list[i].list);
	return n;
}

struct policy_list *policy_file_read(const struct policy *p, const char *path, struct list_stamp *stamp, struct buf *errors)
{
	AUTO(policy_list) struct policy_list *l = policy_list_new();
	struct policy_list *done;
	int rc;

	*stamp = (struct list_stamp){ .there = false };
	rc = l ? policy_list_load(l, path, path, stamp, errors) : -ENOMEM;
	if (rc < 0) {
		buf_addf(errors, "%s: %s, expected a list file\n", path, reason(rc));
		return NULL;
	}
	if (rc > 0)
		return NULL;
	if (regexes_with(p, path, policy_list_regexes(l)) > POLICY_REGEX_MAX) {
		buf_addf(errors, "%s: too many regular expressions, expected at most %d in a policy and its lists\n", path,
			 POLICY_REGEX_MAX);
		return NULL;
	}
	done = l;
	l = NULL;
	return done;
}

int policy_files_replace(struct policy *p, const char *path, int fd)
{
	int n = 0;

	for (size_t i = 0; i < p->list_count; i++) {
		struct named_list *l = &p->list[i];
		size_t before = policy_list_regexes(l->list);
		int rc;

		if (!l->path || strcmp(l->path, path) != 0)
			continue;
		p->fingerprint = 0;
		rc = policy_list_map(l->list, fd);
		if (rc < 0)
			return rc;
		p->regexes += policy_list_regexes(l->list) - before;
		n++;
	}
	return n;
}
