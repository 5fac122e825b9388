//go:build integration

package docker

import (
	"context"
	"io"
	"slices"
	"testing"
	"time"

	"boomerang/internal/journal"
	"boomerang/internal/sandbox"
	"boomerang/internal/sandbox/sandboxtest"
)

// BenchmarkJob measures the parts of an execution: making a container, running a job until both ends are proven, and
// removing the container. Each metric is a median in milliseconds.
func BenchmarkJob(b *testing.B) {
	if theKit == nil {
		b.Skip("no Docker engine")
	}
	k := theKit
	config := Defaults()
	config.InitDir = k.initDir
	d, err := New(config, k.node, 1, quiet())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = d.Close() })
	spec := k.spec()
	var steps [3][]time.Duration
	for b.Loop() {
		began := time.Now()
		step := func(i int) {
			steps[i] = append(steps[i], time.Since(began))
			began = time.Now()
		}
		made, err := d.Prepare(b.Context(), spec)
		if err != nil {
			b.Fatal(err)
		}
		step(0)
		if err := runOnce(b.Context(), made); err != nil {
			b.Error(err)
		}
		step(1)
		if err := made.Remove(context.WithoutCancel(b.Context())); err != nil {
			b.Fatal(err)
		}
		step(2)
	}
	for i, name := range []string{"prepare-ms", "job-ms", "remove-ms"} {
		b.ReportMetric(median(steps[i]), name)
	}
}

// median returns the median in milliseconds.
func median(d []time.Duration) float64 {
	slices.Sort(d)
	return float64(d[len(d)/2].Microseconds()) / 1000
}

// BenchmarkWarmJob measures how much time a rehearsal saves a job whose container has waited for a second, and how much
// it costs a job that arrives at once. Each metric is a median in milliseconds, from Assign until both ends are proven.
// A round takes each way once, so compare metrics within one run. Use -benchtime=20x.
func BenchmarkWarmJob(b *testing.B) {
	if theKit == nil {
		b.Skip("no Docker engine")
	}
	config := Defaults()
	config.InitDir = theKit.initDir
	config.Pull = PullNever
	d, err := New(config, theKit.node, 1, quiet())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = d.Close() })
	for _, l := range []struct {
		name, code      string
		argv, rehearsal []string
	}{
		{"python", "print(1)", []string{"python3", "main"}, []string{"python3", "-c", ""}},
		{"javascript", "console.log(1)", []string{"node", "main"}, []string{"node", "-e", ""}},
		{"bash", "echo 1", []string{"bash", "main"}, []string{"bash", "-c", ""}},
		{
			"go",
			`package main; import "fmt"; func main() { fmt.Println(1) }`,
			[]string{"run-go", "main.go"},
			[]string{
				"sh", "-c",
				`cd /tmp && echo "package main; import \"fmt\"; func main() { fmt.Print() }" >r.go && run-go r.go`,
			},
		},
	} {
		b.Run(l.name, func(b *testing.B) {
			spec := theKit.spec()
			spec.Image = "boomerang/" + l.name + ":latest"
			spec.Limits.Memory, spec.Limits.PIDs = 512<<20, 128
			job := sandboxtest.Program{}.Job()
			job.Argv, job.File, job.Code = l.argv, l.argv[1], l.code
			took := map[string][]time.Duration{}
			for b.Loop() {
				for name, rehearsal := range map[string][]string{"plain": nil, "rehearsed": l.rehearsal} {
					spec.Rehearsal = rehearsal
					took[name+"-at-once-ms"] = append(took[name+"-at-once-ms"], timeJob(b, d, spec, job, 0))
					took[name+"-ms"] = append(took[name+"-ms"], timeJob(b, d, spec, job, time.Second))
				}
			}
			for name, all := range took {
				b.ReportMetric(median(all), name)
			}
		})
	}
}

// timeJob times a job in a waiting container.
func timeJob(b *testing.B, d *Docker, spec sandbox.Spec, job journal.Job, wait time.Duration) time.Duration {
	b.Helper()
	made, err := d.Prepare(b.Context(), spec)
	if err != nil {
		b.Fatal(err)
	}
	if wait > 0 {
		<-time.After(wait)
	}
	began := time.Now()
	job.Nonce = journal.NewNonce()
	var outcome sandbox.Outcome
	if err = made.Assign(b.Context(), job); err == nil {
		outcome, err = made.Follow(b.Context(), job.Nonce, io.Discard, io.Discard, nil)
	}
	took := time.Since(began)
	if err != nil || !outcome.Proven() || outcome.Stdout.ExitCode != 0 || outcome.Stdout.Bytes != int64(len("1\n")) {
		b.Errorf("%+v, %v, want a program that has printed its line", outcome, err)
	}
	if err := made.Remove(context.WithoutCancel(b.Context())); err != nil {
		b.Fatal(err)
	}
	return took
}

func runOnce(ctx context.Context, container sandbox.Container) error {
	job := sandboxtest.Program{sandboxtest.Out("1\n")}.Job()
	if err := container.Assign(ctx, job); err != nil {
		return err
	}
	_, err := container.Follow(ctx, job.Nonce, io.Discard, io.Discard, nil)
	return err
}
