package gateway

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"boomerang/internal/execution"
)

// silentRecord is one execution that stays in the queue.
type silentRecord struct {
	Records
	mu    sync.Mutex
	e     execution.Execution
	ended chan struct{}
}

func (s *silentRecord) Get(context.Context, execution.ID) (execution.Execution, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.e, nil
}

func (s *silentRecord) Ended(execution.ID) (<-chan struct{}, func()) { return s.ended, func() {} }

func (s *silentRecord) cancel(context.Context, execution.ID) (execution.Execution, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := execution.Result{
		State: execution.Cancelled, Reason: execution.WasCancelled, CompletedAt: time.Now(),
		OutputComplete: true,
	}
	s.e.State, s.e.Result = execution.Cancelled, &r
	close(s.ended)
	return s.e, nil
}

func TestAProgramThatWaitsTooLongForItsTurnIsCancelledUnlessItHasAKey(t *testing.T) {
	for returns, want := range map[bool]execution.State{false: execution.Cancelled, true: execution.Queued} {
		synctest.Test(t, func(t *testing.T) {
			logger, _ := logtest.NewNullLogger()
			s := &silentRecord{
				e: execution.Execution{
					ID: execution.NewID(time.Now()), State: execution.Queued,
					Timeout: time.Minute, Language: "python",
				},
				ended: make(chan struct{}),
			}
			x := New(Deps{Records: s, Cancel: s.cancel, Log: logrus.NewEntry(logger)})
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/execute", nil)
			began := time.Now()
			e := x.wait(httptest.NewRecorder(), r, s.e, returns)
			if took := time.Since(began); took != time.Minute+queueing || e.State != want {
				t.Errorf("with a key %v: got %s after %s; want %s", returns, e.State, took, want)
			}
		})
	}
}
