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

// Check checks whether a part of the server works. The log gets the text of its error; /readyz shows an administrator
// the sentence of a fault, and anyone else only the name of the check.
type Check struct {
	Name string
	Run  func(ctx context.Context) error
}

// handleAlive tells that the process answers. It checks nothing else, because a restart of the process would not repair
// Docker.
func (a *api) handleAlive(w http.ResponseWriter, _ *http.Request, _ auth.Principal) error {
	return server.Respond(w, http.StatusOK, struct {
		Status string `json:"status"`
	}{"alive"})
}

// ready is the answer of /readyz. Only an administrator gets checks and warnings, because they describe the engine and
// its flaws.
type ready struct {
	Status   string    `json:"status"`             // ready or unready
	Failing  []string  `json:"failing,omitempty"`  // names of the failing checks
	Checks   []checked `json:"checks,omitempty"`   // all checks
	Warnings []string  `json:"warnings,omitempty"` // names of problems that do not stop the work
}

// checked is the outcome of one check.
type checked struct {
	Name         string     `json:"name"`
	OK           bool       `json:"ok"`
	Error        string     `json:"error,omitempty"`
	FailingSince *time.Time `json:"failing_since,omitempty"` // the first failure in a row
}

func (a *api) handleReady(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	answer, status, checks := ready{Status: "ready"}, http.StatusOK, a.ready.run(r.Context())
	for _, c := range checks {
		if !c.OK {
			answer.Status, status = "unready", http.StatusServiceUnavailable
			answer.Failing = append(answer.Failing, c.Name)
		}
	}
	if caller.Admin {
		answer.Checks = checks
		if a.Notes != nil {
			ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
			defer cancel()
			answer.Warnings = a.Notes(ctx)
		}
	}
	return server.Respond(w, status, answer)
}

const (
	checkTimeout = 5 * time.Second
	checkFresh   = time.Second // every client may ask, and a check may write to the disk
)

// readiness runs the checks and keeps their last outcomes.
type readiness struct {
	checks []Check
	now    func() time.Time
	log    *logrus.Entry

	// Held while the checks run, so that they run once for all waiting requests; guards the fields below
	mu   sync.Mutex
	at   time.Time // of the last run
	last []checked
}

func newReadiness(checks []Check, now func() time.Time, log *logrus.Entry) *readiness {
	r := &readiness{checks: checks, now: now, log: log, last: make([]checked, len(checks))}
	for i, c := range checks {
		r.last[i] = checked{Name: c.Name, OK: true}
	}
	return r
}

// run returns the outcomes of the checks, at most a second old. The checks go on when the client of ctx has gone,
// because other requests wait for them.
func (r *readiness) run(ctx context.Context) []checked {
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
	fresh := make([]checked, len(r.checks)) // earlier requests still hold the old slice
	for i, err := range errs {
		fresh[i] = r.outcomeOf(r.last[i], err)
	}
	r.last = fresh
	return fresh
}

// outcomeOf returns the new outcome of a check after its previous one, and logs a change.
func (r *readiness) outcomeOf(before checked, err error) checked {
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
