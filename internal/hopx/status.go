package hopx

import (
	"fmt"
	"net/http"
	"runtime"
	"time"

	"boomerang/internal/auth"
	"boomerang/internal/server"
	"boomerang/internal/wire"
)

// snapshot has the counts of one subject. It shows nothing of the machine or of other subjects.
type snapshot struct {
	UptimeSeconds    float64      `json:"uptime_seconds"`
	ActiveExecutions int          `json:"active_executions"`
	QueuedExecutions int          `json:"queued_executions"`
	TotalExecutions  int          `json:"total_executions"` // in the record
	Process          processCount `json:"process"`
	System           system       `json:"system"`
	Cache            cache        `json:"cache"`
	Timestamp        time.Time    `json:"timestamp"`
}

type processCount struct {
	Count   int `json:"count"`
	Running int `json:"running"`
	Queued  int `json:"queued"`
}

// system has the fields that clients look into, all null: no machine belongs to the subject.
type system struct {
	CPU    usagePercent `json:"cpu"`
	Memory usagePercent `json:"memory"`
	Disk   usagePercent `json:"disk"`
}

type usagePercent struct {
	UsagePercent *float64 `json:"usage_percent"`
}

// cache is always empty: programs share no cache.
type cache struct {
	Size int `json:"size"`
}

func (h *door) handleSnapshot(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	share, err := h.Records.Share(r.Context(), caller.Subject)
	if err != nil {
		return fmt.Errorf("count executions: %w", err)
	}
	return server.Respond(w, http.StatusOK, snapshot{
		UptimeSeconds:    h.uptime().Seconds(),
		ActiveExecutions: share.Running,
		QueuedExecutions: share.Queued,
		TotalExecutions:  share.Kept,
		Process: processCount{
			Count: share.Running + share.Queued, Running: share.Running,
			Queued: share.Queued,
		},
		Timestamp: wire.Time(h.Now()),
	})
}

// agent is the answer of /info.
type agent struct {
	Agent        string    `json:"agent"`
	AgentVersion string    `json:"agent_version"`
	OS           string    `json:"os"`
	Arch         string    `json:"arch"`
	GoVersion    string    `json:"go_version"`
	StartTime    time.Time `json:"start_time"`
	Uptime       float64   `json:"uptime"` // seconds
	Features     features  `json:"features"`
}

func (h *door) handleInfo(w http.ResponseWriter, _ *http.Request, _ auth.Principal) error {
	return server.Respond(w, http.StatusOK, agent{
		Agent: agentName, AgentVersion: h.Version, OS: runtime.GOOS, Arch: runtime.GOARCH, GoVersion: runtime.Version(),
		StartTime: wire.Time(h.started), Uptime: h.uptime().Seconds(), Features: h.features(),
	})
}

func (h *door) uptime() time.Duration { return h.Now().Sub(h.started).Truncate(time.Second) }

// health is the answer of /health, which the SDKs check.
type health struct {
	Status    string   `json:"status"`
	Agent     string   `json:"agent"`
	Version   string   `json:"version"`
	Uptime    string   `json:"uptime"` // like 2h34m12s
	GoVersion string   `json:"go_version"`
	Features  features `json:"features"`
}

type features struct {
	CodeExecution      bool     `json:"code_execution"`
	BackgroundJobs     bool     `json:"background_jobs"`
	WebsocketStreaming bool     `json:"websocket_streaming"`
	Languages          []string `json:"languages"`
}

const agentName = "boomerang"

func (h *door) handleHealth(w http.ResponseWriter, _ *http.Request, _ auth.Principal) error {
	return server.Respond(w, http.StatusOK, health{
		Status: "healthy", Agent: agentName, Version: h.Version, GoVersion: runtime.Version(),
		Uptime: h.uptime().String(), Features: h.features(),
	})
}

func (h *door) features() features {
	names := []string{}
	for _, l := range h.Languages.Languages() {
		names = append(names, l.Name)
	}
	return features{CodeExecution: true, BackgroundJobs: true, WebsocketStreaming: true, Languages: names}
}
