package seal

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"boomerang/internal/execution"
)

const id = execution.ID("exec_0123456789abcdefghijklmnop")

func keyPath(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "seal.key")
}

func open(t *testing.T, path string) *Keyring {
	t.Helper()
	k, err := Open(path)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return k
}

func TestUnsealReturnsWhatWasSealed(t *testing.T) {
	t.Parallel()
	k := open(t, keyPath(t))
	for _, plain := range [][]byte{[]byte("a"), []byte("print(1)\n"), bytes.Repeat([]byte{0, 255}, 1<<19)} {
		sealed := k.Seal(id, execution.FieldCode, plain)
		if bytes.Contains(sealed, plain) && len(plain) > 1 {
			t.Errorf("%d bytes: the plain text is in the seal", len(plain))
		}
		got, err := k.Unseal(id, execution.FieldCode, sealed)
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes: got %d bytes, error %v", len(plain), len(got), err)
		}
	}
}

func TestAnEmptyFieldStaysEmpty(t *testing.T) {
	t.Parallel()
	k := open(t, keyPath(t))
	for _, plain := range [][]byte{nil, {}} {
		if s := k.Seal(id, execution.FieldEnv, plain); s != nil {
			t.Errorf("sealed nothing to %d bytes", len(s))
		}
	}
	for _, s := range []execution.Sealed{nil, {}} {
		if plain, err := k.Unseal(id, execution.FieldEnv, s); plain != nil || err != nil {
			t.Errorf("unsealed nothing to %d bytes, error %v", len(plain), err)
		}
	}
}

func TestSealGivesADifferentResultEachTime(t *testing.T) {
	t.Parallel()
	k := open(t, keyPath(t))
	one, two := k.Seal(id, execution.FieldCode, []byte("same")), k.Seal(id, execution.FieldCode, []byte("same"))
	if bytes.Equal(one, two) {
		t.Error("the same text gave the same seal")
	}
}

func TestAFieldThatWasMovedIsRefused(t *testing.T) {
	t.Parallel()
	k := open(t, keyPath(t))
	sealed := k.Seal(id, execution.FieldEnv, []byte(`{"A":"b"}`))
	for name, place := range map[string]struct {
		id    execution.ID
		field string
	}{
		"another field":     {id, execution.FieldCallbackHeaders},
		"another execution": {"exec_ponmlkjihgfedcba9876543210", execution.FieldEnv},
		"a shifted border":  {id + execution.ID(execution.FieldEnv[:1]), execution.FieldEnv[1:]},
	} {
		if _, err := k.Unseal(place.id, place.field, sealed); !errors.Is(err, ErrUnreadable) {
			t.Errorf("%s: got error %v, want ErrUnreadable", name, err)
		}
	}
}

func TestEveryByteIsProtected(t *testing.T) {
	t.Parallel()
	k := open(t, keyPath(t))
	sealed := k.Seal(id, execution.FieldCode, []byte("print(1)"))
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if plain, err := k.Unseal(id, execution.FieldCode, changed); err == nil {
			t.Errorf("byte %d was changed and it opened to %q", i, plain)
		}
		if plain, err := k.Unseal(id, execution.FieldCode, sealed[:i]); i > 0 && err == nil {
			t.Errorf("it was cut to %d bytes and opened to %q", i, plain)
		}
	}
}

func TestUnsealNamesAMissingKey(t *testing.T) {
	t.Parallel()
	path := keyPath(t)
	write(t, path, line("old", 1))
	sealed := open(t, path).Seal(id, execution.FieldCode, []byte("print(1)"))
	write(t, path, line("new", 2))
	if _, err := open(t, path).
		Unseal(id, execution.FieldCode, sealed); err == nil || !strings.Contains(err.Error(), `"old"`) {
		t.Errorf("got %v", err)
	}
	write(t, path, line("old", 3))
	if _, err := open(t, path).Unseal(id, execution.FieldCode, sealed); !errors.Is(err, ErrUnreadable) {
		t.Errorf("another key of that name: got %v, want ErrUnreadable", err)
	}
}

