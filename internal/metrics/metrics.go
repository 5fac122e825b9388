// Package metrics counts events and serves them on a listener of its own: /metrics in Prometheus' text format, and
// /debug/pprof. The listener needs no token.
//
// It does not know its callers: internal/app counts the calls between packages.
package metrics

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"boomerang/internal/execution"
)

// Config is the configuration of the listener.
type Config struct {
	// Addr is the host:port to listen on; port 0 means a free port. Without an Addr there is no listener.
	Addr string `yaml:"addr"`
}

// Defaults has no listener.
func Defaults() Config { return Config{} }

// Validate returns an error that names the wrong key.
func (c Config) Validate() error {
	if c.Addr == "" {
		return nil
	}
	if _, _, err := net.SplitHostPort(c.Addr); err != nil {
		return fmt.Errorf("addr must be host:port: %w", err)
	}
	return nil
}

// Facts are the values that each scrape reads.
type Facts struct {
	Version string
	Slots   int // number of executions that run at the same time
	// Tally counts executions and deliveries by state.
	Tally func(ctx context.Context) (execution.Tally, error)
	// Waiting returns the number of warm containers by language; nil in the API role.
	Waiting func() map[string]int
}

// Metrics counts events. Its methods may be called at the same time.
type Metrics struct {
	registry   *prometheus.Registry
	executions *prometheus.CounterVec
	callbacks  *prometheus.CounterVec
	containers *prometheus.CounterVec
	requests   *prometheus.CounterVec
	seconds    *prometheus.HistogramVec
}

// New makes the counters. They start at 0.
func New(f Facts) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		executions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "boomerang_executions_total", Help: "Executions that ended, by state and reason.",
		}, []string{"state", "reason"}),
		callbacks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "boomerang_callback_attempts_total", Help: "Attempts to deliver a callback, by outcome.",
		}, []string{"outcome"}),
		containers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "boomerang_containers_started_total",
			Help: "Containers given to executions, by language, and whether they had waited (warm) or not (cold).",
		}, []string{"language", "kind"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "boomerang_http_requests_total", Help: "HTTP requests, by method, route and status.",
		}, []string{"method", "route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "boomerang_http_request_seconds",
			Help:    "How long HTTP requests took, by route. ?wait= waits on purpose.",
			Buckets: []float64{.001, .005, .01, .05, .1, .5, 1, 5, 30},
		}, []string{"route"}),
	}
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "boomerang_build_info", Help: "Always 1; the version is in the label.",
	}, []string{"version"})
	build.WithLabelValues(f.Version).Set(1)
	m.registry.MustRegister(m.executions, m.callbacks, m.containers, m.requests, m.seconds, build, tally{f},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Ended counts an ended execution.
func (m *Metrics) Ended(state execution.State, reason execution.Reason) {
	m.executions.WithLabelValues(string(state), string(reason)).Inc()
}

// Taken counts a container that was handed out to an execution.
func (m *Metrics) Taken(language string, warm bool) {
	kind := "cold"
	if warm {
		kind = "warm"
	}
	m.containers.WithLabelValues(language, kind).Inc()
}

// Attempted counts an attempt to deliver a callback.
func (m *Metrics) Attempted(outcome execution.AttemptOutcome) {
	m.callbacks.WithLabelValues(string(outcome)).Inc()
}

// Answered counts an HTTP request. The number of routes and methods must be small. Status 0 means that the client
// disconnected.
func (m *Metrics) Answered(method, route string, status int, took time.Duration) {
	m.requests.WithLabelValues(method, route, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(route).Observe(took.Seconds())
}

// profileTime bounds an answer. A CPU profile takes as many seconds as the request asks for.
const profileTime = 5 * time.Minute

// Server returns a server for metrics and profiles.
func (m *Metrics) Server() *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: 2, Timeout: scrapeTimeout, ErrorHandling: promhttp.ContinueOnError,
	}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      profileTime,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
}
