package storetest

import (
	"errors"
	"sync"

	"boomerang/internal/execution"
)

func environmentTests() map[string]func(*house) {
	return map[string]func(*house){
		"AnEnvironmentIsOneSubjectsAndStays": environmentStays,
		"AChangeThatFailsChangesNothing":     environmentFails,
		"ChangesComeOneAfterAnother":         environmentChanges,
		"AShareIsOneSubjects":                share,
	}
}

func (h *house) environment(subject string) string {
	h.t.Helper()
	env, err := h.Environment(h.ctx(), subject)
	h.ok(err)
	return string(env)
}

func (h *house) setEnvironment(subject, env string) {
	h.t.Helper()
	h.ok(h.ChangeEnvironment(h.ctx(), subject, func(execution.Sealed) (execution.Sealed, error) { return execution.Sealed(env), nil }))
}

func environmentStays(h *house) {
	h.same(h.environment("ann"), "")
	h.setEnvironment("ann", "one")
	h.setEnvironment("ann", "two")
	h.setEnvironment("ben", "three")
	h.restart()
	h.same([]string{h.environment("ann"), h.environment("ben"), h.environment("cid")}, []string{"two", "three", ""})
	h.setEnvironment("ann", "")
	h.setEnvironment("cid", "")
	subjects, err := h.Environments(h.ctx())
	h.ok(err)
	h.same(subjects, []string{"ben"})
	h.same([]string{h.environment("ann"), h.environment("ben"), h.environment("cid")}, []string{"", "three", ""})
}

func environmentFails(h *house) {
	h.setEnvironment("ann", "one")
	wrong := errors.New("it is wrong")
	err := h.ChangeEnvironment(h.ctx(), "ann", func(old execution.Sealed) (execution.Sealed, error) {
		h.same(string(old), "one")
		return execution.Sealed("two"), wrong
	})
	if !errors.Is(err, wrong) {
		h.t.Errorf("got %v, want the error of the change", err)
	}
	h.same(h.environment("ann"), "one")
}

func environmentChanges(h *house) {
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
	h.same(len(h.environment("ann")), changes)
}

func share(h *house) {
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
		h.same(got, want)
	}
}
