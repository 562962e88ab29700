package openmrs

import (
	"context"

	"github.com/google/uuid"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

const providerPersonRep = "custom:(uuid,voided,auditInfo,gender,preferredName:full)"

// Calls makes, changes or retires a provider. A person is made first, in a call
// of her own: OpenMRS does not save a new person with a provider. Retiring is the
// metadata's voiding; encounters keep a provider that is retired.
func (k *providerKind) Calls(_ context.Context, _ call.Doer, c connector.Change) ([]call.Call, error) {
	p := k.planner("Provider", c)
	path := "/provider/" + seg(c.ID)
	switch {
	case c.Remove:
		p.add(call.Call{Name: p.name("retire"), About: "retire the provider", Request: void(path, c.Reason), Repeat: call.Safe, Reversal: call.Exact,
			Check: k.check(c.ID, nil, record.Fields{"uuid": c.ID}), Undo: &call.Undo{Request: unvoid(path)}})
	case c.Found == nil:
		return k.create(p)
	default:
		return k.update(p)
	}
	return p.calls, nil
}

func (k *providerKind) check(id string, want, pre record.Fields) *call.Check {
	return &call.Check{Read: read("/provider/"+seg(id), "v", providerRep), As: "provider", Want: want, Pre: pre}
}

// personOf derives the uuid of the person that is made for a provider.
func personOf(provider string) string {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte("openmrs/Provider/"+provider+"/person")).String()
}

func (k *providerKind) create(p *planner) ([]call.Call, error) {
	c := p.c
	if record.Empty(c.Write["identifier"]) {
		return nil, k.refused("create provider", "a provider cannot be made without an identifier")
	}
	who := any(c.Write["person"])
	if record.Empty(c.Write["person"]) {
		id := personOf(c.ID)
		if err := k.createPerson(p, id); err != nil {
			return nil, err
		}
		who = id
	}
	b := newBody()
	b.set("uuid", c.ID)
	b.set("person", who)
	b.set("identifier", c.Write["identifier"])
	want := record.Fields{"identifier": c.Write["identifier"], "person": who}
	p.add(call.Call{Name: p.name("create"), About: "make the provider", Request: b.post("/provider", "v", providerRep), Outputs: map[string]string{"uuid": "/uuid"},
		Repeat: call.Safe, Reversal: call.Exact, ReadBack: true, Check: k.check(c.ID, settled(want), nil),
		Undo: &call.Undo{Request: void("/provider/"+seg(c.ID), c.Reason), Voids: true}})
	return p.calls, nil
}

func (k *providerKind) createPerson(p *planner, id string) error {
	c := p.c
	if record.Empty(c.Write["name/given"]) || record.Empty(c.Write["gender"]) {
		return k.refused("create provider", "the person of a provider cannot be made without a given name and a gender; or give the uuid of a person under person")
	}
	b := newBody()
	b.set("uuid", id)
	b.set("gender", c.Write["gender"])
	name := map[string]any{"preferred": true}
	b.root["names"] = []any{name}
	want := record.Fields{"person": id, "gender": c.Write["gender"]}
	for _, n := range nameFields {
		if v, ok := c.Write["name/"+n.ours]; ok && !record.Empty(v) {
			b.in(name, "/names/0", n.theirs, v)
			want["name/"+n.ours] = v
		}
	}
	p.add(call.Call{Name: p.name("person"), About: "make the person of the provider", Request: b.post("/person", "v", providerPersonRep),
		Repeat: call.Safe, Reversal: call.Exact, ReadBack: true,
		Check: &call.Check{Read: read("/person/"+seg(id), "v", providerPersonRep), As: "person", Want: settled(want)},
		Undo:  &call.Undo{Request: void("/person/"+seg(id), c.Reason), Voids: true}})
	return nil
}

// update changes what differs, one call each for the provider, the name and the
// gender. The person of a provider is not exchanged.
func (k *providerKind) update(p *planner) ([]call.Call, error) {
	c, who := p.c, p.c.Found.Fields.Text("person")
	if v, ok := c.Write["person"]; ok && v != who {
		return nil, k.refused("change provider", "the provider is another person in OpenMRS: correct it there, or find another provider")
	}
	provider, name, gender := map[string]string{}, map[string]string{}, map[string]string{}
	for path := range c.Write {
		switch {
		case path == "identifier":
			provider[path] = path
		case path == "gender":
			gender[path] = path
		case isName(path):
			name[path] = nameField(path[len("name/"):])
		}
	}
	if len(name)+len(gender) > 0 && who == "" {
		return nil, k.refused("change provider", "the provider has no person in OpenMRS whose name or gender could be changed")
	}
	row := c.Found.Rows["name"]
	if len(name) > 0 && row == "" {
		return nil, k.refused("change provider", "the person of the provider has no name in OpenMRS that could be changed")
	}
	for _, u := range []struct {
		path, name, about string
		theirs            map[string]string
	}{
		{"/provider/" + seg(c.ID), "update", "change the provider", provider},
		{"/person/" + seg(who) + "/name/" + seg(row), "name", "change the name of the provider", name},
		{"/person/" + seg(who), "gender", "change the gender of the provider", gender},
	} {
		write := record.Fields{}
		for path := range u.theirs {
			write[path] = c.Write[path]
		}
		n := len(p.calls)
		p.change(changeOf{path: u.path, rep: providerRep, name: u.name, about: u.about, write: write, theirs: u.theirs,
			wire: func(_ string, v any) any { return v }, check: k.check})
		if u.name != "update" && len(p.calls) > n {
			// The answer shows the person or her name, not the provider.
			p.calls[n].ReadBack, p.calls[n].Request.Query = false, nil
		}
	}
	return p.calls, nil
}
