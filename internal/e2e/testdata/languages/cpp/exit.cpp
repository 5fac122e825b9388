#include <iostream>

int main() {
	std::cerr << "leaving\n";
	return 7;
}
