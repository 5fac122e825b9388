//go:build integration

package doctor_test

import (
	"context"
	"io"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/sirupsen/logrus"

	"boomerang/internal/doctor"
	"boomerang/internal/network"
	"boomerang/internal/probe"
	"boomerang/internal/sandbox/docker"
)

// The test tries to get out of both networks: with the rules, and without the rules for the machine and for forwarded
// packets, as after a reboot.
func TestANetworkWithoutItsRulesIsSeenToBeOpen(t *testing.T) {
	engine(t)
	if os.Geteuid() != 0 && os.Getenv("REQUIRE_DOCKER") != "1" {
		t.Skip("rules of the firewall are root's")
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	config := docker.Defaults()
	config.InitDir, config.Pull, config.UIDBase = programs, docker.PullNever, users
	config.Networks.Prefix = "bmdoc"
	config.Networks.EgressSubnet = netip.MustParsePrefix("10.214.0.0/24")
	config.Networks.ProxySubnet = netip.MustParsePrefix("10.214.1.0/24")
	d, err := docker.New(config, node+"-networks", 1, logrus.NewEntry(log), probe.Program)
	if err != nil {
		t.Fatal(err)
	}
	l := shipped(t, d, "bash")
	firewall := network.NewFirewall(config.Networks)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		for _, b := range config.Networks.Bridges() {
			if err := d.RemoveNetwork(ctx, b); err != nil {
				t.Error(err)
			}
		}
		for _, end := range []func(context.Context) error{firewall.Remove, d.Dismantle} {
			if err := end(ctx); err != nil {
				t.Error(err)
			}
		}
		_ = d.Close()
	})
	if err := firewall.Lay(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := firewall.Check(t.Context()); err != nil {
		t.Errorf("rules that were just laid: %v", err)
	}
	machine, err := d.Machine(t.Context())
	if err != nil || len(machine) == 0 {
		t.Fatalf("addresses of the machine: %v, %v", machine, err)
	}
	reach := func() map[string][]string { // both networks at the same time
		t.Helper()
		var both sync.WaitGroup
		var mu sync.Mutex
		open := make(map[string][]string)
		for _, b := range config.Networks.Bridges() {
			l := l
			l.Network = b.Network
			both.Go(func() {
				found, err := (&doctor.Doctor{
					Sandbox: d, Program: docker.Carried(probe.Program),
					Networks: config.Networks, Machine: machine,
				}).Reach(t.Context(), l)
				if err != nil {
					t.Errorf("%s: %v", l.Network, err)
				}
				mu.Lock()
				defer mu.Unlock()
				for _, f := range found {
					open[l.Network] = append(open[l.Network], f.Name)
					t.Logf("%s: %s: %s", l.Network, f.Name, f.Happened)
				}
			})
		}
		both.Wait()
		return open
	}
	// the second time the network exists
	for _, b := range slices.Concat(config.Networks.Bridges(), config.Networks.Bridges()) {
		if err := d.MakeNetwork(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	if open := reach(); len(open) > 0 {
		t.Errorf("with the rules: open are %v", open)
	}
	if err := firewall.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	open := reach()
	for _, b := range config.Networks.Bridges() {
		for _, name := range []string{"gateway and machine", "the firewall's rules"} {
			if !slices.Contains(open[b.Network], name) {
				t.Errorf("%s, without rules: open are %v, want %q among them", b.Network, open[b.Network], name)
			}
		}
	}
}
