package dispatch

import (
	"encoding/json"
	"errors"
	"fmt"

	"boomerang/internal/execution"
	"boomerang/internal/journal"
	"boomerang/internal/language"
	"boomerang/internal/sandbox"
)

// errNetwork says that the language does not have the network that the execution asks for, because the catalogue
// changed after the submission.
var errNetwork = errors.New("the language does not have this network")

// plan decrypts the execution and has its language translate it into a container spec and a job.
func (d *Dispatcher) plan(r *run) (sandbox.Spec, journal.Job, error) {
	e := r.execution
	if r.languageErr != nil {
		return sandbox.Spec{}, journal.Job{}, fmt.Errorf("find language: %w", r.languageErr)
	}
	if _, ok := r.language.On(e.Options.Network); !ok {
		return sandbox.Spec{}, journal.Job{}, fmt.Errorf("%q: %w", e.Options.Network, errNetwork)
	}
	code, err := d.Unsealer.Unseal(e.ID, execution.FieldCode, e.Code)
	if err != nil {
		return sandbox.Spec{}, journal.Job{}, fmt.Errorf("unseal code: %w", err)
	}
	var env map[string]string
	if err := d.unseal(e.ID, execution.FieldEnv, e.Env, &env); err != nil {
		return sandbox.Spec{}, journal.Job{}, err
	}
	var input execution.Input
	if err := d.unseal(e.ID, execution.FieldInput, e.Input, &input); err != nil {
		return sandbox.Spec{}, journal.Job{}, err
	}
	var limits *execution.WorkspaceLimits
	if r.workspace != nil {
		limits = &r.workspace.limits
	}
	spec, job := language.Plan(r.language, language.Request{
		Execution: string(e.ID), Code: string(code), Input: input, Env: env, WorkingDir: e.WorkingDir,
		Timeout: e.Timeout, Nonce: journal.NewNonce(), Limits: e.Options.Limits, Network: e.Options.Network,
		Artifacts: e.Options.Artifacts, Workspace: limits,
	})
	if err := job.Validate(); err != nil { // the init would refuse the job on every attempt
		return sandbox.Spec{}, journal.Job{}, fmt.Errorf("make job: %w", err)
	}
	return spec, job, nil
}

// unseal decodes the JSON of an encrypted field into v. An empty field leaves v unchanged.
func (d *Dispatcher) unseal(id execution.ID, field string, sealed execution.Sealed, v any) error {
	text, err := d.Unsealer.Unseal(id, field, sealed)
	if err != nil {
		return fmt.Errorf("unseal %s: %w", field, err)
	}
	if len(text) == 0 {
		return nil
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("decode %s: %w", field, err)
	}
	return nil
}
