package httpapi

import (
	"testing"

	"boomerang/internal/fault"
)

func TestTheTypeThatAFieldOfABatchMustHaveIsSaid(t *testing.T) {
	for body, want := range map[string]string{
		`{"executions":{}}`:                       "executions must be a list of objects, not an object.",
		`{"executions":[{},"x"]}`:                 "executions[1] must be an object, not a string.",
		`{"executions":[{"args":[1]}]}`:           "executions[0].args[0] must be a string, not a number.",
		`{"executions":[{"limits":{"cpus":[]}}]}`: "executions[0].limits.cpus must be a number, not a list.",
	} {
		if _, err := decodeBatch([]byte(body)); fault.Of(err).Sentence != want {
			t.Errorf("%s:\n got %v\nwant %s", body, err, want)
		}
	}
}
