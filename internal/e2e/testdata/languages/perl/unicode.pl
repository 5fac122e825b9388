use utf8;
use open qw(:std :encoding(UTF-8));
print "žluťoučký kůň, 日本語, 🚀\n";
