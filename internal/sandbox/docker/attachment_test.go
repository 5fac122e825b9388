package docker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types"

	"boomerang/internal/journal"
	"boomerang/internal/sandbox/sandboxtest"
)

// dial connects an attachment to an init that the test plays.
func dial(t *testing.T) (*attachment, net.Conn) {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { _ = ours.Close() })
	l := newAttachment(types.NewHijackedResponse(ours, ""))
	return l, theirs
}

func TestAWaitingContainerIsGoneAfterOutputOrADisconnect(t *testing.T) {
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

func TestAContainerThatAnswersItsJobIsThere(t *testing.T) {
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

// attached connects the engine's container to an init that the test plays.
func (e *engine) attached(t *testing.T) (*handle, net.Conn) {
	t.Helper()
	b := e.serve(t)
	var init net.Conn
	b.streams, init = dial(t)
	return b, init
}

func TestAJournalIsHeardOnTheLine(t *testing.T) {
	whole := shows(startFrame, outText, errText, outEnd, errEnd)
	for name, c := range map[string]struct {
		said  []string
		logs  []http.HandlerFunc
		asked string
	}{
		"all of it": {[]string{startFrame, outText, errText, outEnd, errEnd}, nil, ""},
		"some, and then it breaks": {
			[]string{startFrame, outText, errText[:9]},
			[]http.HandlerFunc{whole},
			"inspect follow",
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := &engine{logs: append(c.logs, whole), states: []string{running}}
			b, init := e.attached(t)
			go func() {
				_, _ = io.WriteString(init, strings.Join(c.said, ""))
				_ = init.Close()
			}()
			for range 2 {
				var stdout, stderr bytes.Buffer
				outcome, err := b.Follow(t.Context(), nonce, &stdout, &stderr, nil)
				if err != nil || !outcome.Proven() || stdout.String() != "out\n" || stderr.String() != "err\n" {
					t.Errorf("follow = %+v, %v with %q and %q", outcome, err, stdout.String(), stderr.String())
				}
				if got := strings.Join(e.asked, " "); got != c.asked {
					t.Errorf("the engine was asked to %q, want %q", got, c.asked)
				}
				c.asked = strings.TrimSpace(c.asked + " follow") // the streams cannot be read twice
			}
		})
	}
}

func TestALineIsLetGoOf(t *testing.T) {
	for name, let := range map[string]func(context.Context, context.CancelFunc, *handle){
		"by a follower that leaves": func(ctx context.Context, leave context.CancelFunc, b *handle) {
			time.AfterFunc(10*time.Millisecond, leave)
			_, _ = b.Follow(ctx, nonce, io.Discard, io.Discard, nil)
		},
		"by one whose job was called off": func(ctx context.Context, leave context.CancelFunc, b *handle) {
			leave()
			_ = b.Assign(ctx, sandboxtest.Program{}.Job())
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, init := (&engine{states: []string{running}}).attached(t)
			ctx, leave := context.WithCancel(t.Context())
			let(ctx, leave, b)
			if _, err := journal.ReadJob(init); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("the init reads %v, want the end", err)
			}
		})
	}
}

func TestAContainerThatHasProvenItsEndMayEnd(t *testing.T) {
	e := &engine{states: []string{running}}
	b, init := e.attached(t)
	ended := make(chan bool, 1)
	go func() {
		_, _ = io.WriteString(init, strings.Join([]string{startFrame, outText, errText, outEnd, errEnd}, ""))
		_, err := io.WriteString(init, chunk(1, "output after the end"))
		_ = init.Close()
		ended <- err == nil
	}()
	if _, err := b.Follow(t.Context(), nonce, io.Discard, io.Discard, nil); err != nil {
		t.Fatal(err)
	}
	_ = b.Remove(t.Context()) // this engine removes nothing
	if !<-ended {
		t.Error("the line was cut before the container had ended")
	}
}
