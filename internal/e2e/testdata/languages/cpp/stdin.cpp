#include <iostream>
#include <iterator>
#include <numeric>

int main() {
	using in = std::istream_iterator<int>;
	std::cout << std::accumulate(in(std::cin), in(), 0) << '\n';
}
