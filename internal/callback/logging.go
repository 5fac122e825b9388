package callback

import (
	"net/url"

	"github.com/sirupsen/logrus"

	"boomerang/internal/execution"
)

// logAttempt writes the one line of an attempt: the host of the URL and nothing more of it.
func logAttempt(log *logrus.Entry, d execution.Delivery, a execution.Attempt, n next, cause error) {
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
