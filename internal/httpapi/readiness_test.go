package httpapi

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
)

func TestChecksRunAtMostOnceASecondAndToTheirEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logger, _ := logtest.NewNullLogger()
		runs := 0
		r := newReadiness([]Check{{"hangs", func(ctx context.Context) error {
			runs++
			<-ctx.Done()
			return ctx.Err()
		}}}, time.Now, logrus.NewEntry(logger))
		gone, leave := context.WithCancel(t.Context())
		leave()
		started := time.Now()
		if c := r.run(gone); runs != 1 || c[0].OK || time.Since(started) != checkTimeout {
			t.Errorf("got %d runs, %+v after %s; want one that failed at its deadline, though its client has gone",
				runs, c, time.Since(started))
		}
		if r.run(t.Context()); runs != 1 {
			t.Errorf("asked again at once: got %d runs; want 1", runs)
		}
		<-time.After(checkFresh)
		if r.run(t.Context()); runs != 2 {
			t.Errorf("asked again a second later: got %d runs; want 2", runs)
		}
	})
}
