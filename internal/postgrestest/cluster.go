// Package postgrestest gives tests a PostgreSQL of their own, thrown away at the
// end: see internal/pgcluster.
package postgrestest

import "github.com/kiungo-health/kiungo/internal/pgcluster"

// Cluster is a running PostgreSQL. Nothing in it outlives it: fsync is off.
type Cluster = pgcluster.Cluster

// Start makes a cluster and waits until it answers. settings are added to its
// configuration ("fsync=on").
func Start(settings ...string) (*Cluster, error) { return pgcluster.Start(settings...) }
