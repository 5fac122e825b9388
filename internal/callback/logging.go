package callback

import (
	"net/url"

	"github.com/sirupsen/logrus"

	"boomerang/internal/execution"
)

// logAttempt writes the one log line of an attempt. It contains the host of the URL, but never the path or the query.
func logAttempt(log *logrus.Entry, d execution.Delivery, a execution.Attempt, n nextStep, cause error) {
	fields := logrus.Fields{
		"execution_id": a.Execution,
		"attempt":      a.Number,
		"outcome":      a.Outcome,
		"status":       a.StatusCode,
		"duration_ms":  a.Duration.Milliseconds(),
		"host":         "",
		"state":        n.state,
	}
	if u, err := url.Parse(d.Callback.URL); err == nil {
		fields["host"] = u.Host
	}
	if n.reason != "" {
		fields["reason"] = n.reason
	}
	log = log.WithFields(fields)
	if cause != nil {
		log = log.WithError(cause)
	}
	log.Info("callback attempt")
}
