//go:build integration

package store

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"boomerang/internal/execution"
)

// TestAFullDiskLosesNothingAndWorksAgain fills a small file system that it mounts, for which it must be root.
func TestAFullDiskLosesNothingAndWorksAgain(t *testing.T) {
	if os.Geteuid() != 0 && os.Getenv("REQUIRE_DOCKER") != "1" {
		t.Skip("mounting needs root")
	}
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=8m"); err != nil {
		t.Skipf("mounting is not allowed here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 4<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(disk, "data")
	s := open(t, dir)
	acknowledged := 0
	for range 3 { // a smaller write may fit after a larger one failed
		acknowledged += enqueueUntilError(t, s)
	}
	if n := count(t, s); n != acknowledged || n == 0 {
		t.Errorf("%d are stored, %d were acknowledged", n, acknowledged)
	}
	checkCounts(t, s)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := s.Writable(t.Context()); err != nil {
		t.Errorf("with room again: %v", err)
	}
	if _, _, err := s.Enqueue(t.Context(), sample("ann"), nil, execution.QueueLimits{}); err != nil {
		t.Errorf("with room again: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if n := count(t, s); n != acknowledged+1 {
		t.Errorf("after a restart %d are stored, %d were acknowledged", n, acknowledged+1)
	}
	checkIntegrity(t, s)
}

const traceeWork = "BOOMERANG_TEST_TRACEE_WORK"

// TestTracee is not a test: it is the process whose system calls TestClaimsAreNotSynced counts.
func TestTracee(t *testing.T) {
	work := os.Getenv(traceeWork)
	if work == "" {
		return
	}
	s := open(t, t.TempDir())
	fill(t, s, 1, 1)
	for range 50 {
		var err error
		switch work {
		case "claims":
			var claims []execution.Execution
			if claims, err = s.Claim(t.Context(), 1, execution.ClaimLimits{}); err == nil {
				err = s.Release(t.Context(), claims[0].ID)
			}
		case "durable":
			err = s.Writable(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestClaimsAreNotSynced(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil && os.Getenv("REQUIRE_DOCKER") != "1" {
		t.Skip("strace is not installed")
	}
	if err != nil {
		t.Fatal(err)
	}
	syncs := func(work string) int {
		trace := filepath.Join(t.TempDir(), "trace")
		run := exec.CommandContext(t.Context(), strace, "-f", "-e", "trace=fsync,fdatasync,sync_file_range", "-o",
			trace,
			os.Args[0], "-test.run=^TestTracee$")
		run.Env = append(os.Environ(), traceeWork+"="+work)
		if out, err := run.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		calls, err := os.ReadFile(trace)
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Count(calls, []byte("sync(")) + bytes.Count(calls, []byte("sync_file_range("))
	}
	idle := syncs("nothing")
	for work, want := range map[string]int{"claims": 0, "durable": 50} {
		got := syncs(work) - idle
		if got != want {
			t.Errorf("%s: got %d syncs, want %d", work, got, want)
		}
		t.Log(fmt.Sprint(work, ": ", got, " syncs for 50 rounds; opening, one execution and closing: ", idle))
	}
}
