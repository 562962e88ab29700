package dhis2

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/kiungo-health/kiungo/internal/believed"
	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/period"
)

// Named is any metadata by its identifier, code and name.
type Named struct {
	ID   string `json:"id"`
	Code string `json:"code,omitempty"`
	Name string `json:"displayName,omitempty"`
}

// title is how a person knows it: its name, else its code, else its identifier.
func (n Named) title() string { return cmp.Or(n.Name, cmp.Or(n.Code, n.ID)) }

// is tells whether a flow's word means it: its UID, or its code.
func (n Named) is(ref string) bool { return ref != "" && (n.ID == ref || n.Code == ref) }

// DataElement is a data element as far as values are checked and mapped.
type DataElement struct {
	Named
	ValueType   string `json:"valueType"`
	Aggregation string `json:"aggregationType"`
	ZeroCounts  bool   `json:"zeroIsSignificant"`
	OptionSet   *Named `json:"optionSet"`
	Combo       Named  `json:"categoryCombo"`
}

var numericTypes = []string{"INTEGER", "INTEGER_POSITIVE", "INTEGER_NEGATIVE", "INTEGER_ZERO_OR_POSITIVE", "NUMBER", "UNIT_INTERVAL", "PERCENTAGE"}

// dropsZero tells that DHIS2 does not store a zero of the data element, and
// deletes what stands there when one is sent (ValidationUtils.
// dataValueIsZeroAndInsignificant).
func (e *DataElement) dropsZero() bool {
	return !e.ZeroCounts && slices.Contains(numericTypes, e.ValueType) &&
		e.Aggregation != "AVERAGE" && e.Aggregation != "AVERAGE_SUM_ORG_UNIT"
}

// DataSet is a data set with its data elements.
type DataSet struct {
	Named
	Version           int         `json:"version"`
	PeriodType        period.Type `json:"periodType"`
	OpenFuturePeriods int         `json:"openFuturePeriods"`
	// ExpiryDays is a whole number up to 2.41 and a decimal from 2.42 on.
	ExpiryDays float64 `json:"expiryDays"`
	Combo      Named   `json:"categoryCombo"`
	Elements   []struct {
		Element DataElement `json:"dataElement"`
		// Combo, where there is one, is meant instead of the data element's own.
		Combo *Named `json:"categoryCombo"`
	} `json:"dataSetElements"`
	Units  []Named `json:"organisationUnits"`
	Access access  `json:"access"`
}

type access struct {
	Data struct {
		Read, Write *bool
	} `json:"data"`
}

// element finds a data element of the set by UID or code, with the category
// combination that holds in it.
func (d *DataSet) element(ref string) (e *DataElement, combo string, ok bool) {
	for i := range d.Elements {
		el := &d.Elements[i]
		if el.Element.is(ref) {
			return &el.Element, d.comboOf(i), true
		}
	}
	return nil, "", false
}

func (d *DataSet) comboOf(i int) string {
	if c := d.Elements[i].Combo; c != nil && c.ID != "" {
		return c.ID
	}
	return d.Elements[i].Element.Combo.ID
}

func (d *DataSet) assigned(unit string) bool {
	return slices.ContainsFunc(d.Units, func(u Named) bool { return u.ID == unit })
}

// Combo is a category combination with its option combinations.
type Combo struct {
	ID         string `json:"id"`
	Code       string `json:"code"`
	Name       string `json:"name"`
	Default    *bool  `json:"isDefault"`
	Categories []struct {
		ID      string   `json:"id"`
		Code    string   `json:"code"`
		Name    string   `json:"name"`
		Options []Option `json:"categoryOptions"`
	} `json:"categories"`
	Options []OptionCombo `json:"categoryOptionCombos"`
}

// Option is a category option.
type Option struct {
	ID   string `json:"id"`
	Code string `json:"code"`
	Name string `json:"name"`
}

// OptionCombo is a category option combination: "Male, Doctor". Most have no code.
type OptionCombo struct {
	ID      string   `json:"id"`
	Code    string   `json:"code"`
	Name    string   `json:"name"`
	Options []Option `json:"categoryOptions"`
}

// isDefault tells whether nothing is broken down by this combination.
func (c *Combo) isDefault() bool {
	if c.Default != nil {
		return *c.Default
	}
	return c.Name == "default" || c.Code == "default" || c.ID == "bjDvmb4bfuf"
}

// find finds an option combination by UID or code.
func (c *Combo) find(ref string) (OptionCombo, bool) {
	for _, o := range c.Options {
		if ref != "" && (o.ID == ref || o.Code == ref) {
			return o, true
		}
	}
	return OptionCombo{}, false
}

// Program is a program with its stages.
type Program struct {
	Named
	Version int    `json:"version"`
	Type    string `json:"programType"`
	Combo   Named  `json:"categoryCombo"`
	// ExpiryDays after the end of its period in which an event may be entered.
	ExpiryDays int     `json:"expiryDays"`
	Units      []Named `json:"organisationUnits"`
	Stages     []Stage `json:"programStages"`
	Access     access  `json:"access"`
}

