package httpapi

import (
	_ "embed" // the description of the API
	"net/http"
	"strconv"
)

// openAPI describes every route, with examples. Tests hold it against the router and against real answers.
//
//go:embed openapi.yaml
var openAPI []byte

func (a *api) openAPI(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/yaml") // RFC 9512
	w.Header().Set("Content-Length", strconv.Itoa(len(openAPI)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(openAPI) // an error here means that the client has gone
	return nil
}
