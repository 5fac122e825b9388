use strict;
use warnings;

sub prime {
    my $n = shift;
    for (my $d = 2; $d * $d <= $n; $d++) {
        return 0 if $n % $d == 0;
    }
    return 1;
}

my ($below, $count) = (200000, 0);
$count += prime($_) for 2 .. $below - 1;
print "$below $count\n";
