# What is printed is seen at once, though stdout is a pipe.
$stdout.sync = true
