package hopx

import (
	"net/http"
	"time"

	"boomerang/internal/admission"
	"boomerang/internal/auth"
	"boomerang/internal/fault"
	"boomerang/internal/server"
	"boomerang/internal/wire"
)

// environmentRoutes answers requests for the default environment of a subject.
type environmentRoutes struct{ Deps }

// environment is the answer of every route below /env.
type environment struct {
	EnvVars   map[string]string `json:"env_vars"`
	Count     int               `json:"count"`
	Timestamp time.Time         `json:"timestamp"`
}

func (h *environmentRoutes) handleGetEnv(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	env, err := h.Environments.Environment(r.Context(), caller.Subject)
	if err != nil {
		return err
	}
	return h.showEnv(w, env)
}

func (h *environmentRoutes) handlePutEnv(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	return h.setEnv(w, r, caller, false)
}

func (h *environmentRoutes) handlePatchEnv(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	return h.setEnv(w, r, caller, true)
}

// setEnv merges by the method of the request and ignores the field merge, as HopX's page describes.
func (h *environmentRoutes) setEnv(w http.ResponseWriter, r *http.Request, caller auth.Principal, merge bool) error {
	o, err := server.ReadObject(w, r)
	if err != nil {
		return err
	}
	asked := o.Texts("env_vars")
	if o.Err() != nil {
		return o.Err()
	}
	if asked == nil {
		return fault.New(fault.MissingParameter, "env_vars is required.").Field("env_vars")
	}
	env, err := h.Environments.SetEnvironment(r.Context(), caller.Subject, asked, merge)
	if err != nil {
		return err
	}
	return h.showEnv(w, env)
}

func (h *environmentRoutes) handleDeleteEnv(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	env, err := h.Environments.SetEnvironment(r.Context(), caller.Subject, nil, false)
	if err != nil {
		return err
	}
	return h.showEnv(w, env)
}

func (h *environmentRoutes) showEnv(w http.ResponseWriter, env map[string]string) error {
	return server.Respond(w, http.StatusOK, environment{
		EnvVars: admission.Masked(env), Count: len(env),
		Timestamp: wire.Time(h.Now()),
	})
}
