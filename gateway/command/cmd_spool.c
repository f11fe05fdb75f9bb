#include "command/cmd_spool.h"

#include "command/command.h"
#include "command/spool_view.h"

static const struct subcommand subcommands[] = {
	{ "list", spool_command_list, "what is still to be delivered, to whom, when next, and why not yet" },
	{ "show", spool_command_show, "all that is known of a message, and what it says" },
	{ "retry", spool_command_retry, "try to deliver messages now" },
	{ "delete", spool_command_delete, "for good; with --bounce the sender is told" },
	{ NULL, NULL, NULL },
};

static const char note[] =
	"Exit status: 0 done; 1 wrong option or configuration, or something failed; 2 a message that was named is not there.\n";

int cmd_spool(int argc, char **argv)
{
	return command_run("spool", subcommands, note, argc, argv);
}
