package callback

import (
	"testing"
	"time"

	"boomerang/internal/execution"
)

func TestASummaryNamesTheStateOfEachExecution(t *testing.T) {
	first, second, third := completed(), completed(), completed()
	second.State, second.Reason, second.ExitCode = execution.Failed, execution.Exited, new(1)
	second.Error = "The program ended with exit code 1."
	second.CompletedAt = anEnd.Add(time.Second)
	third.State, third.Reason, third.ExitCode = execution.Cancelled, execution.WasCancelled, nil
	third.Error = "The execution was cancelled before it started."
	third.StartedAt, third.Duration = time.Time{}, 0
	golden(t, "summary.json", Summary("batch_0dhk5m8t1c0pr9v2j6n4b8a3fg", []execution.Execution{
		{
			ID:       testID,
			Language: "python",
			Name:     "<one>",
			Options:  execution.Options{Metadata: map[string]string{"a": "1"}},
			Result:   &first,
		},
		{ID: "exec_0dhk5m8t1c0pr9v2j6n4b8a3fh", Language: "bash", Result: &second},
		{ID: "exec_0dhk5m8t1c0pr9v2j6n4b8a3fi", Language: "bash", Result: &third},
	}))
}
