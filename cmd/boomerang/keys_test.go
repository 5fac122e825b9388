package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"boomerang/internal/auth"
	"boomerang/internal/config"
)

func TestAnAPIKeyIsValidWithItsEntry(t *testing.T) {
	for subject, scopes := range map[string][]string{"ann": nil, `a: "b'`: {auth.ScopeAdmin}} {
		key, lines, err := (&keysAPICmd{Sub: subject, Scope: scopes}).newKey()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(lines, key) {
			t.Errorf("the lines hold the key: %s", lines)
		}
		path := filepath.Join(t.TempDir(), "boomerang.yaml")
		if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		a, err := auth.New(c.Auth, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		want := auth.Principal{Subject: subject, Admin: scopes != nil}
		got, err := a.AuthenticateKey(key)
		got.Credential = auth.Credential{}
		if err != nil || got != want {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
	if _, _, err := (&keysAPICmd{Sub: "ann", Scope: []string{"root"}}).newKey(); err == nil {
		t.Error("got a key with the unknown scope root; want an error")
	}
}
