#include <print>

int main() { std::println("{}", "žluťoučký kůň, 日本語, 🚀"); }
