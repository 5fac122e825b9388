# Output appears at once, although stdout is a pipe.
package unbuffered;
$| = 1;
1;
