//go:build e2e

package e2e

import (
	"testing"

	"boomerang/internal/execution"
)

// everySocket asks for each socket of each family, type and protocol, and prints those that the profile lets through to
// the kernel, whatever the kernel answers. The flags change nothing.
const everySocket = `
import ctypes, errno, itertools
libc = ctypes.CDLL(None, use_errno=True)
kinds = {}
for flags in (0, 0o2004000):
    open = set()
    for family, kind, protocol in itertools.product(range(48), (0, 1, 2, 3, 4, 5, 6, 10), [*range(264), -1]):
        fd = libc.socket(family, kind | flags, protocol)
        if fd >= 0:
            libc.close(fd)
        if fd >= 0 or ctypes.get_errno() != errno.EPERM:
            open.add((family, kind, protocol))
    kinds[flags] = open
unix = {k for k in kinds[0] if k[0] == 1}
netlink = {k for k in kinds[0] if k[0] == 16}
print(len(unix) == 8 * 265, {k[2] for k in netlink}, len(netlink))
print(sorted(kinds[0] - unix - netlink))
print(kinds[0] == kinds[0o2004000])
`

func TestTheProfileLetsOnlyOrdinarySocketsThrough(t *testing.T) {
	h := newHarness(t)
	h.expectResult(h.submit(everySocket, fields{"language": "python"}), result{
		Status: execution.Completed, Reason: execution.Exited, Stdout: "True {0} 8\n" +
			"[(2, 1, 0), (2, 1, 6), (2, 2, 0), (2, 2, 17), (10, 1, 0), (10, 1, 6), (10, 2, 0), (10, 2, 17)]\nTrue\n",
	})
}

// localSockets talks to itself over TCP and UDP, resolves a name and lists the interfaces.
var localSockets = map[string]string{
	"python": `
import asyncio, socket
async def main():
    server = await asyncio.start_server(lambda r, w: w.close(), "localhost", 0)
    host, port = server.sockets[0].getsockname()[:2]
    r, w = await asyncio.open_connection(host, port)
    print(await r.read())
asyncio.run(main())
for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    for protocol in (0, socket.IPPROTO_UDP):
        s = socket.socket(family, socket.SOCK_DGRAM, protocol)
        s.bind(("127.0.0.1" if family == socket.AF_INET else "", 0))
print(socket.create_server(("127.0.0.1", 0)).family.name, [name for _, name in socket.if_nameindex()])
`,
	"javascript": `
const net = require("net"), dgram = require("dgram"), os = require("os"), dns = require("dns")
const server = net.createServer(c => c.end("hello")).listen(0, "127.0.0.1", () => {
  net.connect(server.address().port, "127.0.0.1").on("data", d => {
    console.log(String(d), Object.keys(os.networkInterfaces()))
    const udp = dgram.createSocket("udp4")
    udp.bind(0, "127.0.0.1", () => dns.lookup("localhost", e => { console.log(e); udp.close(); server.close() }))
  })
})
`,
	"go": `package main

import ("fmt"; "io"; "net"; "net/http"; "net/http/httptest")

func main() {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "hello")
	}))
	r, err := http.Get(s.URL)
	if err != nil { panic(err) }
	b, _ := io.ReadAll(r.Body)
	all, err := net.Interfaces()
	_, udpErr := net.ListenPacket("udp", "127.0.0.1:0")
	_, lookErr := net.LookupHost("localhost")
	fmt.Println(string(b), all[0].Name, err, udpErr, lookErr)
}
`,
	"bash": `exec 3<>/dev/tcp/127.0.0.1/1
exec 4<>/dev/udp/127.0.0.1/9 && echo udp
getent ahosts localhost >/dev/null && echo name`,
}

func TestProgramsUseTheirOwnNetwork(t *testing.T) {
	h := newHarness(t)
	want := map[string]string{
		"python": "b''\nAF_INET ['lo']\n", "javascript": "hello [ 'lo' ]\nnull\n", "go": "hello lo <nil> <nil> <nil>\n",
		"bash": "udp\nname\n",
	}
	ids := map[string]execution.ID{}
	for language, code := range localSockets {
		ids[language] = h.submit(code, fields{"language": language, "timeout": 120})
	}
	for language, id := range ids {
		if p := h.awaitCallback(id).Payload; p.Stdout != want[language] {
			t.Errorf("%s: got %q and %q, want %q", language, p.Stdout, p.Stderr, want[language])
		}
	}
}
