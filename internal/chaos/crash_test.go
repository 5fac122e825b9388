//go:build chaos

package chaos

import (
	"cmp"
	"context"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"boomerang/internal/servertest"
)

// TestNothingIsLostWhenTheServerDies kills the server at each point between the durable writes. A case lists the crash
// points of the first processes in order.
func TestNothingIsLostWhenTheServerDies(t *testing.T) {
	const cold, two = "0", "2"
	short := plan{Program: Program{Lines: 5, Exit: 3}, every: 1, pause: 20 * time.Millisecond, timeout: 60}
	leaving := short
	leaving.Files = 3
	small := short
	small.small = true
	long := plan{Program: Program{Endless: true}, every: 1, pause: 50 * time.Millisecond, timeout: 60}
	for _, c := range []struct {
		name        string
		plan        plan
		crashPoints []string
		warm        string // two if empty
	}{
		{"after write 1, before the answer", short, []string{"after-enqueue"}, ""},
		{"after the claim", short, []string{"after-claim"}, ""},
		{"after a warm container was made", short, []string{"after-prepare"}, ""},
		{"after a cold container was made", short, []string{"after-prepare"}, cold},
		{"after a warm container was resized", small, []string{"after-resize"}, ""},
		{"before write 2, with a warm container", short, []string{"before-start"}, ""},
		{"before write 2, with a cold container", short, []string{"before-start"}, cold},
		{"after write 2, before the job was sent", short, []string{"after-start"}, ""},
		{"after the job was sent", short, []string{"after-assign"}, ""},
		{"after the job was sent, and after its run was adopted", short, []string{"after-assign", "after-adopt"}, ""},
		{
			"after write 2, and before the execution was queued again", short,
			[]string{"after-start", "before-requeue"},
			"",
		},
		{
			"after write 2, and after the execution was queued again", short,
			[]string{"after-start", "after-requeue"},
			"",
		},
		{"after the end was read", short, []string{"after-follow"}, ""},
		{"in the middle of a file, and again in the next", leaving, []string{"in-file", "in-file:4"}, ""},
		{"after a file was stored", leaving, []string{"after-file:2"}, ""},
		{"with files that no result names yet", leaving, []string{"before-finish"}, ""},
		{"before write 3", short, []string{"before-finish"}, ""},
		{"before write 3, twice", short, []string{"before-finish", "before-finish"}, ""},
		{"after write 3", short, []string{"after-finish"}, ""},
		{"after the container was removed", short, []string{"after-remove"}, ""},
		{"before the attempt", short, []string{"before-post"}, ""},
		{"after the attempt, before it was recorded", short, []string{"after-post"}, ""},
		{"after the attempt was recorded", short, []string{"after-record"}, ""},
		{"after the cancellation", long, []string{"after-cancel"}, ""},
		{"after the container was stopped", long, []string{"after-stop"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			warm := cmp.Or(c.warm, two)
			h := newHarness(t, 1, nil, warm, c.crashPoints...)
			if warm == two {
				h.awaitWarm(2)
			}
			c.plan.Mark = mark(t.Name())
			ticket := h.addTicket(c.plan)
			h.customer.submit(t.Context(), ticket)
			if c.plan.Endless {
				for len(h.engine.nonces(c.plan.Mark)) == 0 && servertest.Rest(t.Context(), 50*time.Millisecond) {
				}
				h.customer.cancel(t.Context(), ticket)
			}
			books := h.audit(syscall.SIGTERM)
			if got, want := h.server.kills, len(c.crashPoints); got != want {
				t.Errorf("the server died %d times, want %d: it did not reach a crash point", got, want)
			}
			if got := len(books.Ran[c.plan.Mark]); got != 1 {
				t.Errorf("the program was started %d times, want once", got)
			}
		})
	}
}

// TestNothingIsLeftWhenTheServerDiesOnItsWayOut stops the server, which removes its warm containers, and kills it after
// the first removal.
func TestNothingIsLeftWhenTheServerDiesOnItsWayOut(t *testing.T) {
	h := newHarness(t, 1, nil, "2", "after-remove")
	h.awaitWarm(2)
	if err := h.server.replace(t.Context(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	h.audit(syscall.SIGTERM)
	if h.server.kills != 1 {
		t.Errorf("the server died %d times, want once: it removed no container", h.server.kills)
	}
}

// TestAFullDiskCostsNoFileWhenNothingDies fills the disk while a program runs whose files will be stored there.
func TestAFullDiskCostsNoFileWhenNothingDies(t *testing.T) {
	h := newHarness(t, 1, nil, "2")
	ticket := h.addTicket(plan{
		Program: Program{Mark: mark(t.Name()), Lines: 50, Files: 3}, every: 1,
		pause: 100 * time.Millisecond, timeout: 60,
	})
	h.customer.submit(t.Context(), ticket)
	for len(h.engine.nonces(ticket.Mark)) == 0 && servertest.Rest(t.Context(), 50*time.Millisecond) {
	}
	free := h.fillDisk()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if !servertest.Eventually(ctx, 50*time.Millisecond, func() bool {
		log, err := os.ReadFile(h.log())
		return err == nil && strings.Contains(string(log), "store files")
	}) {
		t.Error("the log has no failure to store files on the full disk")
	}
	free()
	h.audit(syscall.SIGTERM)
}
