package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"

	"github.com/goccy/go-yaml"

	"boomerang/internal/auth"
	"boomerang/internal/seal"
	"boomerang/internal/store"
)

// keysCmd is about the keys that seal code, environments, and the secrets and headers of callbacks, and about API keys.
type keysCmd struct {
	List   keysListCmd   `cmd:"" help:"List the keys, and how many stored fields each has sealed."`
	Rotate keysRotateCmd `cmd:"" help:"Make a new key, with which everything is sealed from now on."`
	Retire keysRetireCmd `cmd:"" help:"Forget a key that has sealed nothing that is still stored."`
	API    keysAPICmd    `cmd:"" name:"api" help:"Make an API key for HopX's clients."`
}

// sealed says where the keys are, and counts.
type sealed struct{ settings }

// counts returns the path of the key file, its keys, and how many stored fields each key has sealed.
func (s sealed) counts(ctx context.Context) (path string, ids []string, fields map[string]int, err error) {
	c, err := s.load()
	if err != nil {
		return "", nil, nil, err
	}
	path = filepath.Join(c.DataDir, "seal.key")
	if ids, err = seal.Keys(path); err != nil {
		return "", nil, nil, err
	}
	fields = make(map[string]int)
	err = store.EachSealed(ctx, c.DataDir, seal.HeadSize, func(head []byte) error {
		id, ok := seal.KeyOf(head)
		if !ok {
			return errors.New("a sealed field does not tell its key")
		}
		fields[id]++
		return nil
	})
	return path, ids, fields, err
}

type keysListCmd struct{ sealed }

// Run prints the table.
func (k *keysListCmd) Run(ctx context.Context) error {
	_, ids, fields, err := k.counts(ctx)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "KEY\tSEALED FIELDS\t")
	for i, id := range ids {
		note := ""
		if i == 0 {
			note = "current"
		}
		_, _ = fmt.Fprintf(table, "%s\t%d\t%s\n", id, fields[id], note)
	}
	return table.Flush()
}

type keysRotateCmd struct{ settings }

// Help says more than one line.
func (keysRotateCmd) Help() string {
	return `The new key comes first in seal.key, and a running server seals with it at once. What older keys have sealed can be read
as before; when it has been removed (upkeep.keep), retire them:

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
	id, err := seal.Rotate(filepath.Join(c.DataDir, "seal.key"))
	if err != nil {
		return err
	}
	fmt.Println(id)
	return nil
}

type keysRetireCmd struct {
	sealed
	ID string `arg:"" help:"The key's id, as list shows it."`
}

// Help says more than one line.
func (keysRetireCmd) Help() string {
	return `Refused while a stored field needs the key, and for a minute after the keys were changed. Idempotency keys are recognised by the oldest key: when that one is retired,
those of the last 24 hours answer CONFLICT.`
}

// Run takes the key out.
func (k *keysRetireCmd) Run(ctx context.Context) error {
	path, ids, fields, err := k.counts(ctx)
	if err != nil {
		return err
	}
	if n := fields[k.ID]; slices.Contains(ids, k.ID) && n > 0 {
		return fmt.Errorf("the key %q has sealed %d stored fields: they can be read with it alone. Retention removes them in time, and the next start reseals the default environments (/env)", k.ID, n)
	}
	return seal.Retire(path, k.ID)
}

type keysAPICmd struct {
	Sub   string   `help:"Who the key stands for: the owner of all that is submitted with its tokens." required:"" placeholder:"NAME"`
	Scope []string `help:"What more its tokens may do. The one scope is admin: see and end everybody's executions." placeholder:"admin"`
}

// Help says more than one line.
func (keysAPICmd) Help() string {
	return `HopX's clients ask for tokens with an API key. The key is printed and kept nowhere; beside it, on stderr, the line for
auth.api_keys in boomerang.yaml, which holds only its hash. A key holds until its line is taken out and the server restarted, and
its tokens for two hours:

  export HOPX_API_KEY=$(boomerang keys api --sub me)`
}

// Run prints the key and its line.
func (k *keysAPICmd) Run() error {
	key, lines, err := k.make()
	if err != nil {
		return err
	}
	fmt.Println(key)
	_, err = fmt.Fprintf(os.Stderr, "In boomerang.yaml, and after it a restart; beside other keys an entry of the same list:\n\n%s", lines)
	return err
}

// make returns a key, and the lines of boomerang.yaml that make it good.
func (k *keysAPICmd) make() (key, lines string, err error) {
	key, hashed, err := auth.NewAPIKey(k.Sub, k.Scope...)
	if err != nil {
		return "", "", err
	}
	entry, err := yaml.MarshalWithOptions([]auth.APIKey{hashed}, yaml.Flow(true))
	if err != nil {
		return "", "", fmt.Errorf("write entry: %w", err)
	}
	return key, "auth:\n  api_keys: " + string(entry), nil
}
