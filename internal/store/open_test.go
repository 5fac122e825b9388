package store

import (
	"bufio"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"boomerang/internal/execution"
)

// openOutside opens the database as another program would.
func openOutside(t *testing.T, dir string) *sql.Conn {
	t.Helper()
	db, err := sql.Open("sqlite", dsn(filepath.Join(dir, DatabaseFile), "rw", time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestASecondOpenNamesTheProcessThatHasTheDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	_, err := Open(t.Context(), dir, Defaults(), discardLog())
	if err == nil {
		t.Fatal("the directory was opened twice")
	}
	for _, part := range []string{dir, fmt.Sprint("process ", os.Getpid())} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}

func TestADatabaseOfANewerProgramIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := openOutside(t, dir).ExecContext(t.Context(), `INSERT INTO migrations
		VALUES (1000, 'later', 1)`); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), dir, Defaults(), discardLog()); err == nil || !strings.Contains(err.Error(),
		"newer boomerang") {
		t.Errorf("got %v", err)
	}
	// Open has released the lock that it took before it failed.
	release, err := lockDir(dir, lockFile)
	if err != nil {
		t.Fatalf("the directory is still locked: %v", err)
	}
	_ = release()
}

func TestEachMigrationIsRecordedOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for range 2 {
		if err := open(t, dir).Close(); err != nil {
			t.Fatal(err)
		}
	}
	files, err := os.ReadDir("migrations")
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if err := openOutside(t, dir).QueryRowContext(t.Context(), `SELECT count(*) FROM migrations`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	if n != len(files) {
		t.Errorf("got %d records, want %d", n, len(files))
	}
}

func TestAnyPathCanHoldTheData(t *testing.T) {
	t.Chdir(t.TempDir())
	dir := `relative/a?b=c&_pragma=x%41#d e`
	fill(t, open(t, dir), 1, 1)
	if _, err := os.Stat(filepath.Join(dir, DatabaseFile)); err != nil {
		t.Error(err)
	}
}

func TestTheWriterCommitsWithFsyncUnlessAllIsVolatile(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	const normal, full = 1, 2
	mode := func() (m int) { // the writer is idle
		if err := s.writer.tx.conn.QueryRowContext(t.Context(), `PRAGMA synchronous`).Scan(&m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	if got := mode(); got != full {
		t.Errorf("at first: got %d, want FULL", got)
	}
	fill(t, s, 1, 1)
	claims, err := s.Claim(t.Context(), 1, execution.ClaimLimits{})
	if err != nil || len(claims) != 1 {
		t.Fatalf("claimed %d, error %v", len(claims), err)
	}
	if got := mode(); got != normal {
		t.Errorf("after a claim: got %d, want NORMAL", got)
	}
	if err := s.Start(t.Context(), claims[0].ID, execution.Run{}); err != nil {
		t.Fatal(err)
	}
	if got := mode(); got != full {
		t.Errorf("after a start: got %d, want FULL", got)
	}
	for name, c := range map[string]struct {
		batch []*operation
		want  int
	}{
		"volatile": {[]*operation{{durability: volatile}, {durability: volatile}}, normal},
		"durable":  {[]*operation{{durability: durable}}, full},
		"mixed":    {[]*operation{{durability: volatile}, {durability: durable}, {durability: volatile}}, full},
	} {
		if err := s.writer.tx.setSynchronous(t.Context(), c.batch); err != nil {
			t.Fatal(err)
		}
		if got := mode(); got != c.want {
			t.Errorf("a %s batch: got %d, want %d", name, got, c.want)
		}
	}
}

func TestValidateNamesTheInvalidKey(t *testing.T) {
	t.Parallel()
	if err := Defaults().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	for key, change := range map[string]func(*Config){
		"readers":      func(c *Config) { c.Readers = 0 },
		"busy_timeout": func(c *Config) { c.BusyTimeout = time.Hour },
	} {
		c := Defaults()
		change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), key+": ") {
			t.Errorf("%s: got %v", key, err)
		}
	}
}

const victimDir = "BOOMERANG_TEST_VICTIM_DIR"

// TestKilledProcess is not a test: it is the process that TestAcknowledgedWritesSurviveAKill kills. It prints the ID of
// each acknowledged execution.
func TestKilledProcess(t *testing.T) {
	dir := os.Getenv(victimDir)
	if dir == "" {
		return
	}
	s := open(t, dir)
	var mu sync.Mutex
	for range 8 {
		go func() {
			for {
				e, _, err := s.Enqueue(t.Context(), sample("ann"), nil, execution.QueueLimits{})
				if err != nil {
					return
				}
				mu.Lock()
				fmt.Println(e.ID)
				mu.Unlock()
				if claims, err := s.Claim(t.Context(), 1, execution.ClaimLimits{}); err == nil && len(claims) == 1 {
					_ = s.Start(t.Context(), claims[0].ID,
						execution.Run{Container: "b", Nonce: "n", StartedAt: time.Now()})
				}
			}
		}()
	}
	select {}
}

func TestAcknowledgedWritesSurviveAKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, life := range []int{50, 300, 1000} {
		victim := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledProcess$")
		victim.Env = append(os.Environ(), victimDir+"="+dir)
		victim.Stderr = os.Stderr
		out, err := victim.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := victim.Start(); err != nil {
			t.Fatal(err)
		}
		var acknowledged []execution.ID
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if id := execution.ID(lines.Text()); id.Valid() { // the last line may be incomplete
				acknowledged = append(acknowledged, id)
			}
			if len(acknowledged) == life {
				if err := victim.Process.Kill(); err != nil { // SIGKILL
					t.Fatal(err)
				}
			}
		}
		_ = victim.Wait() // killed
		if len(acknowledged) < life {
			t.Fatalf("the victim ended by itself after %d", len(acknowledged))
		}
		s := open(t, dir)
		for _, id := range acknowledged {
			if !stored(t, s, id) {
				t.Errorf("%s was acknowledged and is not there", id)
			}
		}
		checkCounts(t, s)
		checkIntegrity(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
