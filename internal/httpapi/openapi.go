package httpapi

import (
	_ "embed" // the description of the API
	"net/http"
	"strconv"

	"boomerang/internal/auth"
)

// OpenAPI is openapi.yaml, which describes the routes of all front doors, with examples. Tests compare it with the
// routes and with real answers.
//
//go:embed openapi.yaml
var OpenAPI []byte

func (a *api) handleDescription(w http.ResponseWriter, _ *http.Request, _ auth.Principal) error {
	w.Header().Set("Content-Type", "application/yaml") // RFC 9512
	w.Header().Set("Content-Length", strconv.Itoa(len(OpenAPI)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(OpenAPI) // an error here means that the client has gone
	return nil
}
