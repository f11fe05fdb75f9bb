#include <stdio.h>

int main(void)
{
	printf("gatepost %s\n", GATEPOST_VERSION);
	return 0;
}
