//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"boomerang/internal/probe"
)

// runNetworkChecks runs all network checks at the same time, because they mostly wait for timeouts.
func runNetworkChecks(task probe.Task) error {
	all := network(task)
	if err := probe.Write(os.Stdout, probe.Answer{Count: int64(len(all))}); err != nil {
		return err
	}
	findings := make([]probe.Finding, len(all))
	var tries sync.WaitGroup
	for i, w := range all {
		tries.Go(func() {
			happened, held := w.run(task)
			findings[i] = probe.Finding{Group: w.group, Name: w.name, Should: w.should, Happened: happened, Held: held}
		})
	}
	tries.Wait()
	for _, f := range findings {
		if err := probe.Write(os.Stdout, f); err != nil {
			return err
		}
	}
	return nil
}

// egress returns checks for the network egress. Silence proves little, so two addresses would answer: the sentinel
// refuses connections while forwarded packets pass through the firewall's rules, and the machine refuses them if the
// rules are missing.
func egress(around probe.Around) []check {
	return append(bridged(around), silent("gateway and machine", around.Machine))
}

// proxied returns checks for the network proxy, including requests through the proxy.
func proxied(around probe.Around) []check {
	return append(bridged(around),
		silent("public addresses", []string{"1.1.1.1:443", "9.9.9.9:53", "8.8.8.8:443", "[2606:4700:4700::1111]:443"}),
		silent("gateway and machine", slices.DeleteFunc(slices.Clone(around.Machine),
			func(a string) bool { return a == around.Proxy })),
		noNames,
		check{networkGroup, "by the proxy", "no closed address, no machine, no neighbour", func(probe.Task) (string,
			bool,
		) {
			var open []string
			answers := 0
			for _, target := range slices.Concat(around.Metadata[:min(1, len(around.Metadata))], around.Machine,
				around.Neighbours, []string{"localhost:22", "127.0.0.1:2375", around.Proxy}) {
				status, err := connect(around.Proxy, target)
				if err != nil {
					continue
				}
				answers++
				if status == http.StatusOK {
					open = append(open, target)
				}
			}
			if answers == 0 {
				return "the proxy does not answer", true
			}
			return fmt.Sprintf("%d refused, open: %s", answers-len(open), orNone(open)), len(open) == 0
		}},
	)
}

// bridged returns checks for both networks.
func bridged(around probe.Around) []check {
	return []check{
		{networkGroup, "interfaces", "lo and eth0 alone", func(probe.Task) (string, bool) {
			all, err := net.Interfaces()
			var names []string
			for _, one := range all {
				if one.Flags&net.FlagUp != 0 { // the kernel adds inactive tunnel devices to every network namespace
					names = append(names, one.Name)
				}
			}
			slices.Sort(names)
			return strings.Join(names, ", "), err == nil && strings.Join(names, " ") == "eth0 lo"
		}},
		{networkGroup, "IPv6", "no address but loopback's, and no way to the gateway's", func(probe.Task) (string,
			bool,
		) {
			text, err := os.ReadFile("/proc/net/if_inet6")
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return errorName(err), false
			}
			var found []string
			for line := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n") {
				if fields := strings.Fields(line); len(fields) > 0 && fields[len(fields)-1] != "lo" {
					found = append(found, fields[0])
				}
			}
			err = dial("[fe80::1%eth0]:22")
			closed := errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENETUNREACH) ||
				errors.Is(err, unix.EACCES)
			return orNone(found) + "; " + errorName(err), len(found) == 0 && closed
		}},
		{
			networkGroup, "the firewall's rules", "they are in the way: " + around.Sentinel + " refuses",
			func(probe.Task) (string, bool) {
				err := dial(around.Sentinel)
				return dialResult(err), errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENETUNREACH) &&
					!routed()
			},
		},
		silent("closed ranges", around.Closed),
		silent("metadata services", around.Metadata),
		silent("neighbour", around.Neighbours),
	}
}

// routed reports whether there is a default route. In the kernel's table the destination is the second field, and its
// mask the eighth.
func routed() bool {
	text, err := os.ReadFile("/proc/net/route")
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 7 && f[1] == "00000000" && f[7] == "00000000" {
			return true
		}
	}
	return err != nil
}

// silent holds if no target accepts or refuses a connection.
func silent(name string, targets []string) check {
	return check{networkGroup, name, "no answer from " + strings.Join(targets, ", "), func(probe.Task) (string, bool) {
		errs := make([]error, len(targets))
		var tries sync.WaitGroup
		for i, target := range targets {
			tries.Go(func() { errs[i] = dial(target) })
		}
		tries.Wait()
		var open, words []string
		for i, err := range errs {
			none := os.IsTimeout(err) || errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.ENETUNREACH) ||
				errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EACCES)
			if !none {
				open = append(open, targets[i]+" "+dialResult(err))
			}
			words = append(words, unanswered(err))
		}
		if len(open) > 0 {
			return strings.Join(open, ", "), false
		}
		return orNone(distinct(words)), true
	}}
}

func unanswered(err error) string {
	if os.IsTimeout(err) {
		return "no answer"
	}
	return errorName(err)
}

func dial(target string) error {
	c, err := (&net.Dialer{Timeout: patience}).Dial("tcp", target)
	if err == nil {
		_ = c.Close()
	}
	return err
}

// connect asks a proxy to connect to target and returns the status of its answer.
func connect(proxy, target string) (int, error) {
	c, err := (&net.Dialer{Timeout: patience}).Dial("tcp", proxy)
	if err != nil {
		return 0, err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, "CONNECT "+target+" HTTP/1.1\r\nHost: "+target+"\r\n\r\n"); err != nil {
		return 0, err
	}
	answer, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: http.MethodConnect})
	if err != nil {
		return 0, err
	}
	_ = answer.Body.Close()
	return answer.StatusCode, nil
}

// addresses returns the word ready and the container's own addresses, without loopback.
func addresses() string {
	networks, _ := net.InterfaceAddrs()
	words := []string{"ready"}
	for _, n := range networks {
		if prefix, err := netip.ParsePrefix(n.String()); err == nil && !prefix.Addr().IsLoopback() {
			words = append(words, prefix.Addr().String())
		}
	}
	return strings.Join(words, " ")
}

// noNames holds if no name resolves.
var noNames = check{networkGroup, "DNS", "no name is resolved", func(probe.Task) (string, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	found, err := (&net.Resolver{PreferGo: true}).LookupHost(ctx, "example.com")
	if err == nil {
		return strings.Join(found, ", "), false
	}
	return "no answer", true
}}
