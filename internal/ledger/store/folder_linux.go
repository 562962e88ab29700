package store

import (
	"fmt"
	"syscall"
)

// networkFileSystems are those on which SQLite's locks or shared memory do not
// hold, by the numbers of statfs(2).
var networkFileSystems = map[uint32]string{
	0x6969: "NFS", 0x517b: "SMB", 0xff534d42: "CIFS", 0xfe534d42: "SMB2", 0x01021997: "9P",
	0x00c36400: "Ceph", 0x0bd00bd0: "Lustre", 0x5346414f: "AFS", 0x73757245: "Coda",
}

// checkLocal refuses a data folder on a network file system.
func checkLocal(dir string) error {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return fmt.Errorf("look at the file system of %s: %w", dir, err)
	}
	if name, ok := networkFileSystems[uint32(st.Type)]; ok {
		return fmt.Errorf("the data folder %s is on %s, a network file system, where SQLite can lose data: use a local disk or PostgreSQL", dir, name)
	}
	return nil
}
