//go:build integration

package doctor_test

import (
	"context"
	"io"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/sirupsen/logrus"

	"boomerang/internal/doctor"
	"boomerang/internal/network"
	"boomerang/internal/probe"
	"boomerang/internal/sandbox/docker"
)

// TestANetworkWithoutItsRulesIsSeenToBeOpen tries to get out of both networks: with the rules, and again when those of the
// machine itself and those of what it forwards are gone, as after a reboot.
func TestANetworkWithoutItsRulesIsSeenToBeOpen(t *testing.T) {
	engine(t)
	if os.Geteuid() != 0 && os.Getenv("REQUIRE_DOCKER") != "1" {
		t.Skip("rules of the firewall are root's")
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	config := docker.Defaults()
	config.InitDir, config.Pull = programs, docker.PullNever
	config.Networks.Prefix = "bmdoc"
	config.Networks.EgressSubnet = netip.MustParsePrefix("10.214.0.0/24")
	config.Networks.ProxySubnet = netip.MustParsePrefix("10.214.1.0/24")
	d, err := docker.New(config, node+"-networks", 1, logrus.NewEntry(log), probe.Program)
	if err != nil {
		t.Fatal(err)
	}
	l := bash(t, d)
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
	reach := func(bridge network.Bridge) (open []string) {
		t.Helper()
		l.Network = bridge.Network
		found, err := (&doctor.Doctor{Sandbox: d, Program: docker.Carried(probe.Program), Networks: config.Networks, Machine: machine}).Reach(t.Context(), l)
		if err != nil {
			t.Errorf("%s: %v", bridge.Network, err)
		}
		for _, f := range found {
			open = append(open, f.Name)
			t.Logf("%s: %s: %s", bridge.Network, f.Name, f.Happened)
		}
		return open
	}
	for _, b := range config.Networks.Bridges() {
		for range 2 { // the second time it is there
			if err := d.MakeNetwork(t.Context(), b); err != nil {
				t.Fatal(err)
			}
		}
		if open := reach(b); len(open) > 0 {
			t.Errorf("%s, with its rules: open are %v", b.Network, open)
		}
	}
	if err := firewall.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, b := range config.Networks.Bridges() {
		want := []string{"gateway and machine"} // what the engine itself forwards for the proxy's network is nothing
		if b.Network == network.Egress {
			want = append(want, "the firewall's rules")
		}
		open := reach(b)
		for _, name := range want {
			if !slices.Contains(open, name) {
				t.Errorf("%s, without rules: open are %v, want %q among them", b.Network, open, name)
			}
		}
	}
}
