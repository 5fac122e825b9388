package capture_test

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"boomerang/internal/capture"
	"boomerang/internal/execution"
)

func TestAMirrorReadsEachByteOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var text []byte
		sent, sick := 0, false
		m := capture.NewMirror(t.Context(),
			func(_ context.Context, stream execution.Stream, from int64) ([]byte, error) {
				mu.Lock()
				defer mu.Unlock()
				if sick {
					return nil, errors.New("not now")
				}
				if stream == execution.Stderr {
					return nil, nil
				}
				fresh := bytes.Clone(text[from:])
				sent += len(fresh)
				return fresh, nil
			}, 1<<20)
		for i := range 50 {
			mu.Lock()
			text = append(text, bytes.Repeat([]byte("x"), i)...)
			sick = i%7 == 3
			mu.Unlock()
			time.Sleep(70 * time.Millisecond)
		}
		mu.Lock()
		sick = false
		mu.Unlock()
		_, grown := m.Bytes(execution.Stderr)
		time.Sleep(time.Second)
		m.Close()
		if kept, _ := m.Bytes(execution.Stdout); !bytes.Equal(kept, text) || sent != len(text) {
			t.Errorf("has %d bytes and read %d, want %d", len(kept), sent, len(text))
		}
		select {
		case <-grown:
			t.Error("nothing was announced as new")
		default:
		}
	})
}
