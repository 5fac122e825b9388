package httpapi

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/auth"
	"boomerang/internal/fault"
	"boomerang/internal/server"
	"boomerang/internal/wire"
)

// Check asks a part of the server whether it can work. The text of its error goes to the log; only the sentence of a
// fault is shown, since /readyz needs no token.
type Check struct {
	Name string
	Run  func(ctx context.Context) error
}

// handleAlive says that the process answers, and nothing else: a supervisor that restarts it cannot mend Docker.
func (a *api) handleAlive(w http.ResponseWriter, _ *http.Request, _ auth.Principal) error {
	return server.Respond(w, http.StatusOK, struct {
		Status string `json:"status"`
	}{"alive"})
}

// ready is the answer to whether work can be done.
type ready struct {
	Status   string    `json:"status"` // ready or unready
	Checks   []checked `json:"checks"`
	Warnings []string  `json:"warnings,omitempty"` // names of what the operator should look at, though work goes on
}

// checked is what one check said.
type checked struct {
	Name         string     `json:"name"`
	OK           bool       `json:"ok"`
	Error        string     `json:"error,omitempty"`
	FailingSince *time.Time `json:"failing_since,omitempty"` // when it was first seen failing
}

func (a *api) handleReady(w http.ResponseWriter, r *http.Request, _ auth.Principal) error {
	answer := ready{Status: "ready", Checks: a.ready.ask(r.Context())}
	if a.Notes != nil {
		ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
		defer cancel()
		answer.Warnings = a.Notes(ctx)
	}
	status := http.StatusOK
	for _, c := range answer.Checks {
		if !c.OK {
			answer.Status, status = "unready", http.StatusServiceUnavailable
		}
	}
	return server.Respond(w, status, answer)
}

const (
	checkTimeout = 5 * time.Second
	checkFresh   = time.Second // anybody may ask, and a check may cost a write to the disk
)

// readiness runs the checks and remembers what they said.
type readiness struct {
	checks []Check
	now    func() time.Time
	log    *logrus.Entry

	mu   sync.Mutex // held while the checks run, so that they run once for all who ask; guards all below
	at   time.Time  // when they last ran
	last []checked
}

func newReadiness(checks []Check, now func() time.Time, log *logrus.Entry) *readiness {
	r := &readiness{checks: checks, now: now, log: log, last: make([]checked, len(checks))}
	for i, c := range checks {
		r.last[i] = checked{Name: c.Name, OK: true}
	}
	return r
}

// ask returns what the checks say, at most a second old. Who asked may go away; the others who wait want the answer.
func (r *readiness) ask(ctx context.Context) []checked {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.at.IsZero() && r.now().Sub(r.at) < checkFresh {
		return r.last
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkTimeout)
	defer cancel()
	errs := make([]error, len(r.checks))
	var all sync.WaitGroup
	for i, c := range r.checks {
		all.Go(func() { errs[i] = c.Run(ctx) })
	}
	all.Wait()
	r.at = r.now()
	fresh := make([]checked, len(r.checks)) // those who asked before still hold the old ones
	for i, err := range errs {
		fresh[i] = r.judge(r.last[i], err)
	}
	r.last = fresh
	return fresh
}

// judge makes of what a check said and of what it said before what is shown, and logs a change.
func (r *readiness) judge(before checked, err error) checked {
	log := r.log.WithField("check", before.Name)
	if err == nil {
		if !before.OK {
			log.Info("check passes again")
		}
		return checked{Name: before.Name, OK: true}
	}
	now := checked{Name: before.Name, Error: "The check failed; the log says why.", FailingSince: before.FailingSince}
	if f := fault.Of(err); f.Code != fault.InternalError {
		now.Error = f.Sentence
	}
	if before.OK {
		log.WithError(err).Warn("check fails")
		now.FailingSince = new(wire.Time(r.at))
	}
	return now
}
