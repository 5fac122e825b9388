package storetest

import (
	"errors"
	"sync"

	"boomerang/internal/execution"
)

func (h *harness) environment(subject string) string {
	h.t.Helper()
	env, err := h.Environment(h.ctx(), subject)
	h.ok(err)
	return string(env)
}

func (h *harness) setEnvironment(subject, env string) {
	h.t.Helper()
	h.ok(h.ChangeEnvironment(h.ctx(), subject,
		func(execution.Sealed) (execution.Sealed, error) { return execution.Sealed(env), nil }))
}

func testEnvironmentsAreScopedAndSurviveARestart(h *harness) {
	h.equal(h.environment("ann"), "")
	h.setEnvironment("ann", "one")
	h.setEnvironment("ann", "two")
	h.setEnvironment("ben", "three")
	h.restart()
	h.equal([]string{h.environment("ann"), h.environment("ben"), h.environment("cid")}, []string{"two", "three", ""})
	h.setEnvironment("ann", "")
	h.setEnvironment("cid", "")
	subjects, err := h.Environments(h.ctx())
	h.ok(err)
	h.equal(subjects, []string{"ben"})
	h.equal([]string{h.environment("ann"), h.environment("ben"), h.environment("cid")}, []string{"", "three", ""})
}

func testAFailedChangeKeepsTheEnvironment(h *harness) {
	h.setEnvironment("ann", "one")
	wrong := errors.New("it is wrong")
	err := h.ChangeEnvironment(h.ctx(), "ann", func(old execution.Sealed) (execution.Sealed, error) {
		h.equal(string(old), "one")
		return execution.Sealed("two"), wrong
	})
	if !errors.Is(err, wrong) {
		h.t.Errorf("ChangeEnvironment = %v, want the error of the change", err)
	}
	h.equal(h.environment("ann"), "one")
}

func testConcurrentChangesOfAnEnvironmentAreSerialised(h *harness) {
	const changes = 20
	var all sync.WaitGroup
	for range changes {
		all.Go(func() {
			if err := h.ChangeEnvironment(h.ctx(), "ann", func(old execution.Sealed) (execution.Sealed, error) {
				return append(old, 'x'), nil
			}); err != nil {
				h.t.Error(err)
			}
		})
	}
	all.Wait()
	h.equal(len(h.environment("ann")), changes)
}

func testShareCountsOneSubject(h *harness) {
	h.enqueue("ben")
	h.ended("ann")
	h.running("ann")
	h.enqueue("ann")
	h.enqueue("ann")
	for subject, want := range map[string]execution.Share{
		"ann": {Queued: 2, Running: 1, Kept: 4}, "ben": {Queued: 1, Kept: 1}, "cid": {},
	} {
		got, err := h.Share(h.ctx(), subject)
		h.ok(err)
		h.equal(got, want)
	}
}
