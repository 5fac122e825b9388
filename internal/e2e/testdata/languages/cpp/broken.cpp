#include <iostream>

int main() {
	std::cout << "before\n";
	std::string s = 1;
}
