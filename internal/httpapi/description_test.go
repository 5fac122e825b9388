package httpapi_test

import (
	"maps"
	"net/http"
	"slices"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"boomerang/internal/httpapi"
	"boomerang/internal/httpapi/apitest"
)

func TestTheDescriptionIsValidWithItsExamples(t *testing.T) {
	d := apitest.Description(t)
	if err := d.Doc.Validate(t.Context(), openapi3.EnableExamplesValidation()); err != nil {
		t.Error(err)
	}
}

func TestTheDescriptionAndTheRouterKnowTheSameRoutes(t *testing.T) {
	described := map[string]bool{}
	for path, item := range apitest.Description(t).Doc.Paths.Map() {
		for method := range item.Operations() {
			described[method+" "+path] = true
		}
	}
	routed := map[string]bool{}
	for _, r := range apitest.Open(t).Routes {
		routed[r.Method+" "+r.Template()] = true
	}
	if !maps.Equal(described, routed) {
		t.Errorf("openapi.yaml has %v;\nthe router has %v", slices.Sorted(maps.Keys(described)),
			slices.Sorted(maps.Keys(routed)))
	}
}

func TestTheDescriptionIsServed(t *testing.T) {
	a := apitest.Open(t).Get("/openapi.yaml", "")
	if a.Status != http.StatusOK || a.Body != string(httpapi.OpenAPI) {
		t.Errorf("got %d and %d bytes; want the file", a.Status, len(a.Body))
	}
}
