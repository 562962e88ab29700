package plan

import (
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// space is the name space of all ids that Kiungo derives. It never changes.
var space = uuid.MustParse("6f3c2f0e-6a55-5b6c-9c4e-3a9d1d1f7c10")

// DerivedID is the id that we choose for a record that we make: the same
// document, each-key, record and generation always give the same id, so that
// a repeat finds what an earlier try made (law 9). The generation is raised
// by an undo that leaves a voided row behind.
func DerivedID(source, doc, flow, each, record string, generation int) string {
	return uuid.NewSHA1(space, []byte(strings.Join(
		[]string{source, doc, flow, each, record, strconv.Itoa(generation)}, "\x1f"))).String()
}

// KeyedID is the id of a record with a key of its own: the same key is the
// same record, whichever message wants it.
func KeyedID(system, kind, key string, generation int) string {
	return uuid.NewSHA1(space, []byte(strings.Join(
		[]string{"key", system, kind, key, strconv.Itoa(generation)}, "\x1f"))).String()
}
