#include <stdio.h>

int main(void) {
	int sum = 0;
	for (int n; scanf("%d", &n) == 1;) sum += n;
	printf("%d\n", sum);
}
