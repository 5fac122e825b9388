package httpapi

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/gorilla/mux"
)

// document is openapi.yaml, read once.
type document struct {
	doc    *openapi3.T
	router routers.Router
	err    error
}

var readDocument = sync.OnceValue(func() (d document) {
	openapi3filter.RegisterBodyDecoder("text/event-stream", openapi3filter.FileBodyDecoder) // the events are checked one by one
	loader := openapi3.NewLoader()
	if d.doc, d.err = loader.LoadFromData(openAPI); d.err != nil {
		return d
	}
	routed := *d.doc // OpenAPI has no parameter with slashes; the router that finds what describes a request has
	routed.Paths = openapi3.NewPaths()
	for path, item := range d.doc.Paths.Map() {
		routed.Paths.Set(strings.ReplaceAll(path, "{path}", "{path"+anything+"}"), item)
	}
	d.router, d.err = gorillamux.NewRouter(&routed)
	return d
})

func description(t *testing.T) document {
	t.Helper()
	d := readDocument()
	if d.err != nil {
		t.Fatalf("read openapi.yaml: %v", d.err)
	}
	return d
}

// validate holds one answer against the description: its status, headers and body are described, and it has no field
// that is not.
func (d document) validate(t *testing.T, r *http.Request, a answer) {
	t.Helper()
	if a.header.Get("X-Request-Id") == "" {
		t.Errorf("%s %s has no request id", r.Method, r.URL.Path)
	}
	if r.Method == http.MethodHead || a.status == http.StatusNoContent {
		return
	}
	route, params, err := d.router.FindRoute(r)
	if err != nil { // an unknown route: the error has the one shape all the same
		shape := "Error"
		if strings.HasPrefix(r.URL.Path, controlPaths) {
			shape = "ControlError"
		}
		d.visit(t, d.doc.Components.Schemas[shape].Value, a)
		return
	}
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route},
		Status:                 a.status,
		Header:                 a.header,
		Body:                   io.NopCloser(strings.NewReader(a.body)),
		Options:                &openapi3filter.Options{IncludeResponseStatus: true},
	}
	if err := openapi3filter.ValidateResponse(r.Context(), input); err != nil {
		t.Errorf("%s %s: the answer is not what openapi.yaml says: %v", r.Method, r.URL.Path, err)
		return
	}
	media := route.Operation.Responses.Status(a.status).Value.Content.Get(a.header.Get("Content-Type"))
	if a.header.Get("Content-Type") == "application/json" {
		d.visit(t, media.Schema.Value, a)
	}
}

func (d document) visit(t *testing.T, schema *openapi3.Schema, a answer) {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Errorf("the answer %q is not JSON: %v", a.body, err)
		return
	}
	if err := schema.VisitJSON(v); err != nil {
		t.Errorf("the answer is not what openapi.yaml says: %v", err)
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

// parts adds to the schemas those that they are put together of.
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

// free tells whether the schemas say nothing about fields at all.
func free(schemas []*openapi3.Schema) bool {
	return !slices.ContainsFunc(schemas, func(s *openapi3.Schema) bool { return len(s.Properties) > 0 })
}

func TestTheDescriptionIsValidWithItsExamples(t *testing.T) {
	d := description(t)
	if err := d.doc.Validate(t.Context(), openapi3.EnableExamplesValidation()); err != nil {
		t.Error(err)
	}
}

func TestTheDescriptionAndTheRouterKnowTheSameRoutes(t *testing.T) {
	described := map[string]bool{}
	for path, item := range description(t).doc.Paths.Map() {
		for method := range item.Operations() {
			described[method+" "+path] = true
		}
	}
	routed := map[string]bool{}
	err := open(t).api.router.Walk(func(route *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		path := template(route)
		methods, err := route.GetMethods()
		for _, method := range methods {
			if method != http.MethodHead { // comes with every GET
				routed[method+" "+path] = true
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(described, routed) {
		t.Errorf("openapi.yaml has %v;\nthe router has %v", slices.Sorted(maps.Keys(described)), slices.Sorted(maps.Keys(routed)))
	}
}

func TestTheDescriptionIsServed(t *testing.T) {
	a := open(t).get("/openapi.yaml", "")
	if a.status != http.StatusOK || a.body != string(openAPI) {
		t.Errorf("got %d and %d bytes; want the file", a.status, len(a.body))
	}
}
