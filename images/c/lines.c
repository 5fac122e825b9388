/* Is linked to every program: stdout is written line by line, though it is a pipe. What a program had printed is seen
   while it runs, and is not lost when it is ended. setvbuf in the program changes that. */
#include <stdio.h>

__attribute__((constructor)) static void lines(void) { setvbuf(stdout, NULL, _IOLBF, 0); }
