//go:build integration

package docker

import (
	"context"
	"io"
	"slices"
	"testing"
	"time"

	"boomerang/internal/sandbox"
	"boomerang/internal/sandbox/sandboxtest"
)

// BenchmarkJob measures what an execution costs where: the making of a berth, the job in it until both ends are
// proven, and its removal. Each metric is a median in milliseconds.
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
		slices.Sort(steps[i])
		b.ReportMetric(float64(steps[i][len(steps[i])/2].Microseconds())/1000, name)
	}
}

func runOnce(ctx context.Context, berth sandbox.Berth) error {
	job := sandboxtest.Program{sandboxtest.Out("1\n")}.Job()
	if err := berth.Assign(ctx, job); err != nil {
		return err
	}
	_, err := berth.Follow(ctx, job.Nonce, io.Discard, io.Discard, nil)
	return err
}
