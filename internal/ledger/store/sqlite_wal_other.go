//go:build !linux

package store

// gatherLog is for Linux only.
func (c *sqliteConn) gatherLog() {}
