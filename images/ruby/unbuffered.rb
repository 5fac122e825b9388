# Output appears at once, although stdout is a pipe.
$stdout.sync = true
