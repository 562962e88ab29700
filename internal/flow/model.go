// Package flow is the flow language: it loads an integration's folder, checks
// it, compiles its expressions once, says which messages a flow takes (Route)
// and what records a flow wants for one of them (Begin, Run). It plans nothing
// and asks no system.
package flow

import (
	"sync"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/people"
	"github.com/kiungo-health/kiungo/internal/schedule"
)

// Integration is a folder: integration.yaml, flows, tables, samples.
type Integration struct {
	ID       string // name of the folder: "i05-commcare-openmrs-feed"
	Title    string
	About    string
	Systems  []string // connectors and systems it uses
	Zone     *time.Location
	People   People
	Wins     Wins
	Flows    []*Flow
	Off      []string          // names of flows that the site has switched off; they are not in Flows
	Tables   map[string]*Table // the site's rows put over the shipped ones
	Declared []SiteValue
	Dir      string
	Hash     string // of everything in it that decides behaviour, in hex

	site      *Site
	values    map[string]any  // site: values as expressions see them
	mentioned map[string]bool // names of site values that flows which are on use; nil: all
	taught    sync.Map        // table and codes -> what a person answered
}

// SiteValue is a value that an integration asks its site for.
type SiteValue struct {
	Name, About, Example string
	Type                 connector.Type
	Default              any
	Optional             bool
}

// Flow gives a flow by its short or full name, or nil.
func (i *Integration) Flow(name string) *Flow {
	for _, f := range i.Flows {
		if f.Name == name || f.Short == name {
			return f
		}
	}
	return nil
}

// People says how people are matched.
type People struct {
	Match string // name of the matching profile: "standard"
	// Profile is what Match says; nil: people are not matched, only found.
	Profile *people.Profile
	Near    string // what to do with a near match: create, ask, skip
	Several string // what to do with several: ask, skip
}

// Win says who wins where two systems disagree.
type Win struct {
	Rule   WinRule
	System string // connector or system, for WinSystem
	Table  *Table // allowed steps, columns from and to, for WinFurthest
}

// WinRule is a kind of Win.
type WinRule string

const (
	WinReceived WinRule = "received" // no rule was given: the value received last
	WinSystem   WinRule = "system"   // one system
	WinLatest   WinRule = "latest"   // the latest by clinical time
	WinBoth     WinRule = "both"     // the other's value is kept beside ours
	WinAsk      WinRule = "ask"
	WinFurthest WinRule = "furthest" // never backwards through a table of steps
)

// Wins are rules by field path ("name/given"), by the last part of a path
// ("given"), or by "default".
type Wins map[string]Win

// For gives the rule for a field path: its own, that of a part it lies in, that
// of its last part, or the default.
func (w Wins) For(path string) Win {
	for p := path; p != ""; {
		if r, ok := w[p]; ok {
			return r
		}
		i := lastSlash(p)
		p = p[:max(i, 0)]
	}
	if r, ok := w[path[lastSlash(path)+1:]]; ok {
		return r
	}
	if r, ok := w["default"]; ok {
		return r
	}
	return Win{Rule: WinReceived}
}

func lastSlash(s string) int {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == '/' {
			return i
		}
	}
	return -1
}

// Flow is one flow, compiled. It never changes; many goroutines may use it.
type Flow struct {
	Name    string // "i05/visit-to-openmrs": unique over all integrations
	Short   string // "visit-to-openmrs"
	About   string
	Hash    string // of everything that decides its behaviour, in hex
	From    []*Source
	Records []*Record // in the order of their references
	// Finish is how long a delivery may stay half applied before it is shown,
	// or zero.
	Finish time.Duration
	// Approve: a person approves the plan before anything is sent; nil: nobody.
	Approve *Approval
	// OnRefused says what a refusal does to later deliveries of the lane.
	OnRefused OnRefused
	File      string // path inside the folder
	Line      int

	integ   *Integration
	each    []eachVar
	lets    []*namedExpr
	where   *Expr
	lanes   [][]laneKey
	to      map[string]value
	require []requirement
	uses    []string // connectors of its records
	asks    []string // remote names that planning needs
}

// Integration is the integration that the flow belongs to.
func (f *Flow) Integration() *Integration { return f.integ }

// Record gives a record by name, or nil.
func (f *Flow) Record(name string) *Record {
	for _, r := range f.Records {
		if r.Name == name {
			return r
		}
	}
	return nil
}

// Connectors lists the connectors of the flow's records.
func (f *Flow) Connectors() []string { return f.uses }

// Asks lists the names that need a read and that this flow's expressions use
// when planning.
func (f *Flow) Asks() []string { return f.asks }

// OnRefused is what becomes of a lane after a refusal.
type OnRefused string

const (
	Hold OnRefused = "hold" // a person decides before the lane goes on
	Pass OnRefused = "pass" // the lane goes on
)

// Source is one entry of a flow's from.
type Source struct {
	System    string // connector or configured system
	Connector string
	Message   *connector.MessageSpec
	Filter    map[string][]string // path into the content -> allowed values
	Schedule  Schedule
	where     *Expr
	lets      []*namedExpr
	shape     *shape
	repeats   [][]string // paths that hold lists in some sample
	at        *node
	literal   []literalFilter // filters written out, to be compared with the samples
}

type literalFilter struct {
	path string
	at   *node
}

// Schedule is when a source that is asked is asked.
type Schedule struct {
	Every string // "Monday 04:00", "month", "15 minutes"
	Day   int    // after the period's end
	// Calendar of the periods, and how many earlier ones are asked for again.
	Calendar string
	Again    int
	When     schedule.Schedule
	At       string // "06:00", in the integration's zone
	Servers  string // "active"
	// Keys are the filters of the source by name, as the site fills them in.
	Keys map[string]string
	// Leavers is the share of a list, in percent, that may leave at once.
	Leavers int

	with []field
}

// Approval is what a person is asked before a plan is carried out.
type Approval struct {
	say  value
	when *Expr
}

// Record is one record that a flow wants.
type Record struct {
	Name string // "patient"
	Was  string // name before it was renamed: derived ids go by it
	Kind string // "openmrs/Patient"
	Spec *connector.KindSpec
	// Connector of the kind.
	Connector string
	Refused   Refused
	Wins      Wins // its own rules over the integration's
	// Needs names the records whose values it uses.
	Needs []string

	when      *Expr
	find      *finder
	set, new  *object
	origins   map[string][]Origin
	key       value
	at        *node
	mayCreate bool
	integWins Wins
	winKeys   []*node
}

// Refused is what a refused call of a record does to the delivery.
type Refused string

const (
	Undo Refused = "undo" // everything is undone
	Keep Refused = "keep" // the rest stays; the delivery is done with remarks
	Ask  Refused = "ask"  // a person decides
)

type namedExpr struct {
	name string
	expr *Expr
	at   *node
}

type eachVar struct {
	name string
	expr *Expr
}

type laneKey struct {
	name  string
	value value
	at    *node
}

type requirement struct {
	that *Expr
	els  string
	say  value
}
