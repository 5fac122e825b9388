package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"boomerang/internal/auth"
	"boomerang/internal/config"
	"boomerang/internal/seal"
	"boomerang/internal/store"
)

// keysCmd manages two kinds of keys: those that encrypt code, environments, and the secrets and headers of callbacks
// in the database; and API keys.
type keysCmd struct {
	List   keysListCmd   `cmd:"" help:"List the encryption keys, and how many stored fields each has encrypted."`
	Rotate keysRotateCmd `cmd:"" help:"Make a new encryption key for all new data."`
	Retire keysRetireCmd `cmd:"" help:"Delete an encryption key that no stored field needs."`
	API    keysAPICmd    `cmd:"" name:"api" help:"Make, list and revoke API keys for the clients of HopX."`
}

// sealKeyFile is the name of the file with the encryption keys in the data directory.
const sealKeyFile = "seal.key"

// countSealed returns the path of the key file, the IDs of its keys, and the number of stored fields that each key
// has encrypted.
func countSealed(
	ctx context.Context, f dataFlags,
) (path string, ids []string, fields map[string]int, err error) {
	c, err := f.load()
	if err != nil {
		return "", nil, nil, err
	}
	path = filepath.Join(c.DataDir, sealKeyFile)
	if ids, err = seal.Keys(path); err != nil {
		return "", nil, nil, err
	}
	fields = make(map[string]int)
	err = store.EachSealed(ctx, c.DataDir, seal.HeadSize, func(head []byte) error {
		id, ok := seal.KeyOf(head)
		if !ok {
			return errors.New("a stored field does not name its encryption key")
		}
		fields[id]++
		return nil
	})
	return path, ids, fields, err
}

type keysListCmd struct{ dataFlags }

// Run prints the table.
func (k *keysListCmd) Run(ctx context.Context) error {
	_, ids, fields, err := countSealed(ctx, k.dataFlags)
	if err != nil {
		return err
	}
	rows := make([][]string, 0, len(ids))
	for i, id := range ids {
		note := ""
		if i == 0 {
			note = "current"
		}
		rows = append(rows, []string{id, strconv.Itoa(fields[id]), note})
	}
	return printTable(os.Stdout, []string{"KEY", "SEALED FIELDS", ""}, rows)
}

type keysRotateCmd struct{ dataFlags }

// Help implements kong.HelpProvider.
func (keysRotateCmd) Help() string {
	return `The new key becomes the first in seal.key, and a running server uses it at once for new data. The older
keys stay, so that the server can decrypt older data. Retire an old key after retention (upkeep.keep) has removed that
data:

  boomerang keys rotate --data-dir data
  boomerang keys list --data-dir data
  boomerang keys retire 1f2e3d4c --data-dir data`
}

// Run makes the key.
func (k *keysRotateCmd) Run() error {
	c, err := k.load()
	if err != nil {
		return err
	}
	id, err := seal.Rotate(filepath.Join(c.DataDir, sealKeyFile))
	if err != nil {
		return err
	}
	fmt.Println(id)
	return nil
}

type keysRetireCmd struct {
	dataFlags
	ID string `arg:"" help:"ID of the key; see keys list." name:"key-id"`
}

// Help implements kong.HelpProvider.
func (keysRetireCmd) Help() string {
	return `The command fails while a stored field needs the key, and for a minute after each change of the keys. The
oldest key identifies repeated submissions: after its retirement, idempotency keys of the last 24 hours answer
CONFLICT.`
}

// Run deletes the key.
func (k *keysRetireCmd) Run(ctx context.Context) error {
	path, ids, fields, err := countSealed(ctx, k.dataFlags)
	if err != nil {
		return err
	}
	if n := fields[k.ID]; slices.Contains(ids, k.ID) && n > 0 {
		return fmt.Errorf("%d stored fields need the key %q: retention removes them, "+
			"and the next start of the server encrypts the default environments (/env) anew", n, k.ID)
	}
	return seal.Retire(path, k.ID)
}

