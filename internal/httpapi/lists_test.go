package httpapi_test

import (
	"context"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"testing"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/httpapi"
	"boomerang/internal/httpapi/apitest"
	"boomerang/internal/quota"
	"boomerang/internal/server"
)

// asked is what a list was asked for.
type asked struct {
	filter  any
	subject string // whose connections the store uses
}

// executionLists records the filters of lists. Its pages are empty, and more follow.
type executionLists struct {
	apitest.Records

	asked *asked
}

func (l executionLists) List(ctx context.Context, f execution.Filter) (execution.Page, error) {
	*l.asked = asked{f, quota.SubjectOf(ctx)}
	return execution.Page{Next: execution.FirstID(time.Now())}, nil
}

type callbacks = httpapi.Deliveries

// callbackLists is executionLists for callbacks.
type callbackLists struct {
	callbacks

	asked *asked
}

func (l callbackLists) Deliveries(
	ctx context.Context, f execution.DeliveryFilter,
) (execution.DeliveryPage, error) {
	*l.asked = asked{f, quota.SubjectOf(ctx)}
	return execution.DeliveryPage{
		Next: execution.DeliveryCursor{CreatedAt: time.Now(), Execution: execution.FirstID(time.Now())},
	}, nil
}

// TestEveryParameterOfAListIsAFilterOfTheStore goes through the table of routes. The store's own test tries each field
// of a filter against many executions.
func TestEveryParameterOfAListIsAFilterOfTheStore(t *testing.T) {
	recorded := new(asked)
	h := apitest.Open(t, func(_ *server.Config, d *apitest.Deps) {
		d.Records, d.Callbacks = executionLists{d.Records, recorded}, callbackLists{d.Callbacks, recorded}
	})
	now := time.Now()
	values := map[string]map[string]string{
		"/executions": {
			"status": "completed", "language": "python", "batch": string(execution.NewBatchID(now)),
			"cursor": string(execution.NewID(now)),
		},
		"/callbacks": {
			"status": "dead", "destination": "https://receiver.example", "cursor": "1." + string(execution.NewID(now)),
		},
	}
	for path, of := range values {
		of["since"], of["until"] = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
		of["limit"] = "7"
		i := slices.IndexFunc(h.Routes, func(r server.Route) bool {
			return r.Path == path && r.Method == http.MethodGet
		})
		names := h.Routes[i].Parameters.Names()
		query := url.Values{}
		for _, name := range names {
			if of[name] == "" {
				t.Fatalf("%s: the parameter %s has no value in this test", path, name)
			}
			query.Set(name, of[name])
		}
		a := h.Get(path+"?"+query.Encode(), h.Ann)
		a.Expect(t, http.StatusOK, "")
		if answer := a.JSON(t); answer["count"] != 0.0 || answer["next_cursor"] == nil {
			t.Errorf("%s: got %v, want an empty page with a cursor", path, answer)
		}
		filter := reflect.ValueOf(recorded.filter)
		for field, value := range filter.Fields() {
			if value.IsZero() {
				t.Errorf("%s: the field %s of the filter is zero", path, field.Name)
			}
		}
		if want := len(names) + 1; filter.NumField() != want || recorded.subject != "ann" { // and the subject
			t.Errorf("%s: %d fields, read for %q; want %d, read for ann", path, filter.NumField(), recorded.subject,
				want)
		}
	}
}
