#include <algorithm>
#include <iostream>
#include <ranges>

bool prime(int n) {
	for (int d = 2; d * d <= n; d++)
		if (n % d == 0) return false;
	return true;
}

int main() {
	const int below = 4000000;
	std::cout << below << ' ' << std::ranges::count_if(std::views::iota(2, below), prime) << '\n';
}
