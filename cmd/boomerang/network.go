package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/sirupsen/logrus"

	"boomerang/internal/config"
	"boomerang/internal/doctor"
	"boomerang/internal/journal"
	"boomerang/internal/language"
	"boomerang/internal/network"
	"boomerang/internal/probe"
	"boomerang/internal/proxy"
	"boomerang/internal/sandbox/docker"
)

type networkCmd struct {
	Setup  networkSetupCmd  `cmd:"" help:"Make both networks and lay the firewall's rules. As root; again after each reboot."`
	Check  networkCheckCmd  `cmd:"" help:"Look at the rules, then try to get out of each network."`
	Remove networkRemoveCmd `cmd:"" help:"Remove the networks and the rules. As root."`
}

// Help says more than one line.
func (networkCmd) Help() string {
	return `A language in languages.yaml has network: none, egress (public IPv4 addresses, nothing private) or proxy (what proxy.allow names in
boomerang.yaml). The last two are a network of the engine each, and rules of the machine's firewall, which only root may lay:

  sudo boomerang network setup
  sudo boomerang network check

A reboot takes the rules and leaves the networks, so run setup at each start of the machine (docs/OPERATIONS.md has the unit for
systemd). While a network is not proven to be closed, the server puts no program on it.`
}

// networkSettings are what all three need.
type networkSettings struct {
	Config string `help:"Configuration file, as of serve." type:"path" env:"BOOMERANG_CONFIG" placeholder:"FILE"`
}

// open loads the settings and reaches the engine, as a node of its own.
func (n networkSettings) open(ctx context.Context) (config.Config, *docker.Docker, error) {
	settings, err := config.Load(n.Config, os.Environ())
	if err != nil {
		return settings, nil, err
	}
	log := config.Log{Level: "error", Format: "text"}.Logger(os.Stderr)
	engine, err := docker.New(settings.Docker, "network-"+journal.NewNonce(), 1, log, probe.Program)
	if err != nil {
		return settings, nil, err
	}
	if err := engine.Ping(ctx); err != nil {
		return settings, nil, errors.Join(err, engine.Close())
	}
	return settings, engine, nil
}

// openAsRoot refuses before anything is touched.
func (n networkSettings) openAsRoot(ctx context.Context) (config.Config, *docker.Docker, error) {
	if err := network.NewFirewall(network.Defaults()).Allowed(); err != nil {
		return config.Config{}, nil, err
	}
	return n.open(ctx)
}

type networkSetupCmd struct{ networkSettings }

// Run lays the rules before there is a network that they are for.
func (c *networkSetupCmd) Run(ctx context.Context) (err error) {
	settings, engine, err := c.openAsRoot(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	if err := network.NewFirewall(settings.Network).Lay(ctx); err != nil {
		return err
	}
	fmt.Println("the rules are laid")
	for _, b := range settings.Network.Bridges() {
		if err := engine.MakeNetwork(ctx, b); err != nil {
			return fmt.Errorf("%w (boomerang network remove, and other subnets in boomerang.yaml, may help)", err)
		}
		fmt.Printf("%-6s is there: network %s, bridge %s, %s\n", b.Network, b.Name, b.Interface, b.Subnet)
	}
	fmt.Println("now: boomerang network check")
	return nil
}

type networkRemoveCmd struct{ networkSettings }

// Run removes the networks before the rules that close them.
func (c *networkRemoveCmd) Run(ctx context.Context) (err error) {
	settings, engine, err := c.openAsRoot(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	for _, b := range settings.Network.Bridges() {
		if err := engine.RemoveNetwork(ctx, b); err != nil {
			return fmt.Errorf("%w (programs that run on it must have ended; the rules stay until then)", err)
		}
	}
	if err := network.NewFirewall(settings.Network).Remove(ctx); err != nil {
		return err
	}
	fmt.Println("networks and rules are removed")
	return nil
}

type networkCheckCmd struct {
	networkSettings
	Language string `help:"Try it in this language's image. Default: the first whose image is there." short:"l" placeholder:"NAME"`
}

// Help says more than one line.
func (networkCheckCmd) Help() string {
	return `As root it compares the rules with what they should be. Then, as anybody who may use the engine, it runs a program on each network
that tries to reach the gateway, the machine, metadata services, private ranges, a neighbour, and all of them by the proxy.

Exit code 0: both are closed. 1: one is open, or not there. 2: nothing could be tried.`
}

// Run checks.
func (c *networkCheckCmd) Run(ctx context.Context) error {
	open, err := c.check(ctx)
	if err != nil {
		fmt.Fprintf(os.Stderr, "boomerang: network check: %v\n", err)
		return exitError(exitUsage)
	}
	if open > 0 {
		return exitError(1)
	}
	return nil
}

func (c *networkCheckCmd) check(ctx context.Context) (open int, err error) {
	settings, engine, err := c.open(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	switch err := network.NewFirewall(settings.Network).Check(ctx); {
	case err == nil:
		fmt.Println("the rules are as they should be")
	case errors.Is(err, network.ErrRules):
		fmt.Printf("%v: run boomerang network setup\n", err)
		open++
	default:
		fmt.Printf("the rules were not looked at: %v\n", err)
	}
	languages, err := (&doctorCmd{Language: c.Language}).languages(ctx, settings, engine)
	if err != nil {
		return open, err
	}
	machine, err := engine.Machine(ctx)
	if err != nil {
		return open, err
	}
	printer := doctor.NewPrinter(os.Stdout)
	d := doctor.Doctor{
		Sandbox: engine, Program: docker.Carried(probe.Program), Networks: settings.Network, Machine: machine, Found: printer.Finding,
	}
	defer func() {
		ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), homeward)
		defer stop()
		err = errors.Join(err, engine.Dismantle(ctx))
	}()
	for _, b := range settings.Network.Bridges() {
		found, err := tryNetwork(ctx, engine, d, languages[0], b, printer)
		if err != nil {
			return open, err
		}
		open += found
	}
	return open, nil
}

// tryNetwork tries to get out of one network and counts the ways.
func tryNetwork(ctx context.Context, engine *docker.Docker, d doctor.Doctor, l language.Language, b network.Bridge, printer *doctor.Printer) (int, error) {
	there, err := engine.HasNetwork(ctx, b)
	if err != nil {
		return 0, err
	}
	if !there {
		fmt.Printf("%s is not there: run boomerang network setup\n", b.Network)
		return 1, nil
	}
	printer.Language(b.Network, b.Name)
	l.Network = b.Network
	open, err := d.Reach(ctx, l)
	return len(open), err
}

type proxyCmd struct{ networkSettings }

// Help says more than one line.
func (proxyCmd) Help() string {
	return `It listens on the first address of network.proxy_subnet and lets programs through to the hosts in proxy.allow, by CONNECT and by
absolute http:// URLs, unless a name leads to an address that is not public. It needs neither root nor Docker nor the data directory:
let it be a user of its own. The network must be there: boomerang network setup.`
}

// Run serves until a signal comes.
func (c *proxyCmd) Run(ctx context.Context) error {
	settings, err := config.Load(c.Config, os.Environ())
	if err != nil {
		return err
	}
	log := settings.Log.Logger(os.Stderr)
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", settings.Network.ProxyAddr().String())
	if err != nil {
		return fmt.Errorf("%w (is the network there? boomerang network setup makes it)", err)
	}
	log.WithFields(logrus.Fields{"addr": l.Addr().String(), "hosts": len(settings.Proxy.Allow)}).Info("the proxy serves")
	return proxy.New(settings.Proxy, log).Serve(ctx, l)
}
