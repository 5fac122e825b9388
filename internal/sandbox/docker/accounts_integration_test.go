//go:build integration

package docker

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/image"

	"boomerang/internal/network"
	"boomerang/internal/sandbox/sandboxtest"
)

// The test uses images with unusual lists of users, and some ordinary ones.
func TestAProgramHasANameInEveryImage(t *testing.T) {
	k := needKit(t)
	d := k.open(t)
	engine, err := d.engineInfo(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	spec := k.spec()
	id := uid(spec, hostFacts{config: d.config, engine: engine})
	const ask = `whoami; id -gn; getent passwd root anna sandbox | cut -d: -f1; wc -l </etc/passwd`
	for name, c := range map[string]struct{ change, want string }{
		"two users, no newline at the end": {
			"printf 'root:x:0:0::/:/bin/sh\\nanna:x:7:7::/:/bin/sh' >/etc/passwd",
			"sandbox\nsandbox\nroot\nanna\nsandbox\n3\n",
		},
		"no list":      {"rm /etc/passwd /etc/group", "sandbox\nsandbox\nsandbox\n1\n"},
		"an empty one": {": >/etc/passwd; : >/etc/group", "sandbox\nsandbox\nsandbox\n1\n"},
		"a link": {"mv /etc/passwd /opt/users && ln -s ../opt/users /etc/passwd && echo " +
			"anna:x:7:7::/: >/opt/users", "sandbox\nsandbox\nanna\nsandbox\n2\n"},
		"a link to a link": {"ln -s /opt/b /opt/a && echo anna:x:7:7::/: >/opt/b && ln -sf /opt/a " +
			"/etc/passwd", "sandbox\nsandbox\nanna\nsandbox\n2\n"},
		"a name for the slot": {
			fmt.Sprintf(
				"echo anna:x:%[1]d:%[1]d::/: >/etc/passwd; echo friends:x:%[1]d: >/etc/group", id),
			"anna\nfriends\nanna\n1\n",
		},
		"a user of that name": {"echo sandbox:x:7:7::/: >/etc/passwd", "sandbox\nsandbox\nsandbox\n2\n"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := k.spec()
			spec.Image = k.derived(t, c.change)
			job := sandboxtest.Program{}.Job()
			job.Argv = []string{"sh", "-c", ask}
			b := prepare(t, d, spec)
			stdout, stderr, _ := follow(t, b, job)
			if stdout != c.want || stderr != "" {
				t.Errorf("stdout %q, want %q; stderr %q", stdout, c.want, stderr)
			}
			remove(t, b)
		})
	}
	// A program runs even if the image's list is invalid. The engine itself refuses a directory and a link to itself.
	for name, change := range map[string]string{
		"a link to nowhere": "ln -sf nowhere /etc/passwd",
		"far too long":      "yes anna:x:7:7::/: | head -c 2000000 >/etc/passwd",
	} {
		t.Run(name, func(t *testing.T) {
			spec := k.spec()
			spec.Image = k.derived(t, change)
			job := sandboxtest.Program{}.Job()
			job.Argv = []string{"sh", "-c", "echo it runs"}
			b := prepare(t, d, spec)
			if stdout, stderr, _ := follow(t, b, job); stdout != "it runs\n" {
				t.Errorf("stdout %q, stderr %q", stdout, stderr)
			}
			remove(t, b)
		})
	}
}

// derived builds an image from bash's with a change made by a command. The test removes it at its end.
func (k *kit) derived(t *testing.T, change string) (ref string) {
	t.Helper()
	ref = "boomerang-test-derived:" + k.node
	content := "FROM boomerang/bash:latest\nRUN " + change + "\n"
	built, err := k.client.ImageBuild(t.Context(), folder(file{name: "Dockerfile", content: []byte(content)}),
		build.ImageBuildOptions{Tags: []string{ref}, Remove: true, ForceRemove: true})
	if err == nil {
		err = errors.Join(readPullProgress(built.Body), built.Body.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	made, err := k.client.ImageInspect(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = k.client.ImageRemove(t.Context(), made.ID, image.RemoveOptions{Force: true}) })
	return made.ID
}

func TestEverySlotHasANumberOfItsOwnAndTheSameName(t *testing.T) {
	k := needKit(t)
	d := k.open(t)
	d.config.UIDBase = 300_000 - 1 // slots on both sides of a block's boundary
	for slot, want := range map[int]string{0: "299999", 1: "300000", 2: "300001"} {
		spec := k.spec()
		spec.Image, spec.Slot = "boomerang/bash:latest", slot
		job := sandboxtest.Program{}.Job()
		job.Argv = []string{"sh", "-c", "id; getent passwd sandbox"}
		b := prepare(t, d, spec)
		stdout, stderr, _ := follow(t, b, job)
		said := strings.ReplaceAll(
			"uid=N(sandbox) gid=N(sandbox) groups=N(sandbox)\nsandbox:x:N:N:sandbox:/workspace:/bin/sh\n", "N", want)
		if stdout != said {
			t.Errorf("slot %d: %q, want %q; stderr %q", slot, stdout, said, stderr)
		}
		remove(t, b)
	}
}

// The test checks the mounted /etc/hosts and, as if the engine did not report the path of the volume, the file that the
// engine writes.
func TestItsOwnNameLeadsToItselfOnEveryNetwork(t *testing.T) {
	k := needKit(t)
	c := k.setUpNetworks(t, func(*network.Config) {})
	for _, n := range []string{network.None, network.Egress, network.Proxy} {
		for _, hidden := range []bool{false, true} {
			d := k.onNetwork(t, c)
			if _, err := d.initVolume(t.Context(), imageOf(t, d, k), false); err != nil {
				t.Fatal(err)
			}
			if hidden {
				d.init.location.path = ""
			}
			spec := pythonSpec(k, n, 5)
			got := k.program(t, d, spec, `
import os, socket, threading
name = socket.gethostname()
told = open("/etc/hostname").read().strip() or name
print(name, os.uname().nodename, os.environ["HOSTNAME"], open("/proc/sys/kernel/hostname").read().strip(), told)
print(socket.gethostbyname(name))
server = socket.create_server((name, 4711))
threading.Thread(target=lambda: server.accept()[0].sendall(b"itself"), daemon=True).start()
print(socket.create_connection((name, 4711)).recv(6).decode())
print(*sorted({a[4][0] for a in socket.getaddrinfo(name, None) if a[4][0] in ("127.0.0.1", "::1")}))
`)
			want := "sandbox sandbox sandbox sandbox sandbox\n127.0.0.1\nitself\n127.0.0.1"
			if n == network.None {
				want += " ::1" // the other networks have no IPv6
			}
			if got != want+"\n" {
				t.Errorf("%s, volume hidden %t: %q, want %q", n, hidden, got, want)
			}
		}
	}
}

func imageOf(t *testing.T, d *Docker, k *kit) imageFacts {
	t.Helper()
	facts, err := d.image(t.Context(), pythonSpec(k, network.None, 5), false)
	if err != nil {
		t.Fatal(err)
	}
	return facts
}
