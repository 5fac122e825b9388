//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"

	"boomerang/internal/config"
)

// BenchmarkPrintOne measures the price of print(1): a bare process, the same hardened container by raw calls to the
// Engine API, and the whole way from submission to callback; one after another in each round, so that all three meet
// the same machine.
func BenchmarkPrintOne(b *testing.B) {
	h := enter(b)
	docker := engine(b)
	model := hardened(h, docker)
	h.callback(h.submit("print(1)")) // what is done once is done now
	interpreter := python(b)
	var bare, raw, whole sample
	for b.Loop() {
		bare.take(func() {
			if out, err := exec.Command(interpreter, "-c", "print(1)").Output(); err != nil || string(out) != "1\n" {
				b.Fatalf("bare: %q, %v", out, err)
			}
		})
		raw.take(func() { rawRun(b, docker, model) })
		whole.take(func() {
			if c := h.callback(h.submit("print(1)")); c.Payload.Stdout != "1\n" {
				b.Fatalf("printed %q", c.Payload.Stdout)
			}
		})
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "\nprint(1), %d rounds\tp50 ms\tp95 ms\tp50 / raw\t\n", len(raw))
	for _, row := range []struct {
		name string
		took sample
	}{{"bare python3", bare}, {"raw Engine API", raw}, {"submit to callback", whole}} {
		fmt.Fprintf(table, "%s\t%.1f\t%.1f\t%.2f\t\n", row.name, row.took.at(50), row.took.at(95), row.took.at(50)/raw.at(50))
	}
	_ = table.Flush()
	b.ReportMetric(whole.at(50), "ms-p50")
	b.ReportMetric(whole.at(95), "ms-p95")
	b.ReportMetric(whole.at(50)/raw.at(50), "ratio-to-raw")
}

// BenchmarkSubmit measures durable submissions through the API by 64 clients; nothing is run.
func BenchmarkSubmit(b *testing.B) {
	h := enter(b, func(c *config.Config) {
		c.Docker.Host = "unix:///nonexistent/docker.sock"
		c.Admission.Queue.Total, c.Admission.Queue.PerSubject = 0, 0
	})
	http.DefaultTransport.(*http.Transport).MaxIdleConnsPerHost = 64
	b.SetParallelism(32) // times GOMAXPROCS
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			h.submit("print(1)")
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "submissions/s")
}

// sample is a set of durations.
type sample []time.Duration

func (s *sample) take(f func()) {
	begin := time.Now()
	f()
	*s = append(*s, time.Since(begin))
}

// at is the percentile in milliseconds.
func (s sample) at(percent int) float64 {
	sorted := slices.Sorted(slices.Values(s))
	return float64(sorted[(len(sorted)-1)*percent/100]) / float64(time.Millisecond)
}

// hardened copies the configuration of a container that runs an execution of ours.
func hardened(h *house, docker *client.Client) container.InspectResponse {
	h.t.Helper()
	id := h.submit("print('up', flush=True)\nimport time\ntime.sleep(600)")
	h.running(id, "up")
	model, err := docker.ContainerInspect(h.t.Context(), h.containers()[0].ID)
	if err != nil {
		h.t.Fatal(err)
	}
	h.call(http.MethodPost, "/executions/"+string(id)+"/cancel", nil)
	h.record(id)
	return model
}

// rawRun does by hand what an engine needs for one program: create, start, follow the log, wait, remove.
func rawRun(b *testing.B, docker *client.Client, model container.InspectResponse) {
	b.Helper()
	ctx := context.Background()
	config, host := *model.Config, *model.HostConfig
	config.Labels, config.OpenStdin, config.StdinOnce, config.AttachStdin = nil, false, false, false
	config.Hostname, config.Entrypoint, config.Cmd = "", []string{"python3", "-c", "print(1)"}, nil
	host.Mounts, host.Binds = nil, nil
	created, err := docker.ContainerCreate(ctx, &config, &host, nil, nil, "")
	if err != nil {
		b.Fatal(err)
	}
	ended, failed := docker.ContainerWait(ctx, created.ID, container.WaitConditionNextExit)
	if err := docker.ContainerStart(ctx, created.ID, container.StartOptions{}); err != nil {
		b.Fatal(err)
	}
	logs, err := docker.ContainerLogs(ctx, created.ID, container.LogsOptions{ShowStdout: true, ShowStderr: true, Follow: true})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := stdcopy.StdCopy(io.Discard, io.Discard, logs); err != nil {
		b.Fatal(err)
	}
	_ = logs.Close()
	select {
	case err := <-failed:
		b.Fatal(err)
	case end := <-ended:
		if end.StatusCode != 0 {
			b.Fatalf("raw run ended with %d", end.StatusCode)
		}
	}
	if err := docker.ContainerRemove(ctx, created.ID, container.RemoveOptions{Force: true}); err != nil {
		b.Fatal(err)
	}
}
