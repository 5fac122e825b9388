package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// scrapeTimeout bounds one scrape.
const scrapeTimeout = 10 * time.Second

// tally is a collector of the values in Facts. A scrape leaves out values that cannot be read.
type tally struct{ facts Facts }

var (
	slots = prometheus.NewDesc("boomerang_slots", "Executions that can run at the same time.", nil, nil)
	queue = prometheus.NewDesc("boomerang_executions_queued", "Executions that wait.", nil, nil)
	runs  = prometheus.NewDesc("boomerang_executions_running", "Executions that run.", nil, nil)
	ready = prometheus.NewDesc("boomerang_warm_containers",
		"Containers that wait for an execution.", []string{"language"}, nil)
	owed = prometheus.NewDesc("boomerang_deliveries", "Callbacks that are not delivered: pending, or dead and kept.",
		[]string{"state"}, nil)
)

// Describe implements prometheus.Collector.
func (t tally) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{slots, queue, runs, ready, owed} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (t tally) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, n int, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	gauge(slots, t.facts.Slots)
	if t.facts.Waiting != nil {
		for language, n := range t.facts.Waiting() {
			gauge(ready, n, language)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	n, err := t.facts.Tally(ctx)
	if err != nil {
		return
	}
	gauge(queue, n.Queued)
	gauge(runs, n.Running)
	gauge(owed, n.Pending, "pending")
	gauge(owed, n.Dead, "dead")
}
