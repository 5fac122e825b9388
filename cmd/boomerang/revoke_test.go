package main

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"boomerang/internal/auth"
	"boomerang/internal/config"
	"boomerang/internal/servertest"
	"boomerang/internal/store"
)

func TestRevokeReadsItsFlags(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	token := servertest.Token(t, dir, "ann")
	for name, c := range map[string]struct {
		flags revokeCmd
		want  auth.Revocation
	}{
		"a subject": {
			revokeCmd{Sub: "ann"},
			auth.Revocation{
				Kind: auth.RevokedSubject, Name: "ann", Before: now, Until: now.Add(auth.MaxLifetime),
			},
		},
		"a subject, before": {
			revokeCmd{Sub: "ann", Before: now.Add(-time.Hour)},
			auth.Revocation{
				Kind: auth.RevokedSubject, Name: "ann", Before: now.Add(-time.Hour),
				Until: now.Add(auth.MaxLifetime - time.Hour),
			},
		},
		"an id": {
			revokeCmd{ID: "x"},
			auth.Revocation{Kind: auth.RevokedToken, Name: "x", Until: now.Add(auth.MaxLifetime)},
		},
	} {
		if got, err := c.flags.revocation(now, strings.NewReader("")); err != nil || got != c.want {
			t.Errorf("%s: got %+v, %v; want %+v", name, got, err, c.want)
		}
	}
	given, err := (&revokeCmd{Token: token}).revocation(now, strings.NewReader(""))
	piped, errPiped := (&revokeCmd{Token: "-"}).revocation(now, strings.NewReader(token+"\n"))
	if err != nil || errPiped != nil || given != piped || given.Name == "" {
		t.Errorf("a token: %+v, %v; from stdin: %+v, %v; want the same", given, err, piped, errPiped)
	}
	for name, c := range map[string]revokeCmd{
		"nothing": {}, "two": {ID: "x", Sub: "ann"}, "before alone": {ID: "x", Before: now}, "no token": {Token: "x"},
		"the future": {Sub: "ann", Before: now.Add(time.Minute)}, "a bad subject": {Sub: "a\n"},
	} {
		if got, err := c.revocation(now, strings.NewReader("")); err == nil {
			t.Errorf("%s: got %+v; want an error", name, got)
		}
	}
}

func TestAPIKeysAreFoundByTheBeginningOfTheirID(t *testing.T) {
	keys := []auth.APIKey{{SHA256: strings.Repeat("ab", 32)}, {SHA256: "abcd" + strings.Repeat("0", 60)}}
	key, hashed, err := auth.NewAPIKey("ann")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"abab": keys[0].ID(), "ABCD": keys[1].ID(), "ab": "", "ef": "", key: hashed.ID(),
	} {
		if got, err := findAPIKey(keys, text); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: got %q, %v; want %q", text, got, err, want)
		}
	}
}

// serving is a server that the command serve runs in this process.
type serving struct {
	t                  *testing.T
	dir, addr, setting string
}

func (s *serving) configure(keys string) {
	s.t.Helper()
	text := "data_dir: " + s.dir + "\nrole: api\nhttp: {addr: '" + s.addr + "'}\nlog: {level: panic}\n" +
		"auth:\n  api_keys: [" + keys + "]\n"
	if err := os.WriteFile(s.setting, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// await waits up to five seconds until the server answers a token or a key with a status.
func (s *serving) await(path, header, value string, status int) {
	s.t.Helper()
	got := 0
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); <-time.After(20 * time.Millisecond) {
		request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+s.addr+path, nil)
		if err != nil {
			s.t.Fatal(err)
		}
		request.Header.Set(header, value)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			continue // it starts
		}
		_ = response.Body.Close()
		if got = response.StatusCode; got == status {
			return
		}
	}
	s.t.Fatalf("GET %s with %s: got %d for five seconds; want %d", path, header, got, status)
}

func TestKeysComeAndGoWithoutARestart(t *testing.T) {
	s := &serving{t: t, dir: t.TempDir(), addr: servertest.FreeAddress(t)}
	s.setting = filepath.Join(t.TempDir(), "boomerang.yaml")
	s.configure("")
	flags := dataFlags{Config: s.setting}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- (&serveCmd{dataFlags: flags}).Run(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	key, hashed, err := auth.NewAPIKey("kim")
	if err != nil {
		t.Fatal(err)
	}
	const sandbox, list, bearer = "/v1/sandboxes/x", "/executions", "Authorization"
	s.await(sandbox, "X-API-Key", key, http.StatusUnauthorized) // it runs, and waits for SIGHUP
	token := "Bearer " + servertest.Token(t, s.dir, "ann")
	s.await(list, bearer, token, http.StatusOK)

	s.configure("{subject: kim, sha256: " + hashed.SHA256 + "}")
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.await(sandbox, "X-API-Key", key, http.StatusOK)
	if err := (&keysAPICmd{dataFlags: flags, Revoke: hashed.ID()[:6]}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.await(sandbox, "X-API-Key", key, http.StatusUnauthorized)

	// A token that was issued in the same second counts as issued before.
	if err := (&revokeCmd{dataFlags: flags, Sub: "ann"}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.await(list, bearer, token, http.StatusUnauthorized)
	<-time.After(time.Second)
	s.await(list, bearer, "Bearer "+servertest.Token(t, s.dir, "ann"), http.StatusOK)

	kept, err := store.Revocations(t.Context(), s.dir, time.Now())
	if err != nil || len(kept) != 2 {
		t.Errorf("got %v, %v; want two revocations", kept, err)
	}
}

func TestABrokenConfigurationKeepsTheLastGoodOne(t *testing.T) {
	var applied []string
	var loaded config.Config
	var broken error
	reload := reloading(config.Config{DataDir: "start"},
		func() (config.Config, error) { return loaded, broken },
		func(c config.Config) error { applied = append(applied, c.DataDir); return nil })
	loaded.DataDir = "good"
	if err := reload(); err != nil {
		t.Fatal(err)
	}
	loaded.DataDir, broken = "broken", errors.New("a key is unknown")
	if err := reload(); !errors.Is(err, broken) {
		t.Errorf("a broken file: got %v; want its error", err)
	}
	if want := []string{"good", "good"}; !slices.Equal(applied, want) {
		t.Errorf("applied %q; want %q: a revoked API key must not come back", applied, want)
	}
}
