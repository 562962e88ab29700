package openmrs

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

// providerRep is the representation in which a provider is always read.
const providerRep = "custom:(uuid,identifier,retired,auditInfo,person:(uuid,gender,preferredName:full))"

var providerSpec = connector.KindSpec{
	Name: "Provider", Lasts: true,
	About: "A health worker, as encounters name her, and the person she is. Where no person is given one is made with her. " +
		"OpenMRS itself lets two providers have one identifier.",
	ByDefault: "by the id that an earlier message of the same source document made or used, or by the id that Kiungo derives",
	Finds: []connector.FieldSpec{
		{Name: "uuid", Type: connector.Text, About: "Uuid of the provider."},
		{Name: "identifier", Type: connector.Text, About: "Identifier of the provider, compared exactly. One that is retired is told as voided."},
	},
	Fields: []connector.FieldSpec{
		{Name: "identifier", Type: connector.Text, Required: true, About: "Identifier of the provider: a staff number, a user name."},
		{Name: "name", Type: connector.Object, About: "The preferred name of the person.", Fields: nameSpecs()},
		{Name: "gender", Type: connector.Text, About: "M, F, or another code that the server uses. Needed when the person is made."},
		{Name: "person", Type: connector.Text, About: "Uuid of a person who is there already, a patient or a user, when the provider is made."},
	},
	Gives: []connector.FieldSpec{{Name: "uuid", Type: connector.Text, About: "Uuid of the provider."}},
}

type providerKind struct{ *System }

func (k *providerKind) Spec() *connector.KindSpec { return &providerSpec }

type wireProvider struct {
	UUID       string `json:"uuid"`
	Identifier string `json:"identifier"`
	Retired    bool   `json:"retired"`
	Audit      *struct {
		audit
		RetiredBy    *person `json:"retiredBy"`
		RetireReason string  `json:"retireReason"`
	} `json:"auditInfo"`
	Person *struct {
		UUID   string    `json:"uuid"`
		Gender *string   `json:"gender"`
		Name   *wireName `json:"preferredName"`
	} `json:"person"`
}

func decodeProvider(a call.Answer) (*wireProvider, error) {
	if a.Status == http.StatusNotFound {
		return nil, nil
	}
	var w wireProvider
	if err := json.Unmarshal(a.Body, &w); err != nil {
		return nil, fmt.Errorf("read the provider that OpenMRS sent: %w", err)
	}
	if w.UUID == "" {
		return nil, fmt.Errorf("read the provider that OpenMRS sent: it has no uuid")
	}
	return &w, nil
}

func (k *providerKind) byUs(w *wireProvider) bool {
	if w.Audit == nil {
		return false
	}
	return k.System.byUs(&audit{VoidedBy: w.Audit.RetiredBy, VoidReason: w.Audit.RetireReason})
}

func (w *wireProvider) fields() record.Fields {
	f := record.Fields{"uuid": w.UUID, "identifier": w.Identifier}
	p := w.Person
	if p == nil {
		f["person"], f["gender"] = "", ""
		(&wireName{}).fields(f)
		return f
	}
	f["person"], f["gender"] = p.UUID, deref(p.Gender)
	if p.Name == nil {
		p.Name = &wireName{}
	}
	p.Name.fields(f)
	return f
}

func (k *providerKind) asFound(w *wireProvider, how string) connector.Found {
	var a *audit
	if w.Audit != nil {
		a = &w.Audit.audit
	}
	f := connector.Found{Exists: !w.Retired, ID: w.UUID, How: how, Changed: a.changed(k.zone)}
	if w.Retired {
		f.Voided, f.ByUs = true, k.byUs(w)
		return f
	}
	f.Fields, f.Rows = w.fields(), map[string]string{}
	if w.Person != nil && w.Person.Name != nil {
		f.Rows["name"] = w.Person.Name.UUID
	}
	return f
}

// Find looks a provider up by the id made before, by the criteria in their order,
// last by the derived id. One that is retired is told where no other is found.
func (k *providerKind) Find(ctx context.Context, do call.Doer, q connector.Query) (connector.Found, error) {
	var retired connector.Found
	tried := map[string]bool{"": true}
	byUUID := func(id, how string) (connector.Found, error) {
		if tried[id] {
			return connector.Found{}, nil
		}
		tried[id] = true
		a, err := do.Do(ctx, "read provider", read("/provider/"+seg(id), "v", providerRep))
		if err != nil {
			return connector.Found{}, err
		}
		w, err := decodeProvider(a)
		if err != nil || w == nil {
			return connector.Found{}, err
		}
		return k.asFound(w, how), nil
	}
	steps := []func() (connector.Found, error){func() (connector.Found, error) { return byUUID(q.Made, "made before") }}
	for _, by := range q.By {
		steps = append(steps, func() (connector.Found, error) {
			if id, _ := text(by["uuid"]); looksLikeUUID(id) {
				return byUUID(id, "uuid")
			}
			if value, _ := text(by["identifier"]); value != "" {
				return k.byIdentifier(ctx, do, value)
			}
			return connector.Found{}, nil
		})
	}
	steps = append(steps, func() (connector.Found, error) { return byUUID(q.ID, "derived id") })
	for _, step := range steps {
		f, err := step()
		if err != nil || f.Exists || len(f.Several) > 0 {
			return f, err
		}
		if f.Voided && !retired.Voided {
			retired = f
		}
	}
	return retired, nil
}

