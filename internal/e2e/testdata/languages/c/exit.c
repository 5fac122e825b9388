#include <stdio.h>

int main(void) {
	fputs("leaving\n", stderr);
	return 7;
}