type keysAPICmd struct {
	dataFlags
	Sub    string   `help:"Subject: the owner of everything submitted with the key." placeholder:"NAME"`
	Scope  []string `help:"Scope; admin sees and cancels all executions." enum:"admin" placeholder:"admin"`
	List   bool     `help:"List the keys of the configuration." xor:"act"`
	Revoke string   `help:"Revoke a key and its tokens; the beginning of the ID is enough." placeholder:"ID" xor:"act"`
}

// Help implements kong.HelpProvider.
func (keysAPICmd) Help() string {
	return `The clients of HopX exchange an API key for tokens of two hours. The command prints a new key on stdout and
stores it nowhere. On stderr it prints the entry for auth.api_keys in boomerang.yaml, which contains only a hash of the
key. The key is valid from the next start or SIGHUP of the server, until you remove the entry and send SIGHUP.

  export HOPX_API_KEY=$(boomerang keys api --sub me)

To refuse a key at once, revoke it: a running server on the same data directory refuses the key and its tokens within
five seconds, and ends their open requests. There is no way back; make a new key instead.

  boomerang keys api --list
  boomerang keys api --data-dir data --revoke 1f2e3d4c`
}

// Run prints a key and its entry in boomerang.yaml, or lists or revokes keys.
func (k *keysAPICmd) Run(ctx context.Context) error {
	if k.List || k.Revoke != "" {
		c, err := k.load()
		if err != nil {
			return err
		}
		if k.List {
			return listAPIKeys(ctx, c)
		}
		id, err := findAPIKey(c.Auth.APIKeys, k.Revoke)
		if err != nil {
			return err
		}
		return revoke(ctx, c.DataDir, auth.Revocation{Kind: auth.RevokedKey, Name: id}, time.Now())
	}
	if k.Sub == "" {
		return errors.New("name the subject of the new key with --sub")
	}
	key, entry, err := k.newKey()
	if err != nil {
		return err
	}
	fmt.Println(key)
	_, err = fmt.Fprintf(os.Stderr,
		"Add this entry to auth.api_keys in boomerang.yaml and send the server SIGHUP, or restart it:\n\n%s", entry)
	return err
}

// listAPIKeys prints the table of the configured keys. Before the first start there is no database and no revocation.
func listAPIKeys(ctx context.Context, c config.Config) error {
	var revocations []auth.Revocation
	if _, err := os.Stat(filepath.Join(c.DataDir, store.DatabaseFile)); err == nil {
		if revocations, err = store.Revocations(ctx, c.DataDir, time.Now()); err != nil {
			return err
		}
	}
	rows := make([][]string, 0, len(c.Auth.APIKeys))
	for _, k := range c.Auth.APIKeys {
		note := ""
		if slices.ContainsFunc(revocations, func(r auth.Revocation) bool {
			return r.Kind == auth.RevokedKey && r.Name == k.ID()
		}) {
			note = "revoked"
		}
		rows = append(rows, []string{k.ID(), k.Subject, strings.Join(k.Scopes, " "), note})
	}
	return printTable(os.Stdout, []string{"KEY", "SUBJECT", "SCOPES", ""}, rows)
}

// findAPIKey returns the ID of the configured key that the text names: the key itself, or the beginning of its ID.
func findAPIKey(keys []auth.APIKey, text string) (id string, err error) {
	if hashed, isKey := auth.HashAPIKey(text); isKey {
		return hashed.ID(), nil // also a key that is no longer configured: it may come back with an old file
	}
	for _, k := range keys {
		if !strings.HasPrefix(k.ID(), strings.ToLower(text)) {
			continue
		}
		if id != "" {
			return "", fmt.Errorf("more than one API key begins with %q", text)
		}
		id = k.ID()
	}
	if id == "" {
		return "", fmt.Errorf("no API key of the configuration begins with %q; see keys api --list", text)
	}
	return id, nil
}

// newKey returns a key, and the lines of boomerang.yaml that make the key valid.
func (k *keysAPICmd) newKey() (key, lines string, err error) {
	key, hashed, err := auth.NewAPIKey(k.Sub, k.Scope...)
	if err != nil {
		return "", "", err
	}
	entry, err := yaml.MarshalWithOptions([]auth.APIKey{hashed}, yaml.Flow(true))
	if err != nil {
		return "", "", fmt.Errorf("encode entry: %w", err)
	}
	return key, "auth:\n  api_keys: " + string(entry), nil
}
