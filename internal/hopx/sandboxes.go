package hopx

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"boomerang/internal/auth"
	"boomerang/internal/fault"
	"boomerang/internal/server"
)

// HopX's clients look up a sandbox with an API key before they run code in it, and run the code with a token of the
// sandbox. Here a sandbox is only a name: every name leads to the subject of the key, whose executions have a container
// each, and nothing is stored for a sandbox.

// sandboxRoutes answers the control requests.
type sandboxRoutes struct{ Deps }

// controlErrors is the format of errors that the clients of /v1/ read.
var controlErrors = server.ErrorFormat{
	Prefix: "/v1/",
	Body: func(p server.Problem) any {
		return problem{
			Error: problemError{Message: p.Sentence, Code: p.Code, Details: p.Details}, RequestID: p.RequestID,
			RetryAfter: p.RetryAfter,
		}
	},
	// There is no registered scheme for API keys
	Challenge: func(*fault.Error) string { return `APIKey realm="boomerang"` },
}

type problem struct {
	Error      problemError `json:"error"`
	RequestID  string       `json:"request_id"`
	RetryAfter int64        `json:"retry_after,omitempty"` // seconds
}

type problemError struct {
	Message string         `json:"message"`
	Code    fault.Code     `json:"code"`
	Details map[string]any `json:"details,omitempty"`
}

// tokenLife is the lifetime of a token of a sandbox. A client fetches a new token before each call if the lifetime left
// is less than an hour.
const tokenLife = 2 * time.Hour

// sandbox has the fields that the clients read. Some clients require OrganizationID to be a whole number.
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

func (h *sandboxRoutes) handleGetSandbox(w http.ResponseWriter, r *http.Request, _ auth.Principal) error {
	id, err := sandboxID(r)
	if err != nil {
		return err
	}
	return server.Respond(w, http.StatusOK, h.sandbox(r, id))
}

// handleCreateSandbox makes a name. The operator sets the resources that the request asks for, per language.
func (h *sandboxRoutes) handleCreateSandbox(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	o, err := server.ReadObject(w, r)
	if err != nil {
		return err
	}
	s := h.sandbox(r, "sb-"+strings.ToLower(rand.Text()))
	if s.TemplateName = o.Text("template_name"); o.Err() != nil {
		return o.Err()
	}
	if s.sandboxToken, err = h.mint(caller); err != nil {
		return err
	}
	return server.Respond(w, http.StatusOK, s)
}

func (h *sandboxRoutes) handleRefreshToken(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	if _, err := sandboxID(r); err != nil {
		return err
	}
	token, err := h.mint(caller)
	if err != nil {
		return err
	}
	return server.Respond(w, http.StatusOK, token)
}

// handleDeleteSandbox deletes nothing: the executions belong to the subject and go on.
func (h *sandboxRoutes) handleDeleteSandbox(w http.ResponseWriter, r *http.Request, _ auth.Principal) error {
	id, err := sandboxID(r)
	if err != nil {
		return err
	}
	return server.Respond(w, http.StatusOK, struct {
		ID     string `json:"id"`
		Status string `json:"status"`
	}{id, "deleted"})
}

// handleSandboxes lists no sandbox: names are not stored.
func (h *sandboxRoutes) handleSandboxes(w http.ResponseWriter, _ *http.Request, _ auth.Principal) error {
	return server.Respond(w, http.StatusOK, struct {
		Data       []sandbox `json:"data"`
		HasMore    bool      `json:"has_more"`
		NextCursor *string   `json:"next_cursor"`
	}{Data: []sandbox{}})
}

func (h *sandboxRoutes) sandbox(r *http.Request, id string) sandbox {
	return sandbox{ID: id, Status: "running", PublicHost: server.PublicURL(r)}
}

// mint makes a token for the holder of the key.
func (h *sandboxRoutes) mint(caller auth.Principal) (*sandboxToken, error) {
	// Computed first, so that it is never later than the real one
	expires := h.Now().Add(tokenLife).UTC().Truncate(time.Second)
	token, err := h.Issuer.IssueFor(caller, tokenLife)
	if err != nil {
		return nil, fmt.Errorf("mint token: %w", err)
	}
	return &sandboxToken{AuthToken: token, TokenExpiresAt: expires}, nil
}

// sandboxName matches the names that a sandbox may have.
var sandboxName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

func sandboxID(r *http.Request) (string, error) {
	id := r.PathValue("id")
	if !sandboxName.MatchString(id) {
		return "", fault.New(fault.InvalidRequest,
			"id must be 1 to 128 letters, digits, dots, hyphens and underscores, the first a letter or a digit.").
			Field("id")
	}
	return id, nil
}
