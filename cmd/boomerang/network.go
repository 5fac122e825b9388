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
	Setup  networkSetupCmd  `cmd:"" help:"Create both networks and the firewall rules. Run as root after each boot."`
	Check  networkCheckCmd  `cmd:"" help:"Check the firewall rules, then try to escape from each network."`
	Remove networkRemoveCmd `cmd:"" help:"Remove the networks and the firewall rules. Run as root."`
}

// Help implements kong.HelpProvider.
func (networkCmd) Help() string {
	return `In languages.yaml the network of a language is none, egress (public IPv4 addresses only) or proxy (only
the hosts of proxy.allow in boomerang.yaml). The networks egress and proxy each consist of a Docker network and of
firewall rules, which only root may add:

  sudo boomerang network setup
  sudo boomerang network check

A reboot removes the rules and keeps the networks. Therefore run setup at each boot; docs/OPERATIONS.md contains a
systemd unit. The server uses a network only while its own checks prove that the network is closed.`
}

// configFlags are the flags of commands that need the configuration and no data directory.
type configFlags struct {
	Config string `help:"Configuration file." type:"path" env:"BOOMERANG_CONFIG" placeholder:"FILE"`
}

// open loads the configuration and connects to the engine. It uses a node name of its own, so that no server manages
// its containers.
func (f configFlags) open(ctx context.Context) (config.Config, *docker.Docker, error) {
	c, err := config.Load(f.Config, os.Environ())
	if err != nil {
		return c, nil, err
	}
	log := config.Log{Level: "error", Format: "text"}.Logger(os.Stderr)
	engine, err := docker.New(c.Docker, "network-"+journal.NewNonce(), 1, log, probe.Program)
	if err != nil {
		return c, nil, err
	}
	if err := engine.Ping(ctx); err != nil {
		return c, nil, errors.Join(err, engine.Close())
	}
	return c, engine, nil
}

// openAsRoot is open for commands that change firewall rules. Without root it fails before it changes anything.
func (f configFlags) openAsRoot(ctx context.Context) (config.Config, *docker.Docker, error) {
	if err := network.NewFirewall(network.Defaults()).Allowed(); err != nil {
		return config.Config{}, nil, err
	}
	return f.open(ctx)
}

type networkSetupCmd struct{ configFlags }

// Run adds the firewall rules before it creates the networks, so that no network is ever open.
func (cmd *networkSetupCmd) Run(ctx context.Context) (err error) {
	c, engine, err := cmd.openAsRoot(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	if err := network.NewFirewall(c.Network).Lay(ctx); err != nil {
		return err
	}
	fmt.Println("firewall rules added")
	for _, b := range c.Network.Bridges() {
		if err := engine.MakeNetwork(ctx, b); err != nil {
			return fmt.Errorf("%w (try boomerang network remove, or other subnets in boomerang.yaml)", err)
		}
		fmt.Printf("%-6s ready: network %s, bridge %s, %s\n", b.Network, b.Name, b.Interface, b.Subnet)
	}
	fmt.Println("next: boomerang network check")
	return nil
}

type networkRemoveCmd struct{ configFlags }

// Run removes the networks before the rules that close them.
func (cmd *networkRemoveCmd) Run(ctx context.Context) (err error) {
	c, engine, err := cmd.openAsRoot(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	for _, b := range c.Network.Bridges() {
		if err := engine.RemoveNetwork(ctx, b); err != nil {
			return fmt.Errorf("%w (first, all programs on the network must end; the firewall rules stay)", err)
		}
	}
	if err := network.NewFirewall(c.Network).Remove(ctx); err != nil {
		return err
	}
	fmt.Println("networks and firewall rules removed")
	return nil
}

type networkCheckCmd struct {
	configFlags
	Language string `help:"Language whose image to use. Default: the first with an image." short:"l" placeholder:"NAME"`
}

// Help implements kong.HelpProvider.
func (networkCheckCmd) Help() string {
	return `The command compares the firewall rules with the expected ones, which requires root. Then it runs a
program on each network, which requires only access to Docker. The program tries to reach the gateway, the machine,
metadata services, private ranges and a neighbour, directly and through the proxy.

The exit code is 0 if both networks are closed, 1 if a network is open or missing, and 2 if the check could not be
made.`
}

// Run checks the rules and the networks.
func (cmd *networkCheckCmd) Run(ctx context.Context) error {
	open, err := cmd.check(ctx)
	if err != nil {
		printError(err)
		return exitError(exitUsage)
	}
	if open > 0 {
		return exitError(exitFailure)
	}
	return nil
}

// check returns the number of ways out that it found.
func (cmd *networkCheckCmd) check(ctx context.Context) (open int, err error) {
	c, engine, err := cmd.open(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	switch err := network.NewFirewall(c.Network).Check(ctx); {
	case err == nil:
		fmt.Println("the firewall rules are complete")
	case errors.Is(err, network.ErrRules):
		fmt.Printf("%v: run boomerang network setup\n", err)
		open++
	default:
		fmt.Printf("the firewall rules were not checked: %v\n", err)
	}
	languages, err := installedLanguages(ctx, c, engine, cmd.Language)
	if err != nil {
		return open, err
	}
	machine, err := engine.Machine(ctx)
	if err != nil {
		return open, err
	}
	printer := doctor.NewPrinter(os.Stdout)
	d := doctor.Doctor{
		Sandbox: engine, Program: docker.Carried(probe.Program), Networks: c.Network, Machine: machine,
		Found: printer.Finding,
	}
	defer func() { err = errors.Join(err, dismantle(ctx, engine)) }()
	for _, b := range c.Network.Bridges() {
		found, err := checkNetwork(ctx, engine, d, languages[0], b, printer)
		if err != nil {
			return open, err
		}
		open += found
	}
	return open, nil
}

// checkNetwork tries to escape from one network and returns the number of ways out. A missing network counts as one.
func checkNetwork(
	ctx context.Context, engine *docker.Docker, d doctor.Doctor, l language.Language, b network.Bridge,
	printer *doctor.Printer,
) (int, error) {
	exists, err := engine.HasNetwork(ctx, b)
	if err != nil {
		return 0, err
	}
	if !exists {
		fmt.Printf("network %s is missing: run boomerang network setup\n", b.Network)
		return 1, nil
	}
	printer.Language(b.Network, b.Name)
	l.Network = b.Network
	open, err := d.Reach(ctx, l)
	return len(open), err
}

type proxyCmd struct{ configFlags }

// Help implements kong.HelpProvider.
func (proxyCmd) Help() string {
	return `The proxy is the only way out of the network "proxy". It listens on the first address of
network.proxy_subnet and forwards requests to the hosts in proxy.allow, by CONNECT and by absolute http:// URLs,
unless a name resolves to an address that is not public. It needs neither root, nor Docker, nor the data directory;
run it as a user of its own. Before the first start run boomerang network setup.`
}

// Run serves until a signal arrives.
func (cmd *proxyCmd) Run(ctx context.Context) error {
	c, err := config.Load(cmd.Config, os.Environ())
	if err != nil {
		return err
	}
	log := c.Log.Logger(os.Stderr)
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Network.ProxyAddr().String())
	if err != nil {
		return fmt.Errorf("%w (if the network is missing, run boomerang network setup)", err)
	}
	log.WithFields(logrus.Fields{"addr": l.Addr().String(), "hosts": len(c.Proxy.Allow)}).Info("proxy listening")
	return proxy.New(c.Proxy, log).Serve(ctx, l)
}