// Stage is a program stage with its data elements.
type Stage struct {
	Named
	Elements []struct {
		Compulsory bool        `json:"compulsory"`
		Future     *bool       `json:"allowFutureDate"`
		Element    DataElement `json:"dataElement"`
	} `json:"programStageDataElements"`
}

func (p *Program) stage(ref string) (*Stage, bool) {
	for i := range p.Stages {
		if p.Stages[i].is(ref) {
			return &p.Stages[i], true
		}
	}
	return nil, false
}

func (st *Stage) element(ref string) (*DataElement, bool) {
	for i := range st.Elements {
		if st.Elements[i].Element.is(ref) {
			return &st.Elements[i].Element, true
		}
	}
	return nil, false
}

func (p *Program) assigned(unit string) bool {
	return slices.ContainsFunc(p.Units, func(u Named) bool { return u.ID == unit })
}

// OrgUnit is an organisation unit. Path lists its ancestors and itself:
// "/ImspTQPwCqd/O6uvpzGd5pu".
type OrgUnit struct {
	Named
	Path   string `json:"path"`
	Level  int    `json:"level"`
	Opened string `json:"openingDate"`
	Closed string `json:"closedDate"`
}

// below tells whether the unit is one of these, or below one.
func (u *OrgUnit) below(units []Named) bool {
	for _, v := range units {
		if v.ID == u.ID || slices.Contains(strings.Split(u.Path, "/"), v.ID) {
			return true
		}
	}
	return false
}

// Info is what the server says of itself.
type Info struct {
	Version  string `json:"version"`
	Calendar string `json:"calendar"`
	Zone     string `json:"serverTimeZoneId"`
	// SystemID tells one database from another: after a restore of another
	// database it differs, and what was written is not there.
	SystemID string `json:"systemId"`
}

// Me is our user.
type Me struct {
	ID          string   `json:"id"`
	Username    string   `json:"username"`
	Authorities []string `json:"authorities"`
	Units       []struct {
		ID   string `json:"id"`
		Path string `json:"path"`
	} `json:"organisationUnits"`
}

// may tells whether the user has an authority; ALL is every one.
func (u *Me) may(authority string) bool {
	return slices.Contains(u.Authorities, authority) || slices.Contains(u.Authorities, "ALL")
}

func (u *Me) units() []Named {
	out := make([]Named, len(u.Units))
	for i, o := range u.Units {
		out[i] = Named{ID: o.ID}
	}
	return out
}

const (
	elementFields = "id,code,displayName,valueType,zeroIsSignificant,aggregationType,optionSet[id],categoryCombo[id]"
	dataSetFields = "id,code,displayName,version,periodType,openFuturePeriods,expiryDays,access[data],categoryCombo[id,isDefault]," +
		"dataSetElements[dataElement[" + elementFields + "],categoryCombo[id]],organisationUnits[id]"
	comboFields   = "id,code,name,categories[id,code,name,categoryOptions[id,code,name]],categoryOptionCombos[id,code,name,categoryOptions[id,code,name]]"
	programFields = "id,code,displayName,version,programType,expiryDays,access[data],categoryCombo[id],organisationUnits[id]," +
		"programStages[id,code,displayName,programStageDataElements[compulsory,allowFutureDate,dataElement[" + elementFields + "]]]"
	unitFields = "id,code,displayName,path,level,openingDate,closedDate"
)

func (m *metadata) dataSet(ctx context.Context, do call.Doer, ref string) (*DataSet, error) {
	return byCode(ctx, m, "data set", ref, func(v *DataSet) string { return v.ID }, func() (*DataSet, error) {
		ds, err := one[DataSet](ctx, m, do, "read data set", "dataSets", ref, dataSetFields)
		if err == nil {
			for i := range ds.Elements {
				m.named(ds.Elements[i].Element.Named)
			}
		}
		return ds, err
	})
}

func (m *metadata) program(ctx context.Context, do call.Doer, ref string) (*Program, error) {
	return byCode(ctx, m, "program", ref, func(v *Program) string { return v.ID }, func() (*Program, error) {
		p, err := one[Program](ctx, m, do, "read program", "programs", ref, programFields)
		if err == nil {
			for i := range p.Stages {
				for j := range p.Stages[i].Elements {
					m.named(p.Stages[i].Elements[j].Element.Named)
				}
			}
		}
		return p, err
	})
}

func (m *metadata) unit(ctx context.Context, do call.Doer, ref string) (*OrgUnit, error) {
	return byCode(ctx, m, "org unit", ref, func(v *OrgUnit) string { return v.ID }, func() (*OrgUnit, error) {
		return one[OrgUnit](ctx, m, do, "read organisation unit", "organisationUnits", ref, unitFields)
	})
}

// unitBatch is how many organisation units one request asks for: an address has
// at most some thousand characters behind many proxies.
const unitBatch = 100