func TestOldKeysStillOpenAfterARotation(t *testing.T) {
	t.Parallel()
	path := keyPath(t)
	write(t, path, line("one", 1))
	before := open(t, path)
	old := before.Seal(id, execution.FieldCode, []byte("print(1)"))
	write(t, path, "# changed\n\n"+line("two", 2)+line("one", 1))
	after := open(t, path)
	if plain, err := after.Unseal(id, execution.FieldCode, old); err != nil || string(plain) != "print(1)" {
		t.Errorf("got %q, error %v", plain, err)
	}
	for _, k := range []*Keyring{before, after} {
		if k.Current(old) || !k.Current(k.Seal(id, execution.FieldCode, []byte("x"))) || !k.Current(nil) {
			t.Error("the old key's field is taken for the new one's, or the other way round")
		}
		if sealer, _ := KeyOf(k.Seal(id, execution.FieldCode, []byte("x"))); sealer != "two" {
			t.Errorf("%q seals, want the first key", sealer)
		}
	}
	if one, two := before.Fingerprint([]byte("body")), after.Fingerprint([]byte("body")); one != two {
		t.Errorf("the fingerprint changed from %s to %s", one, two)
	}
}

func TestFingerprintTellsBodiesApart(t *testing.T) {
	t.Parallel()
	path, other := keyPath(t), keyPath(t)
	write(t, path, line("one", 1))
	write(t, other, line("one", 2))
	k := open(t, path)
	// HKDF-SHA256 (RFC 5869) and HMAC, computed by other code.
	const want = "22f06bb1b8b42df372d211142dd773896d3a33f95fa1c19e3322fd9ff2efcb0c"
	if got := k.Fingerprint([]byte("body")); got != want {
		t.Errorf("got %s, want %s: fingerprints that are stored would no longer match", got, want)
	}
	if k.Fingerprint([]byte("body")) == k.Fingerprint([]byte("Body")) {
		t.Error("two bodies have one fingerprint")
	}
	if k.Fingerprint([]byte("body")) == open(t, other).Fingerprint([]byte("body")) {
		t.Error("two installations give one fingerprint")
	}
}

