package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"boomerang/internal/fault"
)

const testKey = "0123456789abcdef0123456789abcdef"

func newAuth(tb testing.TB, c Config) *Auth {
	tb.Helper()
	if c.Key == "" {
		c.Key = testKey
	}
	a, err := New(c, tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

// sign makes a token of literal JSON, including JSON that no library would write.
func sign(key, header, payload string) string {
	text := b64([]byte(header)) + "." + b64([]byte(payload))
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

const plainHeader = `{"alg":"HS256","typ":"JWT"}`

// In a synctest bubble the time is 2000-01-01T00:00:00Z, 946684800, and stands still.
func TestAuthenticateAcceptsValidTokens(t *testing.T) {
	tests := map[string]struct {
		config  Config
		payload string
		want    Principal
	}{
		"the least": {payload: `{"sub":"ann","exp":946684860}`, want: Principal{Subject: "ann"}},
		"issued 30 s in our future": {
			payload: `{"sub":"ann","exp":946684860,"iat":946684830}`,
			want:    Principal{Subject: "ann"},
		},
		"begins 30 s in our future": {
			payload: `{"sub":"ann","exp":946684860,"nbf":946684830}`,
			want:    Principal{Subject: "ann"},
		},
		"expired 29 s ago": {payload: `{"sub":"ann","exp":946684771}`, want: Principal{Subject: "ann"}},
		"an administrator by scopes": {
			payload: `{"sub":"ann","exp":946684860,"scopes":["read","admin"]}`,
			want:    Principal{Subject: "ann", Admin: true},
		},
		"an administrator by scp": {
			payload: `{"sub":"ann","exp":946684860,"scope":"read","scp":["admin"]}`,
			want:    Principal{Subject: "ann", Admin: true},
		},
		"scp as text": {
			payload: `{"sub":"ann","exp":946684860,"scp":"read admin"}`,
			want:    Principal{Subject: "ann", Admin: true},
		},
		"admin inside of one scope": {
			payload: `{"sub":"ann","exp":946684860,"scopes":["read admin"],"scope":"read\tadmin"}`,
			want:    Principal{Subject: "ann"},
		},
		"exp with a fraction": {payload: `{"sub":"ann","exp":946684860.5}`, want: Principal{Subject: "ann"}},
		"an administrator": {
			payload: `{"sub":"ann","exp":946684860,"scope":"read admin"}`,
			want:    Principal{Subject: "ann", Admin: true},
		},
		"a scope that resembles it": {
			payload: `{"sub":"ann","exp":946684860,"scope":"administrator admin:read"}`,
			want:    Principal{Subject: "ann"},
		},
		"the configured issuer": {
			config:  Config{Issuer: "i"},
			payload: `{"sub":"ann","exp":946684860,"iss":"i"}`,
			want:    Principal{Subject: "ann"},
		},
		"one of several audiences": {
			config:  Config{Audience: "b"},
			payload: `{"sub":"ann","exp":946684860,"aud":["a","b"]}`,
			want:    Principal{Subject: "ann"},
		},
		"an issuer that is not required": {
			payload: `{"sub":"ann","exp":946684860,"iss":"x","aud":"y"}`,
			want:    Principal{Subject: "ann"},
		},
		"a claim's name in capitals": {
			payload: `{"sub":"ann","SUB":"bob","exp":946684860,"Scope":"admin"}`,
			want:    Principal{Subject: "ann"},
		},
		"a subject of 255 bytes": {
			payload: `{"sub":"` + strings.Repeat("s", 255) + `","exp":946684860}`,
			want:    Principal{Subject: strings.Repeat("s", 255)},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got, err := newAuth(t, test.config).Authenticate(sign(testKey, plainHeader, test.payload))
				got.Credential = Credential{}
				if err != nil || got != test.want {
					t.Fatalf("got %+v, %v; want %+v", got, err, test.want)
				}
			})
		})
	}
}

func TestAuthenticateAsksForAMissingToken(t *testing.T) {
	_, err := newAuth(t, Config{}).Authenticate("")
	if f := fault.Of(err); f.Code != fault.AuthenticationRequired {
		t.Fatalf("got %v; want AUTHENTICATION_REQUIRED", err)
	}
}

func TestIssuedTokensHoldUntilTheyExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuth(t, Config{Issuer: "boomerang", Audience: "here"})
		token, err := a.Issue("ann", time.Minute, "read", ScopeAdmin)
		if err != nil {
			t.Fatal(err)
		}
		want := Principal{Subject: "ann", Admin: true}
		got, err := a.Authenticate(token)
		if got.Credential.Token == "" || !got.Credential.IssuedAt.Equal(time.Now()) {
			t.Errorf("got the credential %+v; want one that can be revoked", got.Credential)
		}
		got.Credential = Credential{}
		if err != nil || got != want {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
		if _, err := newAuth(t, Config{Key: strings.Repeat("k", 32)}).Authenticate(token); err == nil {
			t.Error("another key accepted the token")
		}
		<-time.After(time.Minute + leeway)
		if _, err := a.Authenticate(token); err == nil {
			t.Error("the token is accepted after it expired")
		}
	})
}

func TestIssueRefusesTokensThatAuthenticateWouldRefuse(t *testing.T) {
	a := newAuth(t, Config{})
	for name, test := range map[string]struct {
		subject string
		ttl     time.Duration
	}{
		"no subject":       {"", time.Hour},
		"a long subject":   {strings.Repeat("s", 256), time.Hour},
		"a line break":     {"ann\nbob", time.Hour},
		"no lifetime":      {"ann", 0},
		"half a second":    {"ann", time.Second / 2},
		"a lifetime spent": {"ann", -time.Hour},
	} {
		if token, err := a.Issue(test.subject, test.ttl); err == nil {
			t.Errorf("%s: got token %s; want an error", name, token)
		}
	}
}