// fetchUnits reads many organisation units in a few requests, so that unit finds
// them kept. What is not there is left for unit to say.
func (m *metadata) fetchUnits(ctx context.Context, do call.Doer, refs []string) error {
	ask := map[string][]string{} // property -> what is not known yet
	for _, ref := range refs {
		property := "code"
		if IsUID(ref) {
			property = "id"
		}
		if _, known := believed.Known[*OrgUnit](m.kept, believed.Key{What: "org unit", Ref: ref}); known || ref == "" || strings.ContainsAny(ref, ",[]") || slices.Contains(ask[property], ref) {
			continue
		}
		ask[property] = append(ask[property], ref)
	}
	for _, property := range keysOf(ask) {
		for part := range slices.Chunk(ask[property], unitBatch) {
			units, err := list[OrgUnit](ctx, m, do, "read organisation units", "organisationUnits",
				"filter", property+":in:["+strings.Join(part, ",")+"]", "fields", unitFields)
			if err != nil {
				return err
			}
			for i := range units {
				ref := units[i].ID
				if property == "code" {
					ref = units[i].Code
				}
				if slices.ContainsFunc(units, func(u OrgUnit) bool { return u.Code == ref && u.ID != units[i].ID }) {
					continue // a code of two
				}
				if _, err := byCode(ctx, m, "org unit", ref, func(v *OrgUnit) string { return v.ID }, func() (*OrgUnit, error) { return &units[i], nil }); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// combo reads a category combination by UID.
func (m *metadata) combo(ctx context.Context, do call.Doer, id string) (*Combo, error) {
	return believed.Read(ctx, m.kept, believed.Key{What: "combo", Ref: id}, func() (*Combo, error) {
		all, err := list[Combo](ctx, m, do, "read category combination", "categoryCombos",
			"filter", "id:in:["+id+"]", "fields", comboFields)
		if err != nil {
			return nil, err
		}
		for i := range all {
			if all[i].ID == id {
				for _, o := range all[i].Options {
					m.named(Named{ID: o.ID, Code: o.Code, Name: o.Name})
				}
				return &all[i], nil
			}
		}
		return nil, errUnknown
	})
}

// options reads the codes of an option set.
func (m *metadata) options(ctx context.Context, do call.Doer, id string) ([]string, error) {
	return believed.Read(ctx, m.kept, believed.Key{What: "options", Ref: id}, func() ([]string, error) {
		var set struct {
			Options []struct {
				Code string `json:"code"`
			} `json:"options"`
		}
		err := m.get(ctx, do, "read option set", read("/optionSets/"+seg(id), "fields", "id,options[code]"), &set)
		if err != nil {
			return nil, err
		}
		codes := make([]string, len(set.Options))
		for i, o := range set.Options {
			codes[i] = o.Code
		}
		return codes, nil
	})
}

func (m *metadata) info(ctx context.Context, do call.Doer) (*Info, error) {
	return believed.Read(ctx, m.kept, believed.Key{What: "info"}, func() (*Info, error) {
		// Its date changes with every answer: no ETag serves.
		a, err := do.Do(ctx, "read version and calendar", read("/system/info"))
		if err != nil {
			return nil, err
		}
		in := &Info{}
		if err := json.Unmarshal(a.Body, in); err != nil {
			return nil, fmt.Errorf("read version and calendar: %w", err)
		}
		if want := m.sys.database; want != "" && in.SystemID != want {
			// What was written is not in it, and what is in it was not meant.
			return nil, m.sys.refused("read version and calendar", "this is another database than the option database names: its systemId is %q", in.SystemID)
		}
		return in, nil
	})
}

// lastInfo is what was read last about the server, however old.
func (m *metadata) lastInfo() (*Info, bool) {
	return believed.Last[*Info](m.kept, believed.Key{What: "info"})
}

func (m *metadata) me(ctx context.Context, do call.Doer) (*Me, error) {
	return believed.Read(ctx, m.kept, believed.Key{What: "me"}, func() (*Me, error) {
		u := &Me{}
		err := m.get(ctx, do, "read our user", read("/me", "fields", "id,username,authorities,organisationUnits[id,path]"), u)
		if err == nil {
			m.sys.learnUser(u.Username)
		}
		return u, err
	})
}

// versionOf gives the server's version: as configured, else as it says.
func (s *System) versionOf(ctx context.Context, do call.Doer) (Version, error) {
	if s.version.Major != 0 {
		return s.version, nil
	}
	in, err := s.meta.info(ctx, do)
	if err != nil {
		return Version{}, err
	}
	v, err := ParseVersion(in.Version)
	if err == nil {
		err = v.supported()
	}
	if err != nil {
		return Version{}, s.refused("read version and calendar", "%v", err)
	}
	return v, nil
}

// calendar gives the calendar in which the server names periods and dates.
func (s *System) calendar(ctx context.Context, do call.Doer) (period.Calendar, error) {
	in, err := s.meta.info(ctx, do)
	if err != nil {
		return 0, err
	}
	cal, err := period.ParseCalendar(cmp.Or(in.Calendar, "iso8601"))
	if err != nil {
		return 0, s.refused("read version and calendar", "%v", err)
	}
	return cal, nil
}

// refused is the error of a planning step for what DHIS2 cannot take.
func (s *System) refused(about, format string, args ...any) error {
	return &call.Error{System: s.name, About: about, Verdict: call.Verdict{Class: call.Refusal, Reason: fmt.Sprintf(format, args...)}}
}
