// Package pgcluster starts a PostgreSQL that is thrown away at the end: a
// cluster in a temporary folder, on a free port of the loopback, for tests and
// for the demo. Programs are those of Debian's package (see scripts/postgres.sh)
// or of PATH.
package pgcluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Cluster is a running PostgreSQL. Nothing in it outlives it: fsync is off.
type Cluster struct {
	dir    string
	bin    string
	port   int
	args   []string // settings
	server *exec.Cmd
	hold   *os.File // the server stops when this end of its pipe is closed
	ended  chan error
}

// startWithin bounds how long a server may take until it answers.
const startWithin = time.Minute

// Start makes a cluster and waits until it answers. settings are added to its
// configuration ("fsync=on").
func Start(settings ...string) (_ *Cluster, err error) {
	c := &Cluster{args: settings}
	if c.bin, err = programs(); err != nil {
		return nil, err
	}
	if c.dir, err = os.MkdirTemp("", "kiungo-postgres-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			c.Stop()
		}
	}()
	if err := giveAway(c.dir); err != nil {
		return nil, err
	}
	initdb := exec.Command(filepath.Join(c.bin, "initdb"), "-D", c.data(), "-U", "kiungo", "--auth=trust", "-E", "UTF8", "--locale=C", "--no-sync")
	initdb.Dir = c.dir
	if err := asOther(initdb); err != nil {
		return nil, err
	}
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, lastLines(string(out)))
	}
	for try := 0; ; try++ {
		// A port that was free just now.
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		c.port = l.Addr().(*net.TCPAddr).Port
		l.Close()
		if err = c.serve(); err == nil || try == 2 {
			return c, err
		}
	}
}

func (c *Cluster) data() string { return filepath.Join(c.dir, "data") }

// serve starts the server on the cluster's port.
func (c *Cluster) serve() error {
	args := []string{"-c", watch, filepath.Join(c.bin, "postgres"), "-D", c.data(), "-k", c.dir, "-h", "127.0.0.1", "-p", strconv.Itoa(c.port)}
	for _, s := range append([]string{"fsync=off", "full_page_writes=off", "max_connections=300", "shared_buffers=64MB", "max_wal_size=512MB",
		"autovacuum_naptime=20s", "log_min_messages=warning", "log_line_prefix=%m [%p] "}, c.args...) {
		args = append(args, "-c", s)
	}
	c.server = exec.Command("sh", args...)
	c.server.Dir = c.dir
	if err := asOther(c.server); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(c.dir, "log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	stdin, hold, err := os.Pipe()
	if err != nil {
		return err
	}
	defer stdin.Close()
	c.server.Stdin, c.server.Stdout, c.server.Stderr = stdin, log, log
	if err := c.server.Start(); err != nil {
		hold.Close()
		return err
	}
	c.hold, c.ended = hold, make(chan error, 1)
	go func() { c.ended <- c.server.Wait() }()
	return c.answers()
}

// watch runs the server until the pipe of its input is closed: also when the
// test is killed.
const watch = `exec 3<&0
"$0" "$@" </dev/null 3<&- & server=$!
(while read -r line <&3; do :; done; kill -QUIT $server) &
wait $server`

func (c *Cluster) answers() error {
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		conn, err := pgconn.Connect(context.Background(), c.database("postgres"))
		if err == nil {
			return conn.Close(context.Background())
		}
		select {
		case <-c.ended:
			c.ended <- nil
			return fmt.Errorf("the server ended: %s", c.log())
		default:
		}
		if time.Since(began) > startWithin {
			return fmt.Errorf("the server does not answer within %s: %w: %s", startWithin, err, c.log())
		}
	}
}

func (c *Cluster) database(name string) string {
	return fmt.Sprintf("postgres://kiungo@127.0.0.1:%d/%s?sslmode=disable", c.port, name)
}

// URL names a ledger's schema in this cluster.
func (c *Cluster) URL(schema string) string { return c.database("postgres") + "&search_path=" + schema }

// Port is where it listens.
func (c *Cluster) Port() int { return c.port }

// log gives the end of the server's log.
func (c *Cluster) log() string {
	b, err := os.ReadFile(filepath.Join(c.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return lastLines(string(b))
}

// Crash ends the server at once, as a crash would (SIGQUIT): clients lose their
// connections, and what was committed is recovered by Restart.
func (c *Cluster) Crash() {
	c.hold.Close()
	<-c.ended
	c.hold = nil
}

// Restart starts a server that was crashed again, on the same port.
func (c *Cluster) Restart() error { return c.serve() }

// Stop ends the server at once and removes the cluster.
func (c *Cluster) Stop() {
	if c.hold != nil {
		c.hold.Close()
		<-c.ended
	}
	os.RemoveAll(c.dir)
}

func lastLines(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-12):], "\n")
}

// programs finds the newest PostgreSQL that is installed.
func programs() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil {
		return "", err
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path)))) // 0 for what is no number
		return n
	}
	slices.SortFunc(found, func(a, b string) int { return version(b) - version(a) })
	if path, err := exec.LookPath("postgres"); err == nil {
		found = append(found, path)
	}
	for _, path := range found {
		dir := filepath.Dir(path)
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("PostgreSQL is not installed: run scripts/postgres.sh")
}

// Database is the URL of its database, without a schema.
func (c *Cluster) Database() string { return c.database("postgres") }
