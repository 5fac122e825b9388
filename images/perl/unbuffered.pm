# What is printed is seen at once, though stdout is a pipe.
package unbuffered;
$| = 1;
1;
