package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// The errors of a firewall.
var (
	// ErrNotRoot says that only root may read and change the rules.
	ErrNotRoot = errors.New("only root may read and change firewall rules: run this as root, on the engine's machine")
	// ErrNoTool says that no iptables variant has the engine's chain.
	ErrNoTool = errors.New("no iptables here has the engine's chain " + dockerUser +
		": install iptables, run this on the engine's machine, and let the engine manage iptables")
	// ErrRules says that rules are missing or different.
	ErrRules = errors.New("the firewall lacks rules")
)

// Firewall adds the rules of a configuration with iptables, checks them, and removes them.
type Firewall struct {
	config Config
	run    func(ctx context.Context, stdin, tool string, args ...string) (string, error)
	root   bool
	ipv6   bool // the kernel supports it
}

// NewFirewall returns the firewall of this machine, or of the network namespace of this process.
func NewFirewall(c Config) *Firewall {
	_, err := os.Stat("/proc/net/if_inet6")
	return &Firewall{config: c, run: run, root: os.Geteuid() == 0, ipv6: err == nil}
}

// run passes stdin to a tool and returns its output. The error contains the tool's stderr.
func run(ctx context.Context, stdin, tool string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, tool, args...) //nolint:gosec // the tools are iptables and its kin
	cmd.Stdin = strings.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", tool, err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}

// Allowed reports whether this process may read and change rules. Errors: ErrNotRoot.
func (f *Firewall) Allowed() error {
	if !f.root {
		return ErrNotRoot
	}
	return nil
}

// Lay installs the rules, atomically for each family, and replaces existing ones. Errors: ErrNotRoot, ErrNoTool, and
// those of the tool.
func (f *Firewall) Lay(ctx context.Context) error {
	return f.applyEach(ctx, func(family family, saved string) (string, error) {
		return family.layScript(f.config, saved), nil
	})
}

// Remove removes the rules. Errors are those of Lay.
func (f *Firewall) Remove(ctx context.Context) error {
	return f.applyEach(ctx, func(family family, saved string) (string, error) {
		return family.removeScript(f.config, saved), nil
	})
}

// Check compares the installed rules with the configuration. Errors: ErrRules, ErrNotRoot, ErrNoTool, and those of the
// tool.
func (f *Firewall) Check(ctx context.Context) error {
	return f.applyEach(ctx, func(family family, saved string) (string, error) {
		if missing := family.firstDifference(f.config, saved); missing != "" {
			return "", fmt.Errorf("%w: %s: %s", ErrRules, family.tool, missing)
		}
		return "", nil
	})
}

// applyEach reads the rules of every family and applies the script that script returns for them.
func (f *Firewall) applyEach(ctx context.Context, script func(family, string) (string, error)) error {
	if err := f.Allowed(); err != nil {
		return err
	}
	variant, err := f.variant(ctx)
	if err != nil {
		return err
	}
	for _, family := range families {
		if family.tool == "ip6tables" && !f.ipv6 {
			continue
		}
		saved, err := f.run(ctx, "", family.tool+variant+"-save", "-t", "filter")
		if err != nil {
			return err
		}
		text, err := script(family, saved)
		if err != nil {
			return err
		}
		if text == "" {
			continue
		}
		if _, err := f.run(ctx, text, family.tool+variant+"-restore", "-w", "10", "--noflush"); err != nil {
			return err
		}
	}
	return nil
}

// variant finds the iptables that the engine uses: of the variants that a machine may have (nftables, legacy), the one
// with the engine's chain, starting with the machine's default.
func (f *Firewall) variant(ctx context.Context) (string, error) {
	var errs []error
	for _, variant := range []string{"", "-nft", "-legacy"} {
		saved, err := f.run(ctx, "", "iptables"+variant+"-save", "-t", "filter")
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if hasChain(saved, dockerUser) {
			return variant, nil
		}
	}
	return "", errors.Join(append([]error{ErrNoTool}, errs...)...)
}
