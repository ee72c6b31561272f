// SPDX-License-Identifier: GPL-2.0 OR MIT
/* `load DIR TASKS STOP`: traffic in DIR until the file STOP is there; then whether every call succeeded. */
#include "traffic.h"

int main(int argc, char **argv)
{
	struct traffic *all;

	if (argc != 4)
		return 2;
	check_enter(argc, argv);
	all = traffic_start(atoi(argv[2]));
	while (access(argv[3], F_OK))
		usleep(20000);
	all->stop = 1;
	while (wait(NULL) > 0)
		;
	traffic_verdict(all);
	return check_done();
}
