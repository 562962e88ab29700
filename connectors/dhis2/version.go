package dhis2

import (
	"fmt"
	"strconv"
	"strings"
)

// Version is a DHIS2 version: 2.40.4.1 has Minor 40.
type Version struct {
	Major, Minor, Patch, Hotfix int
	Snapshot                    bool
}

// ParseVersion reads a version as /api/system/info gives it: "2.42.3",
// "2.40.4.1", "2.41.0-SNAPSHOT", "2.43-SNAPSHOT", or its short form "42".
func ParseVersion(text string) (Version, error) {
	bad := fmt.Errorf("%q is not a version such as 2.42.3", text)
	number, suffix, _ := strings.Cut(strings.TrimSpace(text), "-")
	v := Version{Snapshot: suffix != ""}
	parts := strings.Split(number, ".")
	if len(parts) == 1 {
		parts = append([]string{"2"}, parts...)
	}
	if len(parts) > 4 {
		return Version{}, bad
	}
	for i, into := range []*int{&v.Major, &v.Minor, &v.Patch, &v.Hotfix} {
		if i >= len(parts) {
			break
		}
		n, err := strconv.ParseUint(parts[i], 10, 16)
		if err != nil {
			return Version{}, bad
		}
		*into = int(n)
	}
	return v, nil
}

// String writes the version as far as it matters: "2.42".
func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// supported tells in words when the version is older than what this connector speaks.
func (v Version) supported() error {
	if v.Major != 2 || v.Minor < 38 {
		return fmt.Errorf("DHIS2 %s is older than 2.38, the first that is supported: upgrade the server", v)
	}
	return nil
}

// before tells whether the version is older than 2.minor.
func (v Version) before(minor int) bool { return v.Minor < minor }
