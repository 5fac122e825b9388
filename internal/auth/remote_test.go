package auth

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
)

// fakeIssuer is the URL of a key set, in memory, so that the time of a bubble can stand still.
type fakeIssuer struct {
	mu      sync.Mutex
	answer  string
	down    bool
	fetched int
	delay   time.Duration
}

func (i *fakeIssuer) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case <-time.After(i.delay):
	case <-r.Context().Done():
		return nil, context.Cause(r.Context())
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.fetched++
	if i.down {
		return nil, errors.New("connection refused")
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(i.answer))}, nil
}

func (i *fakeIssuer) publish(keys ...string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answer, i.down = `{"keys":[`+strings.Join(keys, ",")+`]}`, false
}

func (i *fakeIssuer) stop() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.down = true
}

func (i *fakeIssuer) count() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.fetched
}

// newRemoteAuth returns an Auth that accepts tokens of the issuer.
func newRemoteAuth(t *testing.T, i *fakeIssuer) (*Auth, *logtest.Hook, *logrus.Entry) {
	t.Helper()
	a, err := New(Config{JWKSURL: "https://issuer.example/keys", Audience: "b"}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	a.remote.client.Transport = i
	logger, hook := logtest.NewNullLogger()
	return a, hook, logrus.NewEntry(logger)
}

// jwkOf returns an Ed25519 key in the format of a key set.
func jwkOf(id string, private ed25519.PrivateKey) string {
	return fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","kid":%q,"x":%q}`, id, b64(publicOf(private)))
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// tokenSignedBy signs a token that names a key.
func tokenSignedBy(id string, private ed25519.PrivateKey) string {
	return signed(jwt.SigningMethodEdDSA, private, fmt.Sprintf(`{"alg":"EdDSA","kid":%q}`, id),
		`{"sub":"ann","aud":"b","exp":4102444800}`)
}

func TestKeysAtAURLRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := newEd25519(), newEd25519()
		i := &fakeIssuer{}
		a, _, log := newRemoteAuth(t, i)
		letsIn := func(want1, want2 bool, when string) {
			t.Helper()
			_, err1 := a.Authenticate(tokenSignedBy("1", first))
			_, err2 := a.Authenticate(tokenSignedBy("2", second))
			if (err1 == nil) != want1 || (err2 == nil) != want2 {
				t.Errorf("%s: got %v, %v; want the first let in: %t, the second: %t", when, err1, err2, want1, want2)
			}
		}
		ctx, stop := context.WithCancel(t.Context())
		i.publish(jwkOf("1", first))
		done := make(chan error, 1)
		go func() { done <- a.Run(ctx, log) }()
		synctest.Wait()
		if err := a.Ready(ctx); err != nil {
			t.Errorf("got %v; want it ready", err)
		}
		letsIn(true, false, "before the rotation")
		i.publish(jwkOf("1", first), jwkOf("2", second))
		<-time.After(minRefreshInterval)
		letsIn(true, true, "a new key is fetched when a token names it")
		i.publish(jwkOf("2", second))
		<-time.After(refreshInterval + time.Second)
		letsIn(false, true, "the old key has left the set")
		i.publish()
		<-time.After(refreshInterval + time.Second)
		letsIn(false, false, "all keys have left the set")
		stop()
		if err := <-done; err != nil {
			t.Errorf("got %v; want nil", err)
		}
	})
}

func TestTheLastKeySetStaysInUseWhileTheURLIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := newEd25519()
		i := &fakeIssuer{}
		a, hook, log := newRemoteAuth(t, i)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		i.stop()
		go func() { done <- a.Run(ctx, log) }()
		synctest.Wait()
		if err := a.Ready(ctx); err == nil {
			t.Error("ready without keys")
		}
		i.publish(jwkOf("1", key))
		<-time.After(minRefreshInterval + time.Second)
		synctest.Wait()
		if _, err := a.Authenticate(tokenSignedBy("1", key)); err != nil {
			t.Errorf("after it came up: %v", err)
		}
		i.stop()
		<-time.After(24 * time.Hour)
		synctest.Wait()
		if _, err := a.Authenticate(tokenSignedBy("1", key)); err != nil {
			t.Errorf("after a day of silence: %v", err)
		}
		if err := a.Ready(ctx); err != nil {
			t.Errorf("got %v; want it ready", err)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		var lines []string
		for _, e := range hook.AllEntries() {
			lines = append(lines, e.Level.String())
		}
		if got := strings.Join(lines, " "); got != "warning info warning" {
			t.Errorf("got log lines %s; want one for each change", got)
		}
	})
}

func TestUnknownKeyIDsDoNotCauseMoreFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &fakeIssuer{delay: time.Second}
		i.publish(jwkOf("1", newEd25519()))
		a, _, _ := newRemoteAuth(t, i)
		var all sync.WaitGroup
		for n := range 100 {
			all.Go(func() {
				for range 100 {
					token := tokenSignedBy(fmt.Sprint("guess-", n), sharedKeys().stranger)
					if _, err := a.Authenticate(token); err == nil {
						t.Error("a stranger was let in")
					}
				}
			})
		}
		all.Wait()
		if got := i.count(); got != 1 {
			t.Errorf("10 000 tokens made %d calls; want 1", got)
		}
		<-time.After(minRefreshInterval)
		_, _ = a.Authenticate(tokenSignedBy("guess", sharedKeys().stranger))
		if got := i.count(); got != 2 {
			t.Errorf("got %d calls; want the second after the minimum interval", got)
		}
	})
}

