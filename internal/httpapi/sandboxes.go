package httpapi

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"boomerang/internal/auth"
	"boomerang/internal/fault"
)

// HopX's clients look a sandbox up before they run code in it, with an API key, and run the code with a token that belongs
// to the sandbox. Here a sandbox is only a name: any name leads to the subject of the key, whose executions have a
// container each, and nothing is stored for it.

// apiKeyHeader is where an API key comes.
const apiKeyHeader = "X-API-Key" //nolint:gosec // its name, not a key

// controlPaths is where the control calls are. Their clients read another shape of error.
const controlPaths = "/v1/"

// tokenLife is how long a token of a sandbox is good for. A client whose token has less than an hour left gets another one
// before each call.
const tokenLife = 2 * time.Hour

// sandbox is what the clients read of one. OrganizationID is a whole number that some of them insist on.
type sandbox struct {
	ID             string `json:"id"`
	Status         string `json:"status"`
	PublicHost     string `json:"public_host"` // the URL that code is sent to: this server's
	TemplateName   string `json:"template_name,omitempty"`
	OrganizationID int    `json:"organization_id"`
	*sandboxToken
}

type sandboxToken struct {
	AuthToken      string    `json:"auth_token"`
	TokenExpiresAt time.Time `json:"token_expires_at"` // whole seconds
}

// keyed lets in who has an API key.
func (a *api) keyed(do private) action {
	return func(w http.ResponseWriter, r *http.Request) error {
		key := ""
		if values := r.Header.Values(apiKeyHeader); len(values) > 1 {
			return fault.New(fault.InvalidToken, "There is more than one %s header.", apiKeyHeader)
		} else if len(values) == 1 {
			key = values[0]
		}
		p, err := a.Authenticator.AuthenticateKey(key)
		if err != nil {
			return err
		}
		exchangeOf(r).subject = p.Subject
		if err := a.subjects.take(w.Header(), p.Subject, a.Now()); err != nil {
			return err
		}
		if err := exchangeOf(r).query.check(r, p); err != nil {
			return err
		}
		return do(w, r, p)
	}
}

func (a *api) getSandbox(w http.ResponseWriter, r *http.Request, _ auth.Principal) error {
	id, err := sandboxID(r)
	if err != nil {
		return err
	}
	return respond(w, http.StatusOK, a.sandbox(r, id))
}

// createSandbox makes a name. What is asked for beside it is the operator's to set, per language.
func (a *api) createSandbox(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	o, err := a.readObject(w, r)
	if err != nil {
		return err
	}
	s := a.sandbox(r, "sb-"+strings.ToLower(rand.Text()))
	if s.TemplateName = o.text("template_name"); o.err != nil {
		return o.err
	}
	if s.sandboxToken, err = a.mint(p); err != nil {
		return err
	}
	return respond(w, http.StatusOK, s)
}

func (a *api) refreshToken(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	if _, err := sandboxID(r); err != nil {
		return err
	}
	token, err := a.mint(p)
	if err != nil {
		return err
	}
	return respond(w, http.StatusOK, token)
}

// deleteSandbox has nothing to delete: executions are the subject's, and go on.
func (a *api) deleteSandbox(w http.ResponseWriter, r *http.Request, _ auth.Principal) error {
	id, err := sandboxID(r)
	if err != nil {
		return err
	}
	return respond(w, http.StatusOK, struct {
		ID     string `json:"id"`
		Status string `json:"status"`
	}{id, "deleted"})
}

// sandboxes lists none: names are not kept.
func (a *api) sandboxes(w http.ResponseWriter, _ *http.Request, _ auth.Principal) error {
	return respond(w, http.StatusOK, struct {
		Data       []sandbox `json:"data"`
		HasMore    bool      `json:"has_more"`
		NextCursor *string   `json:"next_cursor"`
	}{Data: []sandbox{}})
}

func (a *api) sandbox(r *http.Request, id string) sandbox {
	return sandbox{ID: id, Status: "running", PublicHost: a.publicURL(r)}
}

// mint makes a token for who holds the key.
func (a *api) mint(p auth.Principal) (*sandboxToken, error) {
	var scopes []string
	if p.Admin {
		scopes = append(scopes, auth.ScopeAdmin)
	}
	expires := a.Now().Add(tokenLife).UTC().Truncate(time.Second) // before it is issued: never later than it ends
	token, err := a.Authenticator.Issue(p.Subject, tokenLife, scopes...)
	if err != nil {
		return nil, fmt.Errorf("mint token: %w", err)
	}
	return &sandboxToken{AuthToken: token, TokenExpiresAt: expires}, nil
}

// sandboxName is what a sandbox may be called.
var sandboxName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

func sandboxID(r *http.Request) (string, error) {
	id := mux.Vars(r)["id"]
	if !sandboxName.MatchString(id) {
		return "", fault.New(fault.InvalidRequest, "id must be 1 to 128 letters, digits, dots, hyphens and underscores, the first a letter or a digit.").
			Field("id")
	}
	return id, nil
}

// publicURL is where clients reach this server: what the operator says, or what this request was sent to.
func (a *api) publicURL(r *http.Request) string {
	if a.config.PublicURL != "" {
		return strings.TrimRight(a.config.PublicURL, "/")
	}
	scheme := "http"
	if r.TLS != nil || a.behindProxy(r) && strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https") {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}

// behindProxy tells whether the other end of the connection is a proxy that is believed.
func (a *api) behindProxy(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && contains(a.config.TrustedProxies, peer.Addr().Unmap())
}

// checkPublicURL refuses what clients could not put a path behind.
func checkPublicURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("public_url must be a URL like https://boomerang.example.com, not %q", text)
	}
	return nil
}
