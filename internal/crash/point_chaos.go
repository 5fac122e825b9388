//go:build chaos

package crash

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// variable is the environment variable that names the point at which the process kills itself: "after-start", or
// "after-start:3" for the third time that the process reaches the point.
const variable = "BOOMERANG_CRASH_AT"

// target reads the environment variable: the point, and how often the process must still reach it.
var target = sync.OnceValues(func() (point string, remaining *atomic.Int64) {
	point, nth, _ := strings.Cut(os.Getenv(variable), ":")
	n, err := strconv.ParseInt(nth, 10, 64)
	if err != nil {
		n = 1
	}
	remaining = new(atomic.Int64)
	remaining.Store(n)
	return point, remaining
})

// Point kills the process, as kill -9 does, if name is the chosen point. Nothing runs after the signal: no deferred
// call, no flush.
func Point(name string) {
	if point, remaining := target(); name == point && remaining.Add(-1) == 0 {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}
