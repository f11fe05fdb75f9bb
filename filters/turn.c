#include "filters/turn.h"

#include "base/task.h"

void turn_took(struct turn *t, size_t octets)
{
	t->since += octets;
	if (t->since < TURN_OCTETS)
		return;
	t->since = 0;
	if (task_self())
		task_yield();
}
