#include "command/cmd_quarantine.h"

#include "command/cmd_release.h"
#include "command/command.h"
#include "command/quarantine.h"

static const struct subcommand subcommands[] = {
	{ "list", quarantine_list, "what is kept, by recipient, sender, rule, fact, time; newest first" },
	{ "show", quarantine_show, "all that is known of a message, and what it says" },
	{ "search", quarantine_search, "by words of header and text, in any script" },
	{ "release", quarantine_release, "send messages to the mail server after all" },
	{ "delete", quarantine_delete, "for good; who did it is recorded" },
	{ "purge", quarantine_purge, "delete all that a filter means" },
	{ "allow", quarantine_allow, "the senders of messages, from now on" },
	{ "export", quarantine_export, "messages as they were sent, to standard output, files or an mbox" },
	{ "reindex", quarantine_reindex, "make the index again from the messages" },
	{ NULL, NULL, NULL },
};

static const char note[] =
	"Exit status, but for release: 0 done; 1 wrong option or configuration, or something failed; 2 a message that was named is not there.\n";

int cmd_quarantine(int argc, char **argv)
{
	return command_run("quarantine", subcommands, note, argc, argv);
}
