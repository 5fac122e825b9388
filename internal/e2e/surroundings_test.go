//go:build e2e

package e2e

import (
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"boomerang/internal/execution"
)

// expectOutput runs a program, which must complete, print want on stdout, and print nothing on stderr.
func (h *harness) expectOutput(name, code, want string, f ...fields) {
	h.t.Helper()
	p := h.awaitCallback(h.submit(code, f...)).Payload
	if p.Status != execution.Completed || p.Stdout != want || p.Stderr != "" {
		h.t.Errorf("%s: %s/%s\nstdout %q\n  want %q\nstderr %q", name, p.Status, p.Reason, p.Stdout, want, p.Stderr)
	}
}

// identityPrograms print the user, the home directories, the host name and its addresses. Each prints identityOutput.
var identityPrograms = map[string]string{
	"python": `
import getpass, grp, os, pathlib, pwd, socket
user, group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
print(getpass.getuser(), user, group, pathlib.Path("main.py").owner())
print(os.path.expanduser("~"), os.path.expanduser("~sandbox"), pwd.getpwnam("root").pw_dir)
print(socket.gethostname(), socket.gethostbyname(socket.gethostname()))
print(*sorted({a[4][0] for a in socket.getaddrinfo(socket.gethostname(), None)}))
`,
	"javascript": `
const os = require("os"), dns = require("dns"), { execSync } = require("child_process");
const i = os.userInfo(), sh = (c) => execSync(c).toString().trim();
console.log(process.env.USER, i.username, sh("id -gn"), sh("stat -c %U main.js"));
console.log(os.homedir(), i.homedir, sh("echo ~root"));
dns.lookup(os.hostname(), 4, (e, four) => dns.lookup(os.hostname(), { all: true }, (e, all) => {
  console.log(os.hostname(), four);
  console.log([...new Set(all.map((a) => a.address))].sort().join(" "));
}));
`,
	"bash": `
echo "$USER $(whoami) $(id -gn) $(stat -c %U main.sh)"
echo ~ ~sandbox ~root
echo "$HOSTNAME $(getent ahosts "$(uname -n)" | awk '$1 !~ /:/ { print $1; exit }')"
echo $(getent ahosts "$(uname -n)" | awk '{ print $1 }' | sort -u)
`,
	"go": `package main

import (
	"fmt"
	"net"
	"os"
	"os/user"
	"slices"
	"strings"
)

func main() {
	u, err := user.Current()
	if err != nil {
		panic(err)
	}
	root, err := user.Lookup("root")
	if err != nil {
		panic(err)
	}
	own, err := user.Lookup(u.Username)
	if err != nil || own.Uid != u.Uid || own.Uid != fmt.Sprint(os.Getuid()) {
		panic(fmt.Sprint(own, err))
	}
	group, err := user.LookupGroupId(u.Gid)
	if err != nil {
		panic(err)
	}
	fmt.Println(os.Getenv("USER"), u.Username, group.Name, own.Username)
	home, _ := os.UserHomeDir()
	fmt.Println(home, u.HomeDir, root.HomeDir)
	name, _ := os.Hostname()
	all, err := net.LookupHost(name)
	if err != nil {
		panic(err)
	}
	slices.Sort(all)
	fmt.Println(name, all[0])
	fmt.Println(strings.Join(slices.Compact(all), " "))
}
`,
}

const identityOutput = "sandbox sandbox sandbox sandbox\n/workspace /workspace /root\nsandbox 127.0.0.1\n" +
	"127.0.0.1 ::1\n"

func TestEveryLanguageFindsItsUserAndHost(t *testing.T) {
	h := newHarness(t)
	for language, code := range identityPrograms {
		h.expectOutput(language, code, identityOutput, fields{"language": language})
	}
	// Without the environment variables the program asks the system.
	h.expectOutput("python, without USER",
		"import getpass, os\nfor n in 'USER', 'LOGNAME', 'HOME': del os.environ[n]\n"+
			"print(getpass.getuser(), os.path.expanduser('~'))", "sandbox /workspace\n")
	h.expectOutput("bash, without HOME",
		`env -u HOME -u USER bash -c 'echo ~ "$(whoami)"'; perl -e 'print((getpwuid($<))[0], " ", `+
			`(getgrgid($())[0], "\n")'; id | tr -d 0-9`,
		"/workspace sandbox\nsandbox sandbox\nuid=(sandbox) gid=(sandbox) groups=(sandbox)\n", bash)
	h.expectOutput("go with cgo, which uses the C library", "chmod +x cgo && ./cgo", identityOutput, bash,
		fields{"files": []fields{{"path": "cgo", "base64": buildWithCgo(t, identityPrograms["go"])}}})
	// The environment of the request comes last.
	own := fields{"env": fields{"USER": "anna", "LOGNAME": "anna", "HOME": "/tmp"}}
	h.expectOutput("python, as the request says",
		"import getpass, os, pwd\nprint(getpass.getuser(), os.path.expanduser('~'), "+
			"pwd.getpwuid(os.getuid()).pw_name)", "anna /tmp sandbox\n", own)
	h.expectOutput("bash, as the request says", `echo "$USER $LOGNAME $HOME $(whoami)"`, "anna anna /tmp sandbox\n",
		bash, own)
}

