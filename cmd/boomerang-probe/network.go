//go:build linux

package main

import (
	"errors"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"boomerang/internal/probe"
)

// sharedPort, sharedSocket and sharedKey belong to the doctor's neighbour, which offers them to other containers.
const (
	sharedPort   = "47811"
	sharedSocket = "@boomerang-probe"
	sharedKey    = 0x626f6f6d
)

// network returns checks of the reachable addresses. Each attempt has a deadline, so that dropped packets show up as
// well as missing routes.
func network(task probe.Task) []check {
	switch task.Network {
	case "egress":
		return egress(task.Around)
	case "proxy":
		return proxied(task.Around)
	}
	return []check{
		{networkGroup, "interfaces", "only lo", func(probe.Task) (string, bool) {
			all, err := net.Interfaces()
			names := make([]string, len(all))
			for i, one := range all {
				names[i] = one.Name
			}
			return strings.Join(names, ", "), err == nil && strings.Join(names, " ") == "lo"
		}},
		{networkGroup, "routes", "none", func(probe.Task) (string, bool) {
			text, err := os.ReadFile("/proc/net/route")
			lines := strings.Count(strings.TrimSpace(string(text)), "\n")
			return strings.TrimSpace(strings.ReplaceAll(string(text), "\t", " ")[:min(len(text), 60)]), err == nil &&
				lines == 0
		}},
		unreachable("public addresses", "192.0.2.1:80", "1.1.1.1:443", "[2606:4700:4700::1111]:443"),
		unreachable("metadata services", "169.254.169.254:80", "[fd00:ec2::254]:80", "100.100.100.200:80",
			"168.63.129.16:80"),
		unreachable("gateway and machine", "172.17.0.1:2375", "172.17.0.1:22", "172.18.0.1:8080", "10.0.2.2:22",
			"192.168.65.254:2375"),
		unreachable("neighbour", "172.17.0.2:"+sharedPort, "172.17.0.3:"+sharedPort, "127.0.0.1:"+sharedPort),
		unreachable("the machine's loopback", "127.0.0.1:2375", "127.0.0.1:22", "127.0.0.1:8080", "[::1]:22",
			"127.0.0.53:53"),
		noNames,
	}
}

const (
	networkGroup = "network"
	patience     = 2 * time.Second
)

// unreachable holds if no connection succeeds and no packet leaves: a silent address counts as reachable, an address
// without a route does not.
func unreachable(name string, addresses ...string) check {
	return check{networkGroup, name, "no route to " + strings.Join(addresses, ", "), func(task probe.Task) (string,
		bool,
	) {
		type tried struct {
			address string
			err     error
		}
		results := make(chan tried, len(addresses))
		for _, address := range addresses {
			go func() {
				connection, err := (&net.Dialer{Timeout: patience}).Dial("tcp", address)
				if err == nil {
					_ = connection.Close()
				}
				results <- tried{address, err}
			}()
		}
		var open, answers []string
		for range addresses {
			r := <-results
			local := strings.HasPrefix(r.address, "127.") || strings.HasPrefix(r.address, "[::1]")
			noWay := errors.Is(r.err, unix.ENETUNREACH) || errors.Is(r.err, unix.EADDRNOTAVAIL) ||
				errors.Is(r.err, unix.EACCES)
			noWay = noWay || task.Sentry && errors.Is(r.err, unix.EHOSTUNREACH) // gVisor's error for a missing route
			if noWay || local && errors.Is(r.err, unix.ECONNREFUSED) {
				answers = append(answers, errorName(r.err))
			} else {
				open = append(open, r.address+" "+dialResult(r.err))
			}
		}
		if len(open) > 0 {
			return strings.Join(open, ", "), false
		}
		return strings.Join(distinct(answers), ", "), true
	}}
}

func dialResult(err error) string {
	switch {
	case err == nil:
		return "answers"
	case os.IsTimeout(err):
		return "accepts packets"
	}
	return errorName(err)
}
