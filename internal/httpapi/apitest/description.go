package apitest

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"boomerang/internal/httpapi"
	"boomerang/internal/server"
)

// Document is openapi.yaml, read once.
type Document struct {
	Doc    *openapi3.T
	router routers.Router
	err    error
}

var read = sync.OnceValue(func() (d Document) {
	// The events are checked one by one
	openapi3filter.RegisterBodyDecoder("text/event-stream", openapi3filter.FileBodyDecoder)
	loader := openapi3.NewLoader()
	if d.Doc, d.err = loader.LoadFromData(httpapi.OpenAPI); d.err != nil {
		return d
	}
	routed := *d.Doc // OpenAPI has no parameter with slashes; the router of this test has
	routed.Paths = openapi3.NewPaths()
	for path, item := range d.Doc.Paths.Map() {
		routed.Paths.Set(strings.ReplaceAll(path, "{path}", "{path"+server.Rest+"}"), item)
	}
	d.router, d.err = gorillamux.NewRouter(&routed)
	return d
})

// Description parses openapi.yaml.
func Description(t *testing.T) Document {
	t.Helper()
	d := read()
	if d.err != nil {
		t.Fatalf("read openapi.yaml: %v", d.err)
	}
	return d
}

// Validate checks that the status, the headers and every field of the body of an answer are in the description.
func (d Document) Validate(t *testing.T, r *http.Request, a Answer) {
	t.Helper()
	if a.Header.Get("X-Request-Id") == "" {
		t.Errorf("%s %s has no request id", r.Method, r.URL.Path)
	}
	if r.Method == http.MethodHead || a.Status == http.StatusNoContent {
		return
	}
	route, params, err := d.router.FindRoute(r)
	if err != nil { // the error of an unknown route has the shape of all errors
		shape := "Error"
		if strings.HasPrefix(r.URL.Path, "/v1/") {
			shape = "ControlError"
		}
		d.Visit(t, d.Doc.Components.Schemas[shape].Value, a)
		return
	}
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route},
		Status:                 a.Status,
		Header:                 a.Header,
		Body:                   io.NopCloser(strings.NewReader(a.Body)),
		Options:                &openapi3filter.Options{IncludeResponseStatus: true},
	}
	if err := openapi3filter.ValidateResponse(r.Context(), input); err != nil {
		t.Errorf("%s %s: the Answer is not what openapi.yaml says: %v", r.Method, r.URL.Path, err)
		return
	}
	media := route.Operation.Responses.Status(a.Status).Value.Content.Get(a.Header.Get("Content-Type"))
	if a.Header.Get("Content-Type") == "application/json" {
		d.Visit(t, media.Schema.Value, a)
	}
}

// Visit checks the body of an answer against a schema.
func (d Document) Visit(t *testing.T, schema *openapi3.Schema, a Answer) {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(a.Body), &v); err != nil {
		t.Errorf("the Answer %q is not JSON: %v", a.Body, err)
		return
	}
	if err := schema.VisitJSON(v); err != nil {
		t.Errorf("the Answer is not what openapi.yaml says: %v", err)
	}
	for _, field := range undescribed("", v, schema) {
		t.Errorf("openapi.yaml does not know the field %s", field)
	}
}

// undescribed lists the fields of v that no part of the schema has.
func undescribed(path string, v any, schemas ...*openapi3.Schema) (fields []string) {
	schemas = parts(schemas)
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			var of []*openapi3.Schema
			for _, s := range schemas {
				if p, ok := s.Properties[name]; ok {
					of = append(of, p.Value)
				}
				if s.AdditionalProperties.Has != nil && *s.AdditionalProperties.Has {
					of = append(of, openapi3.NewSchema())
				}
			}
			if len(of) == 0 && !free(schemas) {
				fields = append(fields, path+"/"+name)
			}
			fields = append(fields, undescribed(path+"/"+name, value, of...)...)
		}
	case []any:
		for _, item := range v {
			for _, s := range schemas {
				if s.Items != nil {
					fields = append(fields, undescribed(path+"/*", item, s.Items.Value)...)
				}
			}
		}
	}
	return fields
}

// parts adds to the schemas their own parts.
func parts(schemas []*openapi3.Schema) (all []*openapi3.Schema) {
	for _, s := range schemas {
		all = append(all, s)
		for _, refs := range []openapi3.SchemaRefs{s.AllOf, s.AnyOf, s.OneOf} {
			for _, ref := range refs {
				all = append(all, parts([]*openapi3.Schema{ref.Value})...)
			}
		}
	}
	return all
}

// free tells whether the schemas describe no fields.
func free(schemas []*openapi3.Schema) bool {
	return !slices.ContainsFunc(schemas, func(s *openapi3.Schema) bool { return len(s.Properties) > 0 })
}
