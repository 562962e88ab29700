package openmrs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/believed"
	"github.com/kiungo-health/kiungo/internal/call"
)

// metadataAge is how long metadata is believed. An administrator who adds a
// location waits at most that long.
const metadataAge = 15 * time.Minute

// metadata is a server's metadata, read when first asked for and kept for a
// while. OpenMRS drops a reference that it does not know without a word
// (ConversionUtil), so every reference is looked up here before it is sent.
type metadata struct {
	sys  *System
	kept *believed.Store
}

func newMetadata(s *System) *metadata {
	return &metadata{sys: s, kept: believed.New(metadataAge, func() time.Time { return s.now() })}
}

// errUnknown says that the server has no such metadata.
var errUnknown = errors.New("not known to OpenMRS")

// errAmbiguous says that a name or code fits several.
var errAmbiguous = errors.New("fits more than one in OpenMRS: give the uuid")

// named is any metadata that is only a name.
type named struct {
	UUID    string `json:"uuid"`
	Name    string `json:"name"`
	Display string `json:"display"`
	Retired bool   `json:"retired"`
}

type identifierType struct {
	named
	Format           string `json:"format"`
	Required         bool   `json:"required"`
	Validator        string `json:"validator"`
	LocationBehavior string `json:"locationBehavior"`
	Uniqueness       string `json:"uniquenessBehavior"`
}

// shared tells that several patients may have the same identifier of the type
// (PatientIdentifierType.UniquenessBehavior; unset means unique).
func (t identifierType) shared() bool { return t.Uniqueness == "NON_UNIQUE" }

// folds tells whether values of the type differ by more than case: the Luhn and
// Verhoeff validators upper-case first (idgen/check-digits.csv).
func (t identifierType) folds() bool {
	return strings.Contains(t.Validator, "Luhn") || strings.Contains(t.Validator, "Verhoeff")
}

// same compares two identifiers by the rule of their type.
func (t identifierType) same(a, b string) bool {
	if t.folds() {
		return strings.EqualFold(a, b)
	}
	return a == b
}

func (t identifierType) wantsLocation() bool { return t.LocationBehavior != "NOT_USED" }

type attributeType struct {
	named
	Format string `json:"format"`
	// Searchable: the search for people looks at attributes of this type.
	Searchable bool `json:"searchable"`
}

// concept is what is needed to check and write an observation.
type concept struct {
	UUID     string `json:"uuid"`
	Display  string `json:"display"`
	Retired  bool   `json:"retired"`
	Datatype struct {
		UUID    string `json:"uuid"`
		Display string `json:"display"`
	} `json:"datatype"`
	Answers []struct {
		UUID string `json:"uuid"`
	} `json:"answers"`
	HiAbsolute   *float64 `json:"hiAbsolute"`
	LowAbsolute  *float64 `json:"lowAbsolute"`
	Units        string   `json:"units"`
	AllowDecimal *bool    `json:"allowDecimal"`
	Precise      *bool    `json:"precise"` // its name before core 1.12
}

// decimal tells whether fractions are allowed.
func (c *concept) decimal() bool {
	if c.AllowDecimal != nil {
		return *c.AllowDecimal
	}
	return c.Precise == nil || *c.Precise
}

// get reads and decodes one resource. Where it is not there it gives errUnknown.
func get(ctx context.Context, do call.Doer, about string, r call.Request, into any) error {
	a, err := do.Do(ctx, about, r)
	if err != nil {
		return err
	}
	if a.Status == http.StatusNotFound {
		return errUnknown
	}
	if err := json.Unmarshal(a.Body, into); err != nil {
		return fmt.Errorf("%s: read the answer of OpenMRS: %w", about, err)
	}
	return nil
}

// pageSize is asked for in every search; 100 is the most that a server allows
// unless its administrator changed that, 50 is its default.
const pageSize = "50"

// maxPages stops a search that would never end. OpenMRS itself gives at most
// 1000 patients for a search.
const maxPages = 40

