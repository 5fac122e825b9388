package auth

import (
	"strings"
	"testing"
	"time"

	"boomerang/internal/fault"
)

func TestAnAPIKeyStandsForItsSubject(t *testing.T) {
	ann, annsHash, err := NewAPIKey("ann")
	if err != nil {
		t.Fatal(err)
	}
	root, rootsHash, err := NewAPIKey("root", ScopeAdmin)
	if err != nil {
		t.Fatal(err)
	}
	rootsHash.SHA256 = strings.ToUpper(rootsHash.SHA256)
	if ann == root || strings.Contains(annsHash.SHA256, strings.TrimPrefix(ann, keyPrefix)) {
		t.Errorf("got %q and %q, hashed %q", ann, root, annsHash.SHA256)
	}
	a, err := New(Config{APIKeys: []APIKey{annsHash, rootsHash}}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]Principal{ann: {Subject: "ann"}, root: {Subject: "root", Admin: true}} {
		want.Credential.Key = map[string]APIKey{"ann": annsHash, "root": rootsHash}[want.Subject].ID()
		if got, err := a.AuthenticateKey(key); err != nil || got != want {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
	for key, want := range map[string]fault.Code{
		"": fault.AuthenticationRequired, "x": fault.InvalidToken, annsHash.SHA256: fault.InvalidToken,
		ann[:len(ann)-1]: fault.InvalidToken, ann + " ": fault.InvalidToken, strings.ToUpper(ann): fault.InvalidToken,
		strings.Repeat("x", 16<<10): fault.InvalidToken,
	} {
		if got, err := a.AuthenticateKey(key); err == nil || fault.Of(err).Code != want || got != (Principal{}) {
			t.Errorf("%.20q: got %+v, %v; want %s", key, got, err, want)
		}
	}
	if _, err := a.Authenticate(ann); err == nil {
		t.Error("an API key was taken for a token")
	}
	if token, err := a.Issue("ann", time.Hour); err != nil {
		t.Error(err)
	} else if _, err := a.AuthenticateKey(token); err == nil {
		t.Error("a token was taken for an API key")
	}
}

func TestAnUnusableAPIKeyIsRefusedAtStart(t *testing.T) {
	_, good, err := NewAPIKey("ann")
	if err != nil {
		t.Fatal(err)
	}
	for want, c := range map[string]Config{
		"api_keys[0].subject": {APIKeys: []APIKey{{SHA256: good.SHA256}}},
		"api_keys[1].sha256":  {APIKeys: []APIKey{good, {Subject: "ben", SHA256: good.SHA256[1:]}}},
		"api_keys[0].sha256":  {APIKeys: []APIKey{{Subject: "ann", SHA256: strings.Repeat("g", 64)}}},
		"api_keys[0].scopes": {
			APIKeys: []APIKey{{Subject: "ann", SHA256: good.SHA256, Scopes: []string{"root"}}},
		},
		"api_keys[1].sha256 is that of api_keys[0]": {APIKeys: []APIKey{good, {Subject: "ben", SHA256: good.SHA256}}},
		"key must be set with api_keys":             {APIKeys: []APIKey{good}, Keys: []KeyFile{{File: "a.pem"}}},
	} {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v; want it to say %q", err, want)
		}
	}
	if _, _, err := NewAPIKey(""); err == nil {
		t.Error("a key was made for an empty subject")
	}
	if _, _, err := NewAPIKey("ann", "root"); err == nil {
		t.Error("a key was made with a scope that there is not")
	}
}