func TestOpenCreatesAPrivateFile(t *testing.T) {
	t.Parallel()
	path := keyPath(t)
	sealed := open(t, path).Seal(id, execution.FieldCode, []byte("print(1)"))
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o600 {
		t.Errorf("got mode %v, want 0600", info.Mode())
	}
	if plain, err := open(t, path).Unseal(id, execution.FieldCode, sealed); err != nil || string(plain) != "print(1)" {
		t.Errorf("after a restart: got %q, error %v", plain, err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("got %d files in the directory, error %v", len(entries), err)
	}
}

func TestConcurrentOpensShareOneKey(t *testing.T) {
	t.Parallel()
	path := keyPath(t)
	var wg sync.WaitGroup
	rings := make([]*Keyring, 16)
	for i := range rings {
		wg.Go(func() {
			var err error
			if rings[i], err = Open(path); err != nil {
				t.Errorf("open: %v", err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	sealed := rings[0].Seal(id, execution.FieldCode, []byte("print(1)"))
	for _, k := range rings {
		if _, err := k.Unseal(id, execution.FieldCode, sealed); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenRefusesAnInvalidFile(t *testing.T) {
	t.Parallel()
	const secret = "c2VjcmV0"
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"read by the group": {line("one", 1), 0o640, "chmod 600"},
		"read by the world": {line("one", 1), 0o604, "chmod 600"},
		"empty":             {"", 0o600, "no key"},
		"only comments":     {"# one\n\n", 0o600, "no key"},
		"no id":             {secret + "\n", 0o600, "line 1"},
		"a bad id":          {"# first\nö " + secret + "\n", 0o600, "line 2"},
		"a long id":         {line(strings.Repeat("a", 33), 1), 0o600, "line 1"},
		"a short key":       {"one " + secret + "\n", 0o600, "line 1"},
		"no base64":         {"one " + secret + "%\n", 0o600, "line 1"},
		"an id twice":       {line("one", 1) + line("one", 2), 0o600, "line 2"},
	} {
		path := keyPath(t)
		write(t, path, c.text)
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		_, err := Open(path)
		if err == nil {
			t.Errorf("%s: it was opened", name)
			continue
		}
		for _, part := range []string{path, c.want} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q does not say %q", name, err, part)
			}
		}
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %q tells the key", name, err)
		}
	}
	missing := filepath.Join(t.TempDir(), "none", "seal.key")
	if _, err := Open(missing); err == nil || !strings.Contains(err.Error(), missing) {
		t.Errorf("no directory: got %v", err)
	}
}

// line returns the line of a key whose bytes are all b.
func line(id string, b byte) string {
	return id + " " + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, keySize)) + "\n"
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func FuzzUnsealNeverOpensWhatWasNotSealed(f *testing.F) {
	path := filepath.Join(f.TempDir(), "seal.key")
	k, err := Open(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(k.Seal(id, execution.FieldEnv, []byte("another field"))))
	f.Add([]byte{255})
	f.Fuzz(func(t *testing.T, b []byte) {
		if plain, err := k.Unseal(id, execution.FieldCode, b); err == nil && len(b) > 0 {
			t.Errorf("opened to %q", plain)
		}
	})
}

func TestARotatedKeySealsAtOnceAndTheOldOneOpens(t *testing.T) {
	t.Parallel()
	path := keyPath(t)
	k := open(t, path)
	old := k.Seal(id, execution.FieldCode, []byte("old"))
	fingerprint := k.Fingerprint([]byte("x"))
	made, err := Rotate(path)
	if err != nil {
		t.Fatal(err)
	}
	fresh := k.Seal(id, execution.FieldCode, []byte("new"))
	if got, ok := KeyOf(fresh[:HeadSize]); !ok || got != made {
		t.Errorf("after the rotation %q seals, want %q", got, made)
	}
	for want, sealed := range map[string]execution.Sealed{"old": old, "new": fresh} {
		for name, k := range map[string]*Keyring{"the same keyring": k, "another": open(t, path)} {
			if got, err := k.Unseal(id, execution.FieldCode, sealed); err != nil || string(got) != want {
				t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
			}
		}
	}
	if k.Fingerprint([]byte("x")) != fingerprint {
		t.Error("a rotation changes fingerprints")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v, want a file of mode 0600", info, err)
	}
}

func TestRetireRefusesKeysThatAreNeeded(t *testing.T) {
	t.Parallel()
	path := keyPath(t)
	k := open(t, path)
	sealed := k.Seal(id, execution.FieldCode, []byte("old"))
	old, _ := KeyOf(sealed)
	made, err := Rotate(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := Retire(path, old); err == nil || !strings.Contains(err.Error(), "try again") {
		t.Errorf("a key was retired right after the rotation: %v", err)
	}
	settled := time.Now().Add(-2 * retireDelay)
	if err := os.Chtimes(path, settled, settled); err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []string{made, "unknown", ""} {
		if err := Retire(path, wrong); err == nil {
			t.Errorf("%q was retired", wrong)
		}
	}
	if err := Retire(path, old); err != nil {
		t.Fatal(err)
	}
	if ids, err := Keys(path); err != nil || len(ids) != 1 || ids[0] != made {
		t.Errorf("left: %v, %v, want %s", ids, err, made)
	}
	if _, err := k.Unseal(id, execution.FieldCode, sealed); err == nil {
		t.Error("a retired key still opens")
	}
}

func TestConcurrentRotationsLoseNoKey(t *testing.T) {
	t.Parallel()
	path := keyPath(t)
	k := open(t, path)
	sealed := make([]execution.Sealed, 20)
	var wg sync.WaitGroup
	for i := range sealed {
		wg.Go(func() {
			if _, err := Rotate(path); err != nil {
				t.Error(err)
			}
			sealed[i] = k.Seal(id, execution.FieldCode, []byte("x"))
		})
	}
	wg.Wait()
	if ids, err := Keys(path); err != nil || len(ids) != len(sealed)+1 {
		t.Errorf("%d keys, %v, want %d", len(ids), err, len(sealed)+1)
	}
	for _, s := range sealed {
		if _, err := k.Unseal(id, execution.FieldCode, s); err != nil {
			t.Error(err)
		}
	}
}

func TestRotateNeedsTheFile(t *testing.T) {
	t.Parallel()
	path := keyPath(t)
	if _, err := Rotate(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that there is no file", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("it was made")
	}
}

func TestAnUnreadableFileKeepsTheKnownKeys(t *testing.T) {
	t.Parallel()
	path := keyPath(t)
	k := open(t, path)
	sealed := k.Seal(id, execution.FieldCode, []byte("x"))
	if err := os.WriteFile(path, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := k.Unseal(id, execution.FieldCode, sealed); err != nil || string(got) != "x" {
		t.Errorf("got %q, %v", got, err)
	}
}
