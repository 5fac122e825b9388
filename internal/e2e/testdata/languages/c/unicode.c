#include <stdio.h>

int main(void) { puts("žluťoučký kůň, 日本語, 🚀"); }
