package capture_test

import (
	"context"
	"errors"
	"strings"
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
		text, sent, sick := "", 0, false
		m := capture.NewMirror(t.Context(), func(_ context.Context, stream execution.Stream, from int64) ([]byte, error) {
			mu.Lock()
			defer mu.Unlock()
			if sick {
				return nil, errors.New("not now")
			}
			if stream == execution.Stderr {
				return nil, nil
			}
			fresh := text[from:]
			sent += len(fresh)
			return []byte(fresh), nil
		}, 1<<20)
		var textSb33 strings.Builder
		for i := range 50 {
			mu.Lock()
			textSb33.WriteString(strings.Repeat("x", i))
			sick = i%7 == 3
			mu.Unlock()
			time.Sleep(70 * time.Millisecond)
		}
		text += textSb33.String()
		mu.Lock()
		sick = false
		mu.Unlock()
		_, grown := m.Bytes(execution.Stderr)
		time.Sleep(time.Second)
		m.Close()
		if kept, _ := m.Bytes(execution.Stdout); string(kept) != text || sent != len(text) {
			t.Errorf("has %d bytes and read %d, want %d", len(kept), sent, len(text))
		}
		select {
		case <-grown:
			t.Error("nothing was announced as new")
		default:
		}
	})
}
