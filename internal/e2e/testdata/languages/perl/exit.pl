print STDERR "leaving\n";
exit 7;
