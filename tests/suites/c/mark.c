// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * `mark DEVICE OFFSET COUNTER PATH STATE…`: writes the next mark and says what is certain from there on, in a line as
 * `durable` has them. The file COUNTER has the number of the last one.
 */
#include "mark.h"

int main(int argc, char **argv)
{
	int device, number = 0, i;
	FILE *counter;

	if (argc < 6)
		return 2;
	counter = fopen(argv[3], "r");
	if (counter) {
		if (fscanf(counter, "%d", &number) != 1)
			return 2;
		fclose(counter);
	}
	number++;
	device = open(argv[1], O_WRONLY | O_DIRECT);
	if (device < 0 || mark_write(device, atoll(argv[2]), number)) {
		printf("not ok mark: %s: %s\n", argv[1], strerror(errno));
		return 2;
	}
	counter = fopen(argv[3], "w");
	if (!counter || fprintf(counter, "%d\n", number) < 0 || fclose(counter))
		return 2;
	printf("mark %d", number);
	for (i = 4; i < argc; i++)
		printf(" %s", argv[i]);
	printf("\n");
	return 0;
}
