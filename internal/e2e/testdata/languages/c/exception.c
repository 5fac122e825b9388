#include <assert.h>
#include <stdio.h>

int main(void) {
	puts("before");
	int boom = 0;
	assert(boom);
}
