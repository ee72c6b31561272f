#include <stdio.h>
#include <stdlib.h>

long part_1(long), part_2(long), part_3(long), part_4(long);
long part_5(long), part_6(long), part_7(long), part_8(long);

int main(int argc, char **argv)
{
	long end = argc > 1 ? atol(argv[1]) : 10;

	printf("sum of squares below %ld: %ld\n", end,
	       part_1(end) + part_2(end) + part_3(end) + part_4(end) + part_5(end) + part_6(end) + part_7(end) + part_8(end));
	return 0;
}
