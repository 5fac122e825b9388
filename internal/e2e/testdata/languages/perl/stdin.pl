use List::Util qw(sum);
print sum(<STDIN>), "\n";
