package postgrestest

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"sync"
	"testing"
)

// Env says what tests do without a PostgreSQL: "require" (as when it is not
// set) fails them, "skip" leaves them out, and says so.
const Env = "KIUNGO_TEST_POSTGRES"

var one struct {
	sync.Mutex
	cluster *Cluster
	err     error
}

// Shared gives the cluster of this test program, started when it is first
// asked for. Without one the test fails, or is skipped: see Env. The program's
// TestMain must be Main.
func Shared(t testing.TB) *Cluster {
	t.Helper()
	mode := os.Getenv(Env)
	switch mode {
	case "", "require", "skip":
	default:
		t.Fatalf("%s is %q: set it to require or to skip", Env, mode)
	}
	one.Lock()
	defer one.Unlock()
	if one.cluster == nil && one.err == nil {
		one.cluster, one.err = Start()
	}
	if one.err == nil {
		return one.cluster
	}
	if mode == "skip" {
		t.Skipf("NOT TESTED on PostgreSQL, as %s=skip allows: %v", Env, one.err)
	}
	t.Fatalf("this test needs PostgreSQL: %v\n(%s=skip leaves such tests out)", one.err, Env)
	return nil
}

// URL gives an empty schema in the cluster of this test program.
func URL(t testing.TB) string {
	t.Helper()
	id := make([]byte, 8)
	rand.Read(id) // never fails
	return Shared(t).URL("t" + hex.EncodeToString(id))
}

// Main runs the tests of a program, and stops the cluster.
func Main(m *testing.M) {
	code := m.Run()
	one.Lock()
	if one.cluster != nil {
		one.cluster.Stop()
	}
	if one.err != nil && os.Getenv(Env) == "skip" {
		fmt.Fprintf(os.Stderr, "\n*** tests on PostgreSQL were SKIPPED: %v\n\n", one.err)
	}
	one.Unlock()
	os.Exit(code)
}
