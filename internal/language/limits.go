package language

import (
	"cmp"

	"boomerang/internal/execution"
	"boomerang/internal/sandbox"
)

// Most are the largest limits that one execution may ask for: where Max says nothing, the language's own.
func (l Language) Most() execution.Limits {
	return execution.Limits{
		Memory:    cmp.Or(l.Max.Memory, l.Limits.Memory),
		CPUs:      cmp.Or(l.Max.CPUs, l.Limits.CPUs),
		PIDs:      cmp.Or(l.Max.PIDs, l.Limits.PIDs),
		Output:    cmp.Or(l.Max.Output, l.Limits.Output),
		Workspace: cmp.Or(l.Max.Workspace, l.Limits.Workspace),
		Artifacts: cmp.Or(l.Max.Artifacts, l.Limits.Artifacts),
	}
}

// Bound lays what an execution asks for over the language's limits. What is more than Most, because the catalogue has
// changed since, is cut down to that.
func (l Language) Bound(asked execution.Limits) sandbox.Limits {
	limits, most := l.Limits, l.Most()
	limits.Memory = min(cmp.Or(asked.Memory, limits.Memory), most.Memory)
	limits.CPUs = min(cmp.Or(asked.CPUs, limits.CPUs), most.CPUs)
	limits.PIDs = min(cmp.Or(asked.PIDs, limits.PIDs), most.PIDs)
	limits.Output = min(cmp.Or(asked.Output, limits.Output), most.Output)
	limits.Workspace = min(cmp.Or(asked.Workspace, limits.Workspace), most.Workspace)
	limits.Artifacts = min(cmp.Or(asked.Artifacts, limits.Artifacts), most.Artifacts)
	return limits
}
