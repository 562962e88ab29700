package connector

import (
	"context"

	"github.com/kiungo-health/kiungo/internal/call"
)

// Checker is a System that can be asked, before the first message, whether it
// would take what flows say of it.
type Checker interface {
	// CheckLive asks about the system itself (version, rights of our user) and
	// about every use. An error is a failed read.
	CheckLive(ctx context.Context, do call.Doer, uses []Use) ([]Finding, error)
}

// Use is what one record of a flow says by itself of its system, whatever the
// message: literals, site values and the cells of tables.
type Use struct {
	Where string // "i13/month-to-dhis2, record values (flows/month-to-dhis2.yaml:37)"
	Kind  string // "DataValueSet"
	// Values are what a field may hold, by its path ("orgUnit"): one for a literal,
	// all cells of a column for a lookup. Fields that depend on the message alone
	// are not there.
	Values map[string][]string
	// Rows are the rows of the record's lists, by the path of the list, each with
	// what is known of it by field.
	Rows map[string][]map[string]string
	// Period is the type of the periods of the flow's schedule ("Monthly"), "" for none.
	Period string
	// Day is how many days after a period's end the flow asks, 0 without periods.
	Day int
}

// Finding is something wrong in a system, or in what a flow says of it, in words
// for whoever can put it right. A Warning stops nothing.
type Finding struct {
	Where   string `json:"where"`
	Text    string `json:"text"`
	Warning bool   `json:"warning,omitempty"`
}
