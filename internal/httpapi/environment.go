package httpapi

import (
	"net/http"
	"time"

	"boomerang/internal/admission"
	"boomerang/internal/auth"
	"boomerang/internal/fault"
	"boomerang/internal/wire"
)

// environment is what every answer about it shows.
type environment struct {
	EnvVars   map[string]string `json:"env_vars"`
	Count     int               `json:"count"`
	Timestamp time.Time         `json:"timestamp"`
}

func (a *api) getEnv(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	env, err := a.Admission.Environment(r.Context(), p.Subject)
	if err != nil {
		return err
	}
	return a.showEnv(w, env)
}

func (a *api) putEnv(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	return a.setEnv(w, r, p, false)
}

func (a *api) patchEnv(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	return a.setEnv(w, r, p, true)
}

// setEnv goes by the method, not by the field merge, as the page's server does.
func (a *api) setEnv(w http.ResponseWriter, r *http.Request, p auth.Principal, merge bool) error {
	o, err := a.readObject(w, r)
	if err != nil {
		return err
	}
	asked := o.texts("env_vars")
	if o.err != nil {
		return o.err
	}
	if asked == nil {
		return fault.New(fault.MissingParameter, "env_vars is required.").Field("env_vars")
	}
	env, err := a.Admission.SetEnvironment(r.Context(), p.Subject, asked, merge)
	if err != nil {
		return err
	}
	return a.showEnv(w, env)
}

func (a *api) deleteEnv(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	env, err := a.Admission.SetEnvironment(r.Context(), p.Subject, nil, false)
	if err != nil {
		return err
	}
	return a.showEnv(w, env)
}

func (a *api) showEnv(w http.ResponseWriter, env map[string]string) error {
	return respond(w, http.StatusOK, environment{EnvVars: admission.Masked(env), Count: len(env), Timestamp: wire.Time(a.Now())})
}

// readObject reads a body that is one JSON object.
func (a *api) readObject(w http.ResponseWriter, r *http.Request) (*object, error) {
	body, err := a.readJSON(w, r)
	if err != nil {
		return nil, err
	}
	o, err := objectOf("body", body)
	return &o, err
}