// buildWithCgo compiles a program that looks up users and hosts with the C library, and returns it in base64.
func buildWithCgo(t *testing.T, code string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-ldflags", "-s -w", "-tags", "netcgo", "-o", "cgo", "main.go")
	build.Dir, build.Env = dir, append(os.Environ(), "CGO_ENABLED=1")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	binary, err := os.ReadFile(filepath.Join(dir, "cgo"))
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(binary)
}

func TestAContainerHidesItsIDAndTheHostName(t *testing.T) {
	h := newHarness(t)
	id := h.submit(`uname -n; echo "$HOSTNAME"; cat /proc/sys/kernel/hostname /etc/hostname /etc/hosts /etc/passwd `+
		`/etc/group; env; cat /proc/self/cgroup`, bash)
	p := h.awaitCallback(id).Payload
	container := h.containerOf(id)
	machine, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(p.Stdout, "sandbox\nsandbox\nsandbox\n") || p.Status != execution.Completed {
		t.Errorf("got %s, stdout %q, want sandbox three times first", p.Status, p.Stdout)
	}
	if len(container) < 12 || strings.Contains(p.Stdout, container[:12]) {
		t.Errorf("the output contains the ID %q of the container: %q", container, p.Stdout)
	}
	for line := range strings.SplitSeq(p.Stdout, "\n") {
		if strings.Contains(" "+line+" ", " "+machine+" ") || line == machine {
			t.Errorf("the output contains the host name %q: %q", machine, line)
		}
	}
}

func TestAProgramCannotChangeItsIdentity(t *testing.T) {
	h := newHarness(t)
	code := `set -- /.boomerang/passwd-*
for f in /etc/passwd /etc/group /etc/hosts /.boomerang/hosts "$1" "${@: -1}"; do
	{ echo root::0:0::/:/bin/sh >>$f; } 2>/dev/null && echo "$f was written"
	rm -f $f 2>/dev/null; mv $f /tmp 2>/dev/null; chmod 666 $f 2>/dev/null && echo "$f was changed"
done
stat -c '%u %g %a' /etc/passwd /etc/group | sort -u; whoami`
	h.expectOutput("bash", code, "0 0 444\nsandbox\n", bash)
}

func TestEveryLanguageKnowsOldTimeZoneNames(t *testing.T) {
	zones := []string{"US/Eastern", "GB", "Asia/Calcutta", "EST5EDT", "Australia/ACT", "Europe/Prague", "UTC"}
	const want = "19:00 01:00 05:30 19:00 10:00 01:00 00:00 \n" // local times of 1970-01-01T00:00:00Z
	quoted := `"` + strings.Join(zones, `", "`) + `"`
	h := newHarness(t)
	h.expectOutput("python",
		"from datetime import datetime as d\nfrom zoneinfo import ZoneInfo\n"+
			"for z in "+quoted+": print(f'{d.fromtimestamp(0, ZoneInfo(z)):%H:%M}', end=' ')\nprint()", want)
	h.expectOutput("javascript",
		"let s = ''; for (const z of ["+quoted+"]) s += new Date(0).toLocaleTimeString('en-GB', { timeZone: z, "+
			"hour: '2-digit', minute: '2-digit' }) + ' '; console.log(s)",
		want, fields{"language": "javascript"})
	h.expectOutput("bash", "for z in "+strings.Join(zones,
		" ")+"; do printf '%s ' \"$(TZ=$z date -d @0 +%H:%M)\"; done; echo", want, bash)
	h.expectOutput("go", `package main

import (
	"fmt"
	"time"
)

func main() {
	for _, z := range []string{`+quoted+`} {
		l, err := time.LoadLocation(z)
		if err != nil {
			panic(err)
		}
		fmt.Print(time.Unix(0, 0).In(l).Format("15:04 "))
	}
	fmt.Println()
}
`, want, fields{"language": "go"})
	zone := fields{"env": fields{"TZ": "US/Eastern"}}
	h.expectOutput("python, TZ", "import time\nprint(time.strftime('%H:%M %Z', time.localtime(0)))", "19:00 EST\n",
		zone)
	h.expectOutput("javascript, TZ", "console.log(new Date(0).getHours())", "19\n", zone,
		fields{"language": "javascript"})
	h.expectOutput("bash, TZ", "date -d @0 '+%H:%M %Z'", "19:00 EST\n", zone, bash)
	h.expectOutput("go, TZ",
		"package main\n\nimport (\n\t\"fmt\"\n\t\"time\"\n)\n\n"+
			"func main() { fmt.Println(time.Unix(0, 0).Format(\"15:04 MST\")) }\n", "19:00 EST\n", zone,
		fields{"language": "go"})
}

