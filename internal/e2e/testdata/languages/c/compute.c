#include <stdbool.h>
#include <stdio.h>

static bool prime(int n) {
	for (int d = 2; d * d <= n; d++)
		if (n % d == 0) return false;
	return true;
}

int main(void) {
	const int below = 4000000;
	int count = 0;
	for (int n = 2; n < below; n++) count += prime(n);
	printf("%d %d\n", below, count);
}
