package docker

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	dockernetwork "github.com/docker/docker/api/types/network"

	"boomerang/internal/address"
	"boomerang/internal/network"
	"boomerang/internal/sandbox"
)

// knownNetwork reports whether a network is one of boomerang's or none. Any other network would break the isolation:
// the host's network, another container's, or a bridge shared with other containers.
func knownNetwork(name string) bool { return name == "" || name == network.None || networked(name) }

// networked reports whether a container is on a network.
func networked(name string) bool { return name == network.Egress || name == network.Proxy }

// connection holds the settings for a container's network in its HostConfig.
type connection struct {
	mode            container.NetworkMode
	servers, search []string
	hosts           []string // lines that the engine adds to its own /etc/hosts
	sysctls         map[string]string
}

// networkSettings translates the network of a spec. The engine would pass on the machine's name servers and search
// domains, which reveal internal names, so both are replaced. IPv6 is off in the container and on the network.
func networkSettings(s sandbox.Spec, p hostFacts) connection {
	bridge, ok := p.config.Networks.Bridge(s.Network)
	if !ok {
		c := connection{mode: network.None}
		if !skipsNetworkSetup(s, p) {
			c.hosts = []string{sandbox.Name + ":127.0.0.1", sandbox.Name + ":::1"}
		}
		return c
	}
	c := connection{
		hosts:   []string{sandbox.Name + ":127.0.0.1"}, // this address precedes the address on the bridge
		mode:    container.NetworkMode(bridge.Name),
		search:  []string{"."}, // the engine's notation for no search domain
		sysctls: map[string]string{"net.ipv6.conf.all.disable_ipv6": "1", "net.ipv6.conf.default.disable_ipv6": "1"},
	}
	for _, server := range p.config.Networks.Servers(bridge.Network) {
		c.servers = append(c.servers, server.String())
	}
	return c
}

// labelNetwork marks the networks that boomerang made.
const labelNetwork = "boomerang.network"

// The options of a bridge, as the engine's driver names them.
const (
	optionInterface = "com.docker.network.bridge.name"
	optionNeighbors = "com.docker.network.bridge.enable_icc"
)

// ErrNetwork means that a network with that name exists and has other properties.
var ErrNetwork = errors.New("the engine has a different network of that name")

// networkOptions translates a bridge.
func networkOptions(b network.Bridge) dockernetwork.CreateOptions {
	return dockernetwork.CreateOptions{
		Driver:     "bridge",
		EnableIPv6: new(false),
		Internal:   b.Internal,
		Options:    map[string]string{optionInterface: b.Interface, optionNeighbors: "false"},
		Labels:     map[string]string{labelNetwork: b.Network},
		IPAM: &dockernetwork.IPAM{
			Driver: "default",
			Config: []dockernetwork.IPAMConfig{{Subnet: b.Subnet.String(), Gateway: b.Gateway.String()}},
		},
	}
}

// networkDifference describes the first unwanted property of a network; it is empty if there is none.
func networkDifference(got dockernetwork.Inspect, b network.Bridge) string {
	want := networkOptions(b)
	for name, value := range want.Options {
		if got.Options[name] != value {
			return fmt.Sprintf("%s is %q, not %q", name, got.Options[name], value)
		}
	}
	switch {
	case got.Driver != want.Driver:
		return fmt.Sprintf("its driver is %q, not %q", got.Driver, want.Driver)
	case got.Internal != want.Internal:
		return fmt.Sprintf("internal is %t", got.Internal)
	case got.EnableIPv6:
		return "it has IPv6"
	case len(got.IPAM.Config) != 1 || got.IPAM.Config[0].Subnet != want.IPAM.Config[0].Subnet:
		return fmt.Sprintf("its range is %v, not %s", got.IPAM.Config, b.Subnet)
	case got.Labels[labelNetwork] != b.Network:
		return "boomerang did not make it"
	}
	return ""
}

// MakeNetwork makes a network if it is missing. Errors: ErrNetwork, sandbox.ErrUnavailable, and the engine's own.
func (d *Docker) MakeNetwork(ctx context.Context, b network.Bridge) error {
	there, err := d.HasNetwork(ctx, b)
	if there || err != nil {
		return err
	}
	_, err = callEngine(ctx, d, "create network", func(ctx context.Context) (dockernetwork.CreateResponse, error) {
		return d.client.NetworkCreate(ctx, b.Name, networkOptions(b))
	})
	return err
}

// HasNetwork reports whether a network exists. Errors: ErrNetwork, sandbox.ErrUnavailable.
func (d *Docker) HasNetwork(ctx context.Context, b network.Bridge) (bool, error) {
	got, err := callEngine(ctx, d, "inspect network", func(ctx context.Context) (dockernetwork.Inspect, error) {
		return d.client.NetworkInspect(ctx, b.Name, dockernetwork.InspectOptions{})
	})
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if difference := networkDifference(got, b); difference != "" {
		return false, fmt.Errorf("%w: %s: %s", ErrNetwork, b.Name, difference)
	}
	return true, nil
}

// RemoveNetwork removes a network of boomerang's; a missing network is no error. Errors: ErrNetwork for a foreign
// network, sandbox.ErrUnavailable, and the engine's own while containers use the network.
func (d *Docker) RemoveNetwork(ctx context.Context, b network.Bridge) error {
	got, err := callEngine(ctx, d, "inspect network", func(ctx context.Context) (dockernetwork.Inspect, error) {
		return d.client.NetworkInspect(ctx, b.Name, dockernetwork.InspectOptions{})
	})
	if err == nil && got.Labels[labelNetwork] == "" {
		return fmt.Errorf("%w: %s: boomerang did not make it", ErrNetwork, b.Name)
	}
	if err == nil {
		err = do(ctx, d, "remove network", func(ctx context.Context) error {
			return d.client.NetworkRemove(ctx,
				got.ID)
		})
	}
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// Machine returns the known addresses of the engine's machine: those on the engine's networks and, if the engine runs
// on this machine, all local addresses. Errors: sandbox.ErrUnavailable.
func (d *Docker) Machine(ctx context.Context) ([]netip.Addr, error) {
	all, err := d.gateways(ctx)
	if err != nil || !strings.HasPrefix(d.client.DaemonHost(), "unix:") {
		return all, err
	}
	own, err := address.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	all = append(all, own...)
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all), nil
}

func (d *Docker) gateways(ctx context.Context) ([]netip.Addr, error) {
	list, err := callEngine(ctx, d, "list networks", func(ctx context.Context) ([]dockernetwork.Summary, error) {
		return d.client.NetworkList(ctx, dockernetwork.ListOptions{})
	})
	var gateways []netip.Addr
	for _, n := range list {
		for _, c := range n.IPAM.Config {
			if addr, err := netip.ParseAddr(c.Gateway); err == nil {
				gateways = append(gateways, addr)
			}
		}
	}
	return gateways, err
}
