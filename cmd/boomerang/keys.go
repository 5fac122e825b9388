package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/goccy/go-yaml"

	"boomerang/internal/auth"
	"boomerang/internal/seal"
	"boomerang/internal/store"
)

// keysCmd manages two kinds of keys: those that encrypt code, environments, and the secrets and headers of callbacks
// in the database; and API keys.
type keysCmd struct {
	List   keysListCmd   `cmd:"" help:"List the encryption keys, and how many stored fields each has encrypted."`
	Rotate keysRotateCmd `cmd:"" help:"Make a new encryption key for all new data."`
	Retire keysRetireCmd `cmd:"" help:"Delete an encryption key that no stored field needs."`
	API    keysAPICmd    `cmd:"" name:"api" help:"Make an API key for the clients of HopX."`
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
	Sub   string   `help:"Subject: the owner of everything submitted with the key." required:"" placeholder:"NAME"`
	Scope []string `help:"Scope; admin sees and cancels all executions." enum:"admin" placeholder:"admin"`
}

// Help implements kong.HelpProvider.
func (keysAPICmd) Help() string {
	return `The clients of HopX exchange an API key for tokens. The command prints the key on stdout and stores it
nowhere. On stderr it prints the entry for auth.api_keys in boomerang.yaml, which contains only a hash of the key. The
key is valid until you remove the entry and restart the server; tokens of the key are valid for two hours.

  export HOPX_API_KEY=$(boomerang keys api --sub me)`
}

// Run prints the key and its entry in boomerang.yaml.
func (k *keysAPICmd) Run() error {
	key, entry, err := k.newKey()
	if err != nil {
		return err
	}
	fmt.Println(key)
	_, err = fmt.Fprintf(os.Stderr,
		"Add this entry to auth.api_keys in boomerang.yaml and restart the server:\n\n%s", entry)
	return err
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
