package follow

import (
	"errors"
	"testing"

	"boomerang/internal/execution"
)

func TestAPositionIsReadAsItIsWritten(t *testing.T) {
	for _, text := range []string{"o0.e0.s0", "o12.e345.s2", "o4611686018427387903.e0.s3"} {
		if p, err := Parse(text); err != nil || p.String() != text {
			t.Errorf("%q: got %q, %v", text, p, err)
		}
	}
	for _, text := range []string{
		"", "12", "o.e.s", "o1.e2", "o1.e2.s4", "o-1.e2.s1", "o01.e2.s1", "o1.e2.s1 ", "o1.e2.s1\n", "O1.e2.s1",
		"o+1.e2.s1",
		"o9223372036854775808.e0.s0", "o9999999999999999999.e0.s0", "o99999999999999999999.e0.s0",
	} {
		if p, err := Parse(text); !errors.Is(err, ErrPosition) {
			t.Errorf("%q: got %v, %v; want ErrPosition", text, p, err)
		}
	}
}

func TestAPositionLiesWithinTheWrittenBytes(t *testing.T) {
	queued := execution.Execution{State: execution.Queued}
	running := execution.Execution{State: execution.Running}
	lost := execution.Execution{State: execution.Failed, Result: &execution.Result{Reason: execution.Lost}}
	ended := execution.Execution{State: execution.Failed, Result: &execution.Result{
		OutputComplete: true,
		Stdout:         execution.Output{Head: []byte("head"), Tail: []byte("tail"), Bytes: 1000},
		Stderr:         execution.Output{Head: []byte("12"), Bytes: 2},
	}}
	for _, c := range []struct {
		at   string
		of   execution.Execution
		want bool
	}{
		{"o0.e0.s1", queued, true},
		{"o1.e0.s1", queued, false},
		{"o0.e0.s3", queued, false},
		{"o10.e0.s2", running, true}, // the offset may be ahead until the output is read again
		{"o0.e0.s3", running, false},
		{"o1000.e2.s3", ended, true},
		{"o1001.e2.s2", ended, false},
		{"o1.e3.s2", ended, false},
		{"o7.e3.s2", lost, true},
	} {
		p, err := Parse(c.at)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Within(c.of); got != c.want {
			t.Errorf("%s of one that is %s: got %v", c.at, c.of.State, got)
		}
	}
}