func TestEveryImageCountsCharactersInEveryLocale(t *testing.T) {
	images := []string{"base", "python", "javascript", "bash", "go"}
	var text strings.Builder
	text.WriteString("languages:\n")
	for _, image := range images {
		fmt.Fprintf(&text,
			"  %[1]s: {image: boomerang/%[1]s:latest, pull: never, file: main.sh, command: [bash, \"{file}\"]}\n",
			image)
	}
	text.WriteString("  py: {image: boomerang/python:latest, pull: never, file: main.py, command: [python3, " +
		"\"{file}\"]}\n")
	h := newHarness(t, withLanguages(t, text.String()))
	const count = `printf 'ü日' | wc -m; bash -c 'x=ü日; echo ${#x}'; perl -e 'print "perl\n"'; date -d @0 +%A; ` +
		`locale charmap`
	for locale, day := range map[string]string{
		"C.UTF-8": "Thursday", "en_US.UTF-8": "Thursday", "en_GB.utf8": "Thursday", "de_DE.UTF-8": "Donnerstag",
		"fr_FR.UTF-8": "jeudi",
		"es_ES.UTF-8": "jueves", "ja_JP.UTF-8": "木曜日", "pt_BR.UTF8": "quinta", "ru_RU.UTF-8": "Четверг",
		// Aliases of C.UTF-8.
		"sv_SE.UTF-8": "Thursday", "zh_CN.utf8": "Thursday", "en_IN.UTF-8": "Thursday", "sr_RS.UTF-8@latin": "Thursday",
	} {
		env := fields{"env": fields{"LC_ALL": locale}}
		for _, image := range images {
			h.expectOutput(image+", "+locale, count, "2\n2\nperl\n"+day+"\nUTF-8\n", fields{"language": image}, env)
		}
		h.expectOutput("python, "+locale,
			"import locale\nlocale.setlocale(locale.LC_ALL, '')\n"+
				"print(locale.nl_langinfo(locale.DAY_5), locale.getpreferredencoding(), len('ü日'))",
			day+" UTF-8 2\n", fields{"language": "py"}, env)
	}
	h.expectOutput("the list", "locale -a | grep -c '^\\(en_US\\|de_DE\\|en_GB\\|ja_JP\\|sv_SE\\).utf8$'", "5\n",
		fields{"language": "bash"})
	// An unknown locale causes a warning, as on any Debian.
	p := h.awaitCallback(h.submit(`printf 'ü日' | wc -m`, fields{
		"language": "bash",
		"env":      fields{"LC_ALL": "xx_YY.UTF-8"},
	})).Payload
	if p.Stdout != "5\n" || !strings.Contains(p.Stderr, "cannot change locale (xx_YY.UTF-8)") {
		t.Errorf("got stdout %q, stderr %q, want a count of bytes and a warning", p.Stdout, p.Stderr)
	}
}

func TestToolsFindACacheDirectoryWithoutAWarning(t *testing.T) {
	h := newHarness(t, withLanguages(t, `
languages:
  python: {image: "boomerang/python:latest", pull: never, file: main.py, command: [python3, "{file}"]}
  go-tools: {image: "boomerang/go:latest", pull: never, file: main.sh, command: [bash, "{file}"]}
`))
	h.expectOutput("cache directories of pip, npm, Matplotlib and Numba", `
import os, pathlib
for name in ".cache/pip", ".cache/matplotlib", ".config/matplotlib", ".npm/_cacache", ".local/share", ".cache/numba":
    place = pathlib.Path.home() / name
    place.mkdir(parents=True)
    (place / "x").write_text("x")
    assert place.stat().st_uid == os.getuid() and place.owner() == "sandbox"
print(*sorted(os.listdir(os.path.expanduser("~"))))
`, ".cache .config .local .npm main.py\n")
	h.expectOutput("go", `cat >m.go <<'END'
package main

import "fmt"

func main() { fmt.Println("built") }
END
go build -o m m.go && ./m && ls && go env GOCACHE`,
		"built\nm\nm.go\nmain.sh\n/tmp/.go\n", fields{"language": "go-tools"})
}