func TestASlowURLIsNotWaitedForLongerThanItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, _ := newRemoteAuth(t, &fakeIssuer{delay: time.Hour})
		began := time.Now()
		if _, err := a.Authenticate(tokenSignedBy("1", sharedKeys().ed)); err == nil ||
			time.Since(began) > fetchTimeout {
			t.Errorf("got %v after %s; want a refusal within %s", err, time.Since(began), fetchTimeout)
		}
	})
}

func TestAnAnswerThatIsNotAKeySetChangesNothing(t *testing.T) {
	key := newEd25519()
	answers := map[string]http.HandlerFunc{
		"not JSON": func(w http.ResponseWriter, _ *http.Request) { send(w, "<html>") },
		"no keys":  func(w http.ResponseWriter, _ *http.Request) { send(w, "{}") },
		"an error": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, `{"keys":[]}`, http.StatusInternalServerError)
		},
		"a redirect":  func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/good", http.StatusFound) },
		"without end": func(w http.ResponseWriter, _ *http.Request) { endless(w) },
		"65 keys": func(w http.ResponseWriter, _ *http.Request) {
			send(w, `{"keys":[`+strings.Repeat("{},", maxKeys)+`{}]}`)
		},
	}
	for name, answer := range answers {
		mux := http.NewServeMux()
		mux.HandleFunc("/", answer)
		mux.HandleFunc("/good",
			func(w http.ResponseWriter, _ *http.Request) { send(w, `{"keys":[`+jwkOf("2", key)+`]}`) })
		server := httptest.NewServer(mux)
		r := newRemoteKeys(server.URL)
		old := keyset{{id: "1"}}
		r.keys.Store(&old)
		if err := r.refresh(t.Context()); err == nil || len(r.current()) != 1 || r.current()[0].id != "1" {
			t.Errorf("%s: got %v and the keys %v; want an error and the old keys", name, err, r.current())
		}
		server.Close()
	}
}

func send(w io.Writer, text string) { _, _ = io.WriteString(w, text) } // the client may have closed the connection

func endless(w io.Writer) {
	for {
		if _, err := w.Write(bytes.Repeat([]byte(" "), 1<<16)); err != nil {
			return
		}
	}
}

func TestEachKindOfPublishedKey(t *testing.T) {
	k := sharedKeys()
	p521 := must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
	small := must(rsa.GenerateKey(rand.Reader, 1024))
	rsaKey := func(key *rsa.PrivateKey, e int64, more string) string {
		return fmt.Sprintf(`{"kty":"RSA","n":%q,"e":%q%s}`, b64(key.N.Bytes()), b64(big.NewInt(e).Bytes()), more)
	}
	ecKey := func(key *ecdsa.PrivateKey, curve string) string {
		point := must(key.PublicKey.Bytes())[1:]
		return fmt.Sprintf(`{"kty":"EC","crv":%q,"x":%q,"y":%q}`,
			curve, b64(point[:len(point)/2]), b64(point[len(point)/2:]))
	}
	for name, test := range map[string]struct {
		text, want string // want is the algorithm, or empty if the key is skipped
	}{
		"RSA":                      {rsaKey(k.rsa, 65537, ""), "RS256"},
		"RSA that says PS384":      {rsaKey(k.rsa, 65537, `,"alg":"PS384","use":"sig","key_ops":["verify"]`), "PS384"},
		"P-256":                    {ecKey(k.ec, "P-256"), "ES256"},
		"P-521":                    {ecKey(p521, "P-521"), "ES512"},
		"Ed25519":                  {jwkOf("", k.ed), "EdDSA"},
		"RSA for encryption":       {rsaKey(k.rsa, 65537, `,"use":"enc"`), ""},
		"RSA that does not verify": {rsaKey(k.rsa, 65537, `,"key_ops":["encrypt"]`), ""},
		"RSA that says ES256":      {rsaKey(k.rsa, 65537, `,"alg":"ES256"`), ""},
		"RSA that says HS256":      {rsaKey(k.rsa, 65537, `,"alg":"HS256"`), ""},
		"RSA that says none":       {rsaKey(k.rsa, 65537, `,"alg":"none"`), ""},
		"RSA of 1024 bits":         {rsaKey(small, 65537, ""), ""},
		"RSA with the exponent 1":  {rsaKey(k.rsa, 1, ""), ""},
		"RSA with an even one":     {rsaKey(k.rsa, 4, ""), ""},
		"RSA without n":            {`{"kty":"RSA","e":"AQAB"}`, ""},
		"a point off its curve":    {ecKey(p521, "P-256"), ""},
		"a point of zeros": {
			fmt.Sprintf(`{"kty":"EC","crv":"P-256","x":%q,"y":%q}`, b64(make([]byte, 32)), b64(make([]byte, 32))), "",
		},
		"an unknown curve": {ecKey(k.ec, "secp256k1"), ""},
		"X25519":           {strings.Replace(jwkOf("", k.ed), "Ed25519", "X25519", 1), ""},
		"a short Ed25519":  {`{"kty":"OKP","crv":"Ed25519","x":"AA"}`, ""},
		"a secret":         {fmt.Sprintf(`{"kty":"oct","alg":"HS256","k":%q}`, b64([]byte(testKey))), ""},
		"no base64":        {`{"kty":"OKP","crv":"Ed25519","x":"*"}`, ""},
		"no object":        {`"key"`, ""},
	} {
		if !json.Valid([]byte(test.text)) {
			t.Fatalf("%s: %s is not JSON", name, test.text)
		}
		keys, err := parseJWKS([]byte(`{"keys":[` + test.text + `,` + jwkOf("good", k.ed) + `]}`))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := ""
		if len(keys) == 2 {
			got = keys[0].algorithm
		}
		if got != test.want || keys[len(keys)-1].id != "good" {
			t.Errorf("%s: got %q of %v; want %q, and the good one beside it", name, got, keys, test.want)
		}
	}
}
