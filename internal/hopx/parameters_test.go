package hopx_test

import (
	"net/http"
	"strings"
	"testing"

	"boomerang/internal/httpapi/apitest"
)

// HopX's clients may send unknown parameters.
func TestARouteOfHopXIgnoresParametersThatItDoesNotHave(t *testing.T) {
	h, _ := apitest.Furnished(t)
	for _, path := range []string{
		"/execute/processes", "/env", "/info", "/metrics/snapshot", "/health",
		"/files/list?path=/workspace",
	} {
		joint := "?"
		if strings.Contains(path, "?") {
			joint = "&"
		}
		if a := h.Get(path+joint+"Limit=1&Limit=2&other", h.Ann); a.Status != http.StatusOK {
			t.Errorf("%s: got %d %s", path, a.Status, a.Body)
		}
	}
	for _, path := range []string{"/execute/async", "/execute/background"} {
		if a := h.Call(http.MethodPost, path+"?v=2", h.Ann, apitest.Hello, apitest.AsJSON); a.Status != http.StatusOK {
			t.Errorf("%s: got %d %s", path, a.Status, a.Body)
		}
	}
}
