package httpapi

import (
	"fmt"
	"net/http"
	"runtime"
	"time"

	"boomerang/internal/auth"
	"boomerang/internal/wire"
)

// snapshot is how it goes, for one subject: of the machine and of the others it tells nothing.
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

// system has the fields that clients look into, all of them null: there is no machine of the subject's.
type system struct {
	CPU    usagePercent `json:"cpu"`
	Memory usagePercent `json:"memory"`
	Disk   usagePercent `json:"disk"`
}

type usagePercent struct {
	UsagePercent *float64 `json:"usage_percent"`
}

// cache is empty: nothing is kept between two programs.
type cache struct {
	Size int `json:"size"`
}

func (a *api) snapshot(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	share, err := a.Records.Share(r.Context(), p.Subject)
	if err != nil {
		return fmt.Errorf("count executions: %w", err)
	}
	return respond(w, http.StatusOK, snapshot{
		UptimeSeconds:    a.uptime().Seconds(),
		ActiveExecutions: share.Running,
		QueuedExecutions: share.Queued,
		TotalExecutions:  share.Kept,
		Process:          processCount{Count: share.Running + share.Queued, Running: share.Running, Queued: share.Queued},
		Timestamp:        wire.Time(a.Now()),
	})
}

// agent is what clients ask the server for beside its health.
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

func (a *api) info(w http.ResponseWriter, _ *http.Request, _ auth.Principal) error {
	return respond(w, http.StatusOK, agent{
		Agent: agentName, AgentVersion: a.Version, OS: runtime.GOOS, Arch: runtime.GOARCH, GoVersion: runtime.Version(),
		StartTime: wire.Time(a.started), Uptime: a.uptime().Seconds(), Features: a.features(),
	})
}

func (a *api) uptime() time.Duration { return a.Now().Sub(a.started).Truncate(time.Second) }
