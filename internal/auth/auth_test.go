package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"boomerang/internal/fault"
)

const testKey = "0123456789abcdef0123456789abcdef"

func open(tb testing.TB, c Config) *Auth {
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

// sign makes a token of literal JSON, so that it can say what no library would write.
func sign(key, header, payload string) string {
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

const hs256 = `{"alg":"HS256","typ":"JWT"}`

// In a synctest bubble it is 2000-01-01T00:00:00Z, 946684800, and time stands still.
func TestAuthenticateAcceptsWhatHolds(t *testing.T) {
	tests := map[string]struct {
		config  Config
		payload string
		want    Principal
	}{
		"the least":                  {payload: `{"sub":"ann","exp":946684860}`, want: Principal{Subject: "ann"}},
		"issued 30 s in our future":  {payload: `{"sub":"ann","exp":946684860,"iat":946684830}`, want: Principal{Subject: "ann"}},
		"begins 30 s in our future":  {payload: `{"sub":"ann","exp":946684860,"nbf":946684830}`, want: Principal{Subject: "ann"}},
		"expired 29 s ago":           {payload: `{"sub":"ann","exp":946684771}`, want: Principal{Subject: "ann"}},
		"an administrator":           {payload: `{"sub":"ann","exp":946684860,"scope":"read admin"}`, want: Principal{Subject: "ann", Admin: true}},
		"a scope that resembles it":  {payload: `{"sub":"ann","exp":946684860,"scope":"administrator admin:read"}`, want: Principal{Subject: "ann"}},
		"the configured issuer":      {config: Config{Issuer: "i"}, payload: `{"sub":"ann","exp":946684860,"iss":"i"}`, want: Principal{Subject: "ann"}},
		"one of several audiences":   {config: Config{Audience: "b"}, payload: `{"sub":"ann","exp":946684860,"aud":["a","b"]}`, want: Principal{Subject: "ann"}},
		"an issuer nobody asked for": {payload: `{"sub":"ann","exp":946684860,"iss":"x","aud":"y"}`, want: Principal{Subject: "ann"}},
		"a claim's name in capitals": {payload: `{"sub":"ann","SUB":"bob","exp":946684860,"Scope":"admin"}`, want: Principal{Subject: "ann"}},
		"a subject of 255 bytes": {
			payload: `{"sub":"` + strings.Repeat("s", 255) + `","exp":946684860}`,
			want:    Principal{Subject: strings.Repeat("s", 255)},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got, err := open(t, test.config).Authenticate(sign(testKey, hs256, test.payload))
				if err != nil || got != test.want {
					t.Fatalf("got %+v, %v; want %+v", got, err, test.want)
				}
			})
		})
	}
}

func TestAuthenticateRefusesAttacks(t *testing.T) {
	const good = `{"sub":"ann","exp":946684860}`
	tests := map[string]struct {
		config Config
		token  string
		says   string // part of the public sentence
	}{
		"no signature, alg none":         {token: unsigned(`{"alg":"none"}`, good), says: "HS256"},
		"alg None":                       {token: unsigned(`{"alg":"None"}`, good), says: "HS256"},
		"alg none, signed all the same":  {token: sign(testKey, `{"alg":"none"}`, good), says: "HS256"},
		"no alg":                         {token: sign(testKey, `{}`, good), says: "HS256"},
		"alg is a list":                  {token: sign(testKey, `{"alg":["HS256"]}`, good), says: "HS256"},
		"an unknown alg":                 {token: sign(testKey, `{"alg":"HS1"}`, good), says: "HS256"},
		"alg in lower case":              {token: sign(testKey, `{"alg":"hs256"}`, good), says: "HS256"},
		"HS512 with the right key":       {token: library(t, jwt.SigningMethodHS512, []byte(testKey)), says: "HS256"},
		"ES256":                          {token: library(t, jwt.SigningMethodES256, ecdsaKey(t)), says: "HS256"},
		"RS256 with our key as its HMAC": {token: sign(testKey, `{"alg":"RS256"}`, good), says: "HS256"},
		"a critical extension":           {token: sign(testKey, `{"alg":"HS256","crit":["b64"],"b64":false}`, good), says: "HS256"},
		"another key":                    {token: sign("another-key-another-key-another-k", hs256, good), says: "HS256"},
		"an empty key":                   {token: sign("", hs256, good), says: "HS256"},
		"no signature":                   {token: unsigned(hs256, good), says: "HS256"},
		"half a signature":               {token: sign(testKey, hs256, good)[:100], says: "HS256"},
		"a signature with spare bits":    {token: spareBits(sign(testKey, hs256, good)), says: "HS256"},
		"a fourth part":                  {token: sign(testKey, hs256, good) + ".e30", says: "HS256"},
		"one word":                       {token: "hello", says: "HS256"},
		"100 KB of dots":                 {token: strings.Repeat(".", 100<<10), says: "longer than"},
		"8 KB of dots":                   {token: strings.Repeat(".", 8<<10), says: "HS256"},
		"the payload is no object":       {token: sign(testKey, hs256, `["sub"]`), says: "HS256"},
		"the payload is null":            {token: sign(testKey, hs256, `null`), says: "lacks a claim"},
		"the payload is not JSON":        {token: sign(testKey, hs256, `{"sub":`), says: "HS256"},
		"a claim stands twice":           {token: sign(testKey, hs256, `{"sub":"ann","exp":946684860,"sub":"bob"}`), says: "HS256"},
		"a claim stands twice, escaped":  {token: sign(testKey, hs256, `{"sub":"ann","exp":946684860,"\u0073ub":"bob"}`), says: "HS256"},
		"expired":                        {token: sign(testKey, hs256, `{"sub":"ann","exp":946684770}`), says: "expired"},
		"no exp":                         {token: sign(testKey, hs256, `{"sub":"ann"}`), says: "lacks a claim"},
		"exp is null":                    {token: sign(testKey, hs256, `{"sub":"ann","exp":null}`), says: "lacks a claim"},
		"exp is 0":                       {token: sign(testKey, hs256, `{"sub":"ann","exp":0}`), says: "lacks a claim"},
		"exp is text":                    {token: sign(testKey, hs256, `{"sub":"ann","exp":"946684860"}`), says: "lacks a claim"},
		"nbf 31 s in our future":         {token: sign(testKey, hs256, `{"sub":"ann","exp":946684860,"nbf":946684831}`), says: "not valid yet"},
		"iat 31 s in our future":         {token: sign(testKey, hs256, `{"sub":"ann","exp":946684860,"iat":946684831}`), says: "not valid yet"},
		"no sub":                         {token: sign(testKey, hs256, `{"exp":946684860}`), says: "lacks a claim"},
		"an empty sub":                   {token: sign(testKey, hs256, `{"sub":"","exp":946684860}`), says: "lacks a claim"},
		"sub is a number":                {token: sign(testKey, hs256, `{"sub":7,"exp":946684860}`), says: "lacks a claim"},
		"sub is too long":                {token: sign(testKey, hs256, `{"sub":"`+strings.Repeat("s", 256)+`","exp":946684860}`), says: "lacks a claim"},
		"sub holds NUL":                  {token: sign(testKey, hs256, `{"sub":"ann\u0000","exp":946684860}`), says: "lacks a claim"},
		"scope is a list":                {token: sign(testKey, hs256, `{"sub":"ann","exp":946684860,"scope":["admin"]}`), says: "lacks a claim"},
		"another issuer":                 {config: Config{Issuer: "i"}, token: sign(testKey, hs256, `{"sub":"ann","exp":946684860,"iss":"j"}`), says: "issuer"},
		"no issuer":                      {config: Config{Issuer: "i"}, token: sign(testKey, hs256, good), says: "lacks a claim"},
		"another audience":               {config: Config{Audience: "a"}, token: sign(testKey, hs256, `{"sub":"ann","exp":946684860,"aud":"b"}`), says: "audience"},
		"no audience":                    {config: Config{Audience: "a"}, token: sign(testKey, hs256, good), says: "lacks a claim"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got, err := open(t, test.config).Authenticate(test.token)
				f, ok := errors.AsType[*fault.Error](err)
				if !ok || f.Code != fault.InvalidToken || !strings.Contains(f.Sentence, test.says) {
					t.Errorf("got %v; want INVALID_TOKEN that says %q", err, test.says)
				}
				if got != (Principal{}) {
					t.Errorf("got %+v beside the error; want nobody", got)
				}
			})
		})
	}
}

