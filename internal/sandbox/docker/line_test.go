package docker

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types"

	"boomerang/internal/journal"
	"boomerang/internal/sandbox/sandboxtest"
)

// dial makes a line to an init that the test plays.
func dial(t *testing.T) (*line, net.Conn) {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { _ = ours.Close() })
	l := newLine(types.NewHijackedResponse(ours, ""))
	return l, theirs
}

func TestABerthThatWaitsIsGoneWhenItSpeaksOrHangsUp(t *testing.T) {
	for name, end := range map[string]func(net.Conn) error{
		"it hangs up": net.Conn.Close,
		"it speaks: those are its last words": func(c net.Conn) error {
			_, err := io.WriteString(c, chunk(2, "fatal error: out of memory"))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, init := dial(t)
			select {
			case <-l.gone:
				t.Error("it is gone before that")
			default:
			}
			if err := end(init); err != nil {
				t.Fatal(err)
			}
			select {
			case <-l.gone:
			case <-time.After(time.Minute):
				t.Error("it is held for one that waits")
			}
		})
	}
}

func TestABerthThatAnswersItsJobIsThere(t *testing.T) {
	l, init := dial(t)
	var played sync.WaitGroup
	played.Go(func() {
		if _, err := journal.ReadJob(init); err == nil {
			_, _ = io.WriteString(init, startFrame)
		}
	})
	if err := l.send(t.Context(), sandboxtest.Program{}.Job(), time.Minute); err != nil {
		t.Errorf("send: %v", err)
	}
	if first, err := io.ReadAll(io.LimitReader(l, int64(len(startFrame)))); string(first) != startFrame {
		t.Errorf("heard %q, %v, want %q", first, err, startFrame)
	}
	played.Wait()
	select {
	case <-l.gone:
		t.Error("it is gone")
	default:
	}
}
