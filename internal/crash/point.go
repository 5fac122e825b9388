//go:build !chaos

package crash

// Point does nothing in production builds. Built with the tag chaos, it ends the process at the point that the
// environment variable BOOMERANG_CRASH_AT names.
func Point(string) {}