func TestAuthenticateAsksForATokenWhereThereIsNone(t *testing.T) {
	_, err := open(t, Config{}).Authenticate("")
	if f := fault.Of(err); f.Code != fault.AuthenticationRequired {
		t.Fatalf("got %v; want AUTHENTICATION_REQUIRED", err)
	}
}

func TestIssuedTokensHoldUntilTheyExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := open(t, Config{Issuer: "boomerang", Audience: "here"})
		token, err := a.Issue("ann", time.Minute, "read", ScopeAdmin)
		if err != nil {
			t.Fatal(err)
		}
		want := Principal{Subject: "ann", Admin: true}
		if got, err := a.Authenticate(token); err != nil || got != want {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
		if _, err := open(t, Config{Key: strings.Repeat("k", 32)}).Authenticate(token); err == nil {
			t.Error("another key accepted the token")
		}
		<-time.After(time.Minute + leeway)
		if _, err := a.Authenticate(token); err == nil {
			t.Error("the token is accepted after it expired")
		}
	})
}

func TestIssueRefusesWhatAuthenticateWould(t *testing.T) {
	a := open(t, Config{})
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

// FuzzAuthenticate: whatever is accepted carries a signature that our key made.
func FuzzAuthenticate(f *testing.F) {
	a := open(f, Config{})
	good, err := a.Issue("ann", 100*365*24*time.Hour, ScopeAdmin)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(unsigned(`{"alg":"none"}`, `{"sub":"ann","exp":99999999999}`))
	f.Add(sign("", hs256, `{"sub":"ann","exp":99999999999}`))
	f.Add(strings.Repeat(".", 1000))
	f.Fuzz(func(t *testing.T, token string) {
		p, err := a.Authenticate(token)
		if err != nil {
			if f := fault.Of(err); f.Code.Kind() != fault.Unauthenticated {
				t.Fatalf("got %v; want a fault of the token", err)
			}
			return
		}
		cut := strings.LastIndexByte(token, '.')
		mac := hmac.New(sha256.New, []byte(testKey))
		mac.Write([]byte(token[:cut]))
		if token[cut+1:] != base64.RawURLEncoding.EncodeToString(mac.Sum(nil)) || p.Subject == "" {
			t.Fatalf("accepted %q as %+v", token, p)
		}
	})
}

func unsigned(header, payload string) string {
	signed := sign("", header, payload)
	return signed[:strings.LastIndexByte(signed, '.')+1]
}

// spareBits changes the two bits of the last character that carry no byte.
func spareBits(token string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, token[len(token)-1])
	return token[:len(token)-1] + string(alphabet[last|1])
}

func library(t *testing.T, method jwt.SigningMethod, key any) string {
	t.Helper()
	token, err := jwt.NewWithClaims(method, jwt.MapClaims{"sub": "ann", "exp": 946684860}).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func ecdsaKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