// byIdentifier searches and compares exactly: the search takes names, and what
// begins alike (HibernateProviderDAO.prepareProviderCriteria).
func (k *providerKind) byIdentifier(ctx context.Context, do call.Doer, value string) (connector.Found, error) {
	all, err := list[*wireProvider](ctx, do, "search provider by identifier", read("/provider", "q", value, "includeAll", "true", "v", providerRep))
	if err != nil {
		return connector.Found{}, err
	}
	live, retired := map[string]*wireProvider{}, map[string]*wireProvider{}
	for _, w := range all {
		if w == nil || w.Identifier != value {
			continue
		}
		if live[w.UUID] = w; w.Retired {
			delete(live, w.UUID)
			retired[w.UUID] = w
		}
	}
	ids := slices.Sorted(maps.Keys(live))
	switch {
	case len(ids) == 1:
		return k.asFound(live[ids[0]], "identifier"), nil
	case len(ids) > 1:
		return connector.Found{Several: ids, How: "identifier"}, nil
	case len(retired) > 0:
		return k.asFound(retired[slices.Min(slices.Collect(maps.Keys(retired)))], "identifier"), nil
	}
	return connector.Found{}, nil
}

// Canon checks a wanted provider.
func (k *providerKind) Canon(_ context.Context, _ call.Doer, wanted map[string]any) (record.Fields, []connector.Problem, error) {
	c := newCanoner()
	for _, name := range keysOf(wanted) {
		switch v := wanted[name]; name {
		case "identifier":
			c.text(name, v, 255)
		case "gender":
			c.text(name, v, 50)
		case "name":
			c.texts("name", v, func(n string) bool { return nameField(n) != "" }, 50)
		case "person":
			if id, isText := text(v); isText && id != "" && !looksLikeUUID(id) {
				c.problem(name, "reference", "must be the uuid of a person")
				continue
			}
			c.text(name, v, 38)
		default:
			c.problem(name, "field", "is not a field of a provider")
		}
	}
	for _, path := range []string{"identifier", "name/given", "gender", "person"} {
		if _, clear := c.fields[path].(record.Clear); clear {
			delete(c.fields, path)
			c.problem(path, "required", "cannot be emptied")
		}
	}
	return c.fields, c.problems, nil
}

// Observe reads a provider, or the person that is made for one.
func (k *providerKind) Observe(c call.Check, a call.Answer) (call.Observed, error) {
	switch c.As {
	case "provider":
		w, err := decodeProvider(a)
		if err != nil || w == nil {
			return call.Observed{}, err
		}
		if w.Retired {
			return call.Observed{Voided: true, ByUs: k.byUs(w)}, nil
		}
		return call.Observed{Exists: true, Fields: w.fields(), Outputs: call.Outputs{"uuid": w.UUID}}, nil
	case "person":
		if a.Status == http.StatusNotFound {
			return call.Observed{}, nil
		}
		var w struct {
			UUID   string    `json:"uuid"`
			Voided bool      `json:"voided"`
			Audit  *audit    `json:"auditInfo"`
			Gender *string   `json:"gender"`
			Name   *wireName `json:"preferredName"`
		}
		if err := json.Unmarshal(a.Body, &w); err != nil || w.UUID == "" {
			return call.Observed{}, fmt.Errorf("read the person that OpenMRS sent: %w", err)
		}
		if w.Voided {
			return call.Observed{Voided: true, ByUs: k.System.byUs(w.Audit)}, nil
		}
		f := record.Fields{"person": w.UUID, "gender": deref(w.Gender)}
		if w.Name != nil {
			w.Name.fields(f)
		}
		return call.Observed{Exists: true, Fields: f, Outputs: call.Outputs{"uuid": w.UUID}}, nil
	}
	return call.Observed{}, fmt.Errorf("openmrs/Provider: unknown check %q", c.As)
}

func isName(path string) bool { return strings.HasPrefix(path, "name/") }
