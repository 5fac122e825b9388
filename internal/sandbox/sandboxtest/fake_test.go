package sandboxtest_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"boomerang/internal/journal"
	"boomerang/internal/sandbox"
	"boomerang/internal/sandbox/sandboxtest"
)

func TestTheFakeKeepsTheContract(t *testing.T) {
	fake := sandboxtest.New(sandboxtest.Script{Images: []string{"test"}})
	sandboxtest.Contract(t, sandboxtest.Harness{
		Open:  func(*testing.T) sandbox.Sandbox { return fake },
		Image: "test",
	})
}

func TestTheFakeRunsOnTheTimeOfABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := prepare(t, sandboxtest.New(sandboxtest.Script{}))
		job := sandboxtest.Program{sandboxtest.Sleep(24 * time.Hour), sandboxtest.Out("next day")}.Job()
		job.Timeout = 25 * time.Hour
		if err := b.Assign(t.Context(), job); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		var stdout bytes.Buffer
		outcome, err := b.Follow(t.Context(), job.Nonce, &stdout, io.Discard, nil)
		if err != nil || !outcome.Proven() || stdout.String() != "next day" {
			t.Errorf("follow = %+v, %v with %q, want a proof and %q", outcome, err, stdout.String(), "next day")
		}
		if got := time.Since(began); got != 24*time.Hour {
			t.Errorf("it took %s, want 24h", got)
		}
	})
}

func TestTheFakeFollowsItsScript(t *testing.T) {
	sick := errors.New("sick")
	script := sandboxtest.Script{
		Epoch: 3, Prepare: []error{sick, nil}, Assign: []error{sick}, Follow: []error{sick}, Unproven: true, OOM: true,
	}
	fake := sandboxtest.New(script)
	if _, err := fake.Prepare(t.Context(), sandbox.Spec{}); !errors.Is(err, sick) {
		t.Errorf("first prepare = %v, want %v", err, sick)
	}
	b := prepare(t, fake)
	job := sandboxtest.Program{}.Job()
	if err := b.Assign(t.Context(), job); !errors.Is(err, sick) {
		t.Errorf("assign = %v, want %v", err, sick)
	}
	if _, err := b.Follow(t.Context(), job.Nonce, io.Discard, io.Discard, nil); !errors.Is(err, sick) {
		t.Errorf("first follow = %v, want %v", err, sick)
	}
	outcome, err := b.Follow(t.Context(), job.Nonce, io.Discard, io.Discard, nil)
	if err != nil || outcome.Start == nil || outcome.Proven() || !outcome.OOMKilled || outcome.ExitCode != 137 {
		t.Errorf("second follow = %+v, %v, want a start, no proof, killed for memory", outcome, err)
	}
	found, err := fake.Containers(t.Context())
	if err != nil || len(found) != 1 || found[0].Epoch != 3 {
		t.Errorf("containers = %+v, %v, want one of epoch 3", found, err)
	}
}

func TestAProgramSurvivesItsJourney(t *testing.T) {
	want := sandboxtest.Program{
		sandboxtest.Times(3, sandboxtest.Out("\xff\x00")), sandboxtest.Err("e"), sandboxtest.Sleep(time.Second),
		sandboxtest.IgnoreTerm(), sandboxtest.Hang(), sandboxtest.Die(9), sandboxtest.Exit(1),
	}
	got, err := sandboxtest.Read(bytes.NewBufferString(want.Code()))
	if err != nil || got.Code() != want.Code() {
		t.Errorf("read = %v, %v, want %v", got, err, want)
	}
	if job := want.Job(); job.Validate() != nil || len(job.Nonce) != len(journal.NewNonce()) {
		t.Errorf("job = %+v: %v, want a valid one", job, job.Validate())
	}
}

func prepare(t *testing.T, fake *sandboxtest.Fake) sandbox.Container {
	t.Helper()
	b, err := fake.Prepare(t.Context(), sandbox.Spec{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}