// list reads all pages of a search. Whether there is another page is told by the
// presence of a next link only: its address is wrong behind many proxies.
func list[T any](ctx context.Context, do call.Doer, about string, r call.Request) ([]T, error) {
	var all []T
	seen := 0
	for page := range maxPages {
		q := map[string][]string{"limit": {pageSize}}
		for k, v := range r.Query {
			q[k] = v
		}
		if page > 0 {
			q["startIndex"] = []string{fmt.Sprint(seen)}
		}
		var body struct {
			Results []T    `json:"results"`
			Links   []link `json:"links"`
		}
		if err := get(ctx, do, about, call.Request{Method: r.Method, Path: r.Path, Query: q}, &body); err != nil {
			return nil, err
		}
		all = append(all, body.Results...)
		seen += len(body.Results)
		if !hasNext(body.Links) || len(body.Results) == 0 {
			return all, nil
		}
	}
	return nil, &call.Error{About: about, Verdict: call.Verdict{Class: call.Refusal,
		Reason: "OpenMRS found far too many records to compare: narrow the search"}}
}

type link struct {
	Rel string `json:"rel"`
}

func hasNext(links []link) bool {
	for _, l := range links {
		if l.Rel == "next" {
			return true
		}
	}
	return false
}

func (m *metadata) identifierTypes(ctx context.Context, do call.Doer) ([]identifierType, error) {
	return believed.Read(ctx, m.kept, believed.Key{What: "identifier types"}, func() ([]identifierType, error) {
		return list[identifierType](ctx, do, "read identifier types", read("/patientidentifiertype", "v", "full"))
	})
}

func (m *metadata) attributeTypes(ctx context.Context, do call.Doer) ([]attributeType, error) {
	return believed.Read(ctx, m.kept, believed.Key{What: "attribute types"}, func() ([]attributeType, error) {
		return list[attributeType](ctx, do, "read person attribute types", read("/personattributetype", "v", "full"))
	})
}

// identifierType finds a type by name or uuid.
func (m *metadata) identifierType(ctx context.Context, do call.Doer, ref string) (identifierType, error) {
	types, err := m.identifierTypes(ctx, do)
	if err != nil {
		return identifierType{}, err
	}
	return pick(types, ref, func(t identifierType) named { return t.named })
}

func (m *metadata) attributeType(ctx context.Context, do call.Doer, ref string) (attributeType, error) {
	types, err := m.attributeTypes(ctx, do)
	if err != nil {
		return attributeType{}, err
	}
	return pick(types, ref, func(t attributeType) named { return t.named })
}

// pick chooses by uuid, else by exact name.
func pick[T any](all []T, ref string, name func(T) named) (T, error) {
	var found []T
	for _, t := range all {
		n := name(t)
		if n.UUID == ref {
			return t, nil
		}
		if !n.Retired && cmp.Or(n.Name, n.Display) == ref {
			found = append(found, t)
		}
	}
	var zero T
	switch len(found) {
	case 0:
		return zero, errUnknown
	case 1:
		return found[0], nil
	}
	return zero, errAmbiguous
}

// byName finds a row of a short metadata list (visittype, encountertype,
// encounterrole) by name or uuid.
func (m *metadata) byName(ctx context.Context, do call.Doer, resource, ref string) (named, error) {
	all, err := believed.Read(ctx, m.kept, believed.Key{What: resource}, func() ([]named, error) {
		return list[named](ctx, do, "read "+resource, read("/"+resource, "v", "custom:(uuid,display,name,retired)"))
	})
	if err != nil {
		return named{}, err
	}
	return pick(all, ref, func(n named) named { return n })
}

// locationUUID finds a location by name or uuid: OpenMRS itself takes either where a
// location is read. There are too many of them to list.
func (m *metadata) locationUUID(ctx context.Context, do call.Doer, ref string) (string, error) {
	return believed.Read(ctx, m.kept, believed.Key{What: "location", Ref: ref}, func() (string, error) {
		var l named
		err := get(ctx, do, "read location", read("/location/"+seg(ref), "v", "custom:(uuid,display,name,retired)"), &l)
		if err != nil {
			return "", err
		}
		if l.UUID != ref && cmp.Or(l.Name, l.Display) != ref {
			return "", errUnknown
		}
		return l.UUID, nil
	})
}

// formUUID checks the uuid of a form, which OpenMRS takes by uuid only.
func (m *metadata) formUUID(ctx context.Context, do call.Doer, ref string) (string, error) {
	return believed.Read(ctx, m.kept, believed.Key{What: "form", Ref: ref}, func() (string, error) {
		var f named
		err := get(ctx, do, "read form", read("/form/"+seg(ref), "v", "custom:(uuid)"), &f)
		return f.UUID, err
	})
}

