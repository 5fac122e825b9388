// Package quota has the limits of each subject: its share of everything that all subjects need. It also counts the use
// of things that are in memory.
//
// Each quota is enforced by the package that spends it: what the store holds, in the transaction that adds to it. This
// package knows the limits and the sentence of a refusal, and not the things that are counted.
package quota

import (
	"fmt"
	"strconv"
	"time"

	"github.com/alecthomas/units"

	"boomerang/internal/fault"
)

// Limits are the quotas of one subject. 0 sets no limit.
type Limits struct {
	// Running is the number of executions that run at the same time, on all nodes together.
	Running int `yaml:"running"`
	// Queued is the number of executions in the queue.
	Queued int `yaml:"queued"`
	// QueuedSize is the size of the programs, environments, inputs and files of all executions that have not ended.
	QueuedSize units.Base2Bytes `yaml:"queued_size"`
	// StoredSize is the size of everything that is stored after an execution: output, artifacts, workspaces, and the
	// bodies of callbacks.
	StoredSize units.Base2Bytes `yaml:"stored_size"`
	// Streams is the number of open streams: events, WebSockets, and callers that wait for a result.
	Streams int `yaml:"streams"`
	// Timeout is the longest timeout that an execution may ask for, if it is shorter than admission.timeout.max.
	Timeout time.Duration `yaml:"timeout"`
}

// Defaults returns the quotas of a subject without overrides.
func Defaults() Limits {
	return Limits{
		Queued:     10_000,
		QueuedSize: 256 * units.MiB,
		StoredSize: 2 * units.GiB,
		Streams:    1000,
	}
}

// validate returns an error that names the wrong key.
func (l Limits) validate() error {
	for key, n := range map[string]int64{
		"running": int64(l.Running), "queued": int64(l.Queued), "queued_size": int64(l.QueuedSize),
		"stored_size": int64(l.StoredSize), "streams": int64(l.Streams),
	} {
		if n < 0 {
			return fmt.Errorf("%s must not be negative", key)
		}
	}
	if l.Timeout < 0 || l.Timeout%time.Second != 0 {
		return fmt.Errorf("timeout must be 0 or whole seconds, not %s", l.Timeout)
	}
	return nil
}

// Name names a quota, in the spelling of the configuration and of a refusal.
type Name string

// The quotas that refuse a request. The others make it wait, or bound its timeout.
const (
	Queued     Name = "queued"
	QueuedSize Name = "queued_size"
	StoredSize Name = "stored_size"
	Streams    Name = "streams"
)

// counted has the words for the things that a quota counts; sizes are shown in bytes.
var counted = map[Name]struct {
	things string
	size   bool
}{
	Queued:     {"queued executions", false},
	QueuedSize: {"the size of programs that have not ended", true},
	StoredSize: {"the size of stored results and workspaces", true},
	Streams:    {"open streams", false},
}

const retryAfter = 5 * time.Second // when a caller whose quota is used up may try again

// Exceeded returns the refusal of a request that needs more of a quota than is left: QUEUE_FULL for the queue,
// otherwise QUOTA_EXCEEDED. A request that needs more than the whole quota is refused with PAYLOAD_TOO_LARGE and no
// time for another try. The details name the quota, its limit and its use.
func Exceeded(name Name, limit, use, need int64) *fault.Error {
	code := fault.QuotaExceeded
	if name == Queued || name == QueuedSize {
		code = fault.QueueFull
	}
	if need > limit {
		code = fault.PayloadTooLarge
	}
	c := counted[name]
	show := func(n int64) string {
		if c.size {
			return units.Base2Bytes(n).String()
		}
		return strconv.FormatInt(n, 10)
	}
	f := fault.New(code, "The request needs %s of your quota for %s, of which %s of %s are in use.",
		show(need), c.things, show(use), show(limit)).
		Detail("quota", string(name)).Detail("limit", limit).Detail("use", use)
	if code == fault.PayloadTooLarge {
		return f
	}
	return f.After(retryAfter)
}
