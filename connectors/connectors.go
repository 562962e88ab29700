// Package connectors lists the connectors that the binary has. Adding a system
// is a folder here and one line below.
package connectors

import (
	"github.com/kiungo-health/kiungo/connectors/cht"
	"github.com/kiungo-health/kiungo/connectors/commcare"
	"github.com/kiungo-health/kiungo/connectors/dhis2"
	"github.com/kiungo-health/kiungo/connectors/openmrs"
	"github.com/kiungo-health/kiungo/internal/connector"
)

// All gives every connector by name.
func All() connector.Registry {
	r := connector.Registry{}
	for _, c := range []*connector.Connector{
		cht.Connector(),
		commcare.Connector(),
		dhis2.Connector(),
		openmrs.Connector(),
	} {
		r[c.Name] = c
	}
	return r
}