type provider struct {
	UUID       string `json:"uuid"`
	Identifier string `json:"identifier"`
	Retired    bool   `json:"retired"`
	Person     *struct {
		Display string `json:"display"`
	} `json:"person"`
}

// providerUUID finds a provider by uuid, by exact identifier, or by exact name.
func (m *metadata) providerUUID(ctx context.Context, do call.Doer, ref string) (string, error) {
	return believed.Read(ctx, m.kept, believed.Key{What: "provider", Ref: ref}, func() (string, error) {
		if looksLikeUUID(ref) {
			var p provider
			err := get(ctx, do, "read provider", read("/provider/"+seg(ref), "v", "custom:(uuid)"), &p)
			if err == nil || !errors.Is(err, errUnknown) {
				return p.UUID, err
			}
		}
		all, err := list[provider](ctx, do, "search provider",
			read("/provider", "q", ref, "v", "custom:(uuid,identifier,retired,person:(display))"))
		if err != nil {
			return "", err
		}
		for _, fits := range []func(provider) bool{
			func(p provider) bool { return p.Identifier == ref },
			func(p provider) bool { return p.Person != nil && p.Person.Display == ref },
		} {
			var found []string
			for _, p := range all {
				if !p.Retired && fits(p) {
					found = append(found, p.UUID)
				}
			}
			switch {
			case len(found) == 1:
				return found[0], nil
			case len(found) > 1:
				return "", errAmbiguous
			}
		}
		return "", errUnknown
	})
}

// concept reads a concept by uuid or SOURCE:code.
func (m *metadata) concept(ctx context.Context, do call.Doer, ref string) (*concept, error) {
	key := believed.Key{What: "concept", Ref: ref}
	if c, ok := believed.Known[*concept](m.kept, key); ok {
		return c, nil // without a closure: this is asked for every observation, twice
	}
	c, err := believed.Read(ctx, m.kept, key, func() (*concept, error) {
		if source, code, ok := strings.Cut(ref, ":"); ok {
			all, err := list[*concept](ctx, do, "read concept", read("/concept", "source", source, "code", code, "v", "full"))
			if err != nil {
				return nil, err
			}
			var live []*concept
			for _, c := range all {
				if !c.Retired {
					live = append(live, c)
				}
			}
			switch len(live) {
			case 0:
				return nil, errUnknown
			case 1:
				return live[0], nil
			}
			return nil, errAmbiguous
		}
		c := &concept{}
		if err := get(ctx, do, "read concept", read("/concept/"+seg(ref), "v", "full"), c); err != nil {
			return nil, err
		}
		return c, nil
	})
	if err == nil && c.UUID != ref {
		// Whoever writes it asks for it by its uuid.
		return believed.Read(ctx, m.kept, believed.Key{What: "concept", Ref: c.UUID}, func() (*concept, error) { return c, nil })
	}
	return c, err
}

// source is where the server generates identifiers of a type.
type generation struct {
	IdentifierType struct {
		UUID string `json:"uuid"`
	} `json:"identifierType"`
	Source struct {
		UUID string `json:"uuid"`
	} `json:"source"`
	Automatic bool `json:"automaticGenerationEnabled"`
}

// identifierSource gives the idgen source that draws identifiers of a type.
func (m *metadata) identifierSource(ctx context.Context, do call.Doer, typeUUID string) (string, error) {
	all, err := believed.Read(ctx, m.kept, believed.Key{What: "idgen"}, func() ([]generation, error) {
		return list[generation](ctx, do, "read how identifiers are generated", read("/idgen/autogenerationoption", "v", "full"))
	})
	if err != nil {
		return "", err
	}
	for _, g := range all {
		if g.Automatic && g.IdentifierType.UUID == typeUUID {
			return g.Source.UUID, nil
		}
	}
	return "", errUnknown
}

// looksLikeUUID is generous: CIEL's uuids are a number padded with A to 36.
func looksLikeUUID(s string) bool {
	if len(s) < 36 || len(s) > 38 {
		return false
	}
	for _, r := range s {
		if (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '-' {
			return false
		}
	}
	return true
}
