package openmrs

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/record"
)

// patientRep is the representation in which a patient is always read. Name and
// address are asked for in full: the default leaves out prefix and degree, and
// naming address7 to address15 would be refused by servers that lack them.
const patientRep = "custom:(uuid,voided,auditInfo," +
	"identifiers:(uuid,identifier,preferred,voided,identifierType:(uuid,name,validator),location:(uuid))," +
	"person:(uuid,gender,birthdate,birthdateEstimated,dead,deathDate,causeOfDeath:(uuid)," +
	"preferredName:full,preferredAddress:full,attributes:(uuid,value,voided,attributeType:(uuid,name))))"

type ref struct {
	UUID string `json:"uuid"`
	Name string `json:"name"`
}

type audit struct {
	Creator     *person `json:"creator"`
	DateCreated string  `json:"dateCreated"`
	ChangedBy   *person `json:"changedBy"`
	DateChanged string  `json:"dateChanged"`
	DateVoided  string  `json:"dateVoided"`
	VoidedBy    *person `json:"voidedBy"`
	VoidReason  string  `json:"voidReason"`
}

type person struct {
	Display string `json:"display"`
}

// changed is when the record was last written, zero if unsaid.
func (a *audit) changed(zone *time.Location) time.Time {
	if a == nil {
		return time.Time{}
	}
	t, err := parseMoment(cmp.Or(a.DateChanged, a.DateCreated), zone)
	if err != nil {
		return time.Time{}
	}
	return t
}

// ours tells whether our own user made the record and nobody else has changed
// it since. A server that does not show who did makes it somebody else's.
func (s *System) ours(a *audit) bool {
	us := func(who *person) bool { return who != nil && strings.EqualFold(who.Display, s.username) }
	return a != nil && us(a.Creator) && (a.ChangedBy == nil || us(a.ChangedBy))
}

// byUs tells whether our own user voided the record.
func (s *System) byUs(a *audit) bool {
	if a == nil {
		return false
	}
	if a.VoidedBy != nil && strings.EqualFold(a.VoidedBy.Display, s.username) {
		return true
	}
	return strings.HasPrefix(a.VoidReason, s.our+" ")
}

// madeByUs tells whether our own user made the record.
func (s *System) madeByUs(a *audit) bool {
	return a != nil && a.Creator != nil && strings.EqualFold(a.Creator.Display, s.username)
}

type wirePatient struct {
	UUID        string            `json:"uuid"`
	Voided      bool              `json:"voided"`
	Audit       *audit            `json:"auditInfo"`
	Identifiers *[]wireIdentifier `json:"identifiers"`
	Person      *struct {
		Gender             *string          `json:"gender"`
		Birthdate          *string          `json:"birthdate"`
		BirthdateEstimated *bool            `json:"birthdateEstimated"`
		Dead               *bool            `json:"dead"`
		DeathDate          *string          `json:"deathDate"`
		CauseOfDeath       ref              `json:"causeOfDeath"`
		Name               wireName         `json:"preferredName"`
		Address            wireAddress      `json:"preferredAddress"`
		Attributes         *[]wireAttribute `json:"attributes"`
	} `json:"person"`
}

// wireName is a person's name; the links and the audit information that the full
// representation has, too, are not read.
type wireName struct {
	UUID         string `json:"uuid"`
	Given        string `json:"givenName"`
	Middle       string `json:"middleName"`
	Family       string `json:"familyName"`
	Family2      string `json:"familyName2"`
	Prefix       string `json:"prefix"`
	FamilyPrefix string `json:"familyNamePrefix"`
	FamilySuffix string `json:"familyNameSuffix"`
	Degree       string `json:"degree"`
}

// fields writes the name's parts: given, middle, ... as nameFields has them.
func (n *wireName) fields(f record.Fields) {
	f["name/given"], f["name/middle"], f["name/family"], f["name/family2"] = n.Given, n.Middle, n.Family, n.Family2
	f["name/prefix"], f["name/familyPrefix"], f["name/familySuffix"], f["name/degree"] = n.Prefix, n.FamilyPrefix, n.FamilySuffix, n.Degree
}

// wireAddress is a person's address.
type wireAddress struct {
	UUID           string `json:"uuid"`
	CityVillage    string `json:"cityVillage"`
	StateProvince  string `json:"stateProvince"`
	CountyDistrict string `json:"countyDistrict"`
	Country        string `json:"country"`
	PostalCode     string `json:"postalCode"`
	Latitude       string `json:"latitude"`
	Longitude      string `json:"longitude"`
	Address1       string `json:"address1"`
	Address2       string `json:"address2"`
	Address3       string `json:"address3"`
	Address4       string `json:"address4"`
	Address5       string `json:"address5"`
	Address6       string `json:"address6"`
	Address7       string `json:"address7"`
	Address8       string `json:"address8"`
	Address9       string `json:"address9"`
	Address10      string `json:"address10"`
	Address11      string `json:"address11"`
	Address12      string `json:"address12"`
	Address13      string `json:"address13"`
	Address14      string `json:"address14"`
	Address15      string `json:"address15"`
}

// fields writes the address's parts, as addressFields has them.
func (a *wireAddress) fields(f record.Fields) {
	f["address/cityVillage"], f["address/stateProvince"], f["address/countyDistrict"] = a.CityVillage, a.StateProvince, a.CountyDistrict
	f["address/country"], f["address/postalCode"], f["address/latitude"], f["address/longitude"] = a.Country, a.PostalCode, a.Latitude, a.Longitude
	f["address/address1"], f["address/address2"], f["address/address3"], f["address/address4"] = a.Address1, a.Address2, a.Address3, a.Address4
	f["address/address5"], f["address/address6"], f["address/address7"], f["address/address8"] = a.Address5, a.Address6, a.Address7, a.Address8
	f["address/address9"], f["address/address10"], f["address/address11"], f["address/address12"] = a.Address9, a.Address10, a.Address11, a.Address12
	f["address/address13"], f["address/address14"], f["address/address15"] = a.Address13, a.Address14, a.Address15
}

type wireIdentifier struct {
	UUID       string          `json:"uuid"`
	Identifier string          `json:"identifier"`
	Preferred  bool            `json:"preferred"`
	Voided     bool            `json:"voided"`
	Type       *identifierType `json:"identifierType"`
	Location   ref             `json:"location"`
}

type wireAttribute struct {
	UUID   string `json:"uuid"`
	Value  any    `json:"value"`
	Voided bool   `json:"voided"`
	Type   *ref   `json:"attributeType"`
}

func decodePatient(a call.Answer) (*wirePatient, error) {
	if a.Status == http.StatusNotFound {
		return nil, nil
	}
	w := &wirePatient{}
	if err := json.Unmarshal(a.Body, w); err != nil {
		return nil, fmt.Errorf("read the patient that OpenMRS sent: %w", err)
	}
	if w.UUID == "" {
		return nil, fmt.Errorf("read the patient that OpenMRS sent: it has no uuid")
	}
	return w, nil
}

// patientFields makes a patient canonical. Wants are fields that somebody asks
// about: they decide which of several identifiers of one type is meant, and
// what is not there is then said to be empty.
func (s *System) patientFields(w *wirePatient, wants ...record.Fields) (record.Fields, map[string]string) {
	f, rows := make(record.Fields, 48), map[string]string{}
	f["uuid"] = w.UUID
	identifierFields(w, f, rows, wants)
	p := w.Person
	if p == nil {
		unreadable(f, wants, "name/", "address/", "attributes/", "gender", "birthdate", "dead", "deathDate", "causeOfDeath")
		return f, rows
	}
	f["gender"] = deref(p.Gender)
	f["birthdate"] = dayFromWire(deref(p.Birthdate))
	if p.BirthdateEstimated != nil {
		f["birthdateEstimated"] = *p.BirthdateEstimated
	}
	if p.Dead != nil {
		f["dead"] = *p.Dead
	}
	f["deathDate"] = s.deathDate(deref(p.DeathDate), wants)
	f["causeOfDeath"] = p.CauseOfDeath.UUID
	rows["name"], rows["address"] = p.Name.UUID, p.Address.UUID
	p.Name.fields(f)
	p.Address.fields(f)
	if p.Attributes == nil {
		unreadable(f, wants, "attributes/")
		return f, rows
	}
	for _, a := range *p.Attributes {
		if a.Voided || a.Type == nil {
			continue
		}
		path := "attributes/" + cmp.Or(a.Type.Name, a.Type.UUID)
		f[path], rows[path] = attributeValue(a.Value), a.UUID
	}
	empty(f, wants, "attributes/")
	return f, rows
}

func identifierFields(w *wirePatient, f record.Fields, rows map[string]string, wants []record.Fields) {
	if w.Identifiers == nil {
		unreadable(f, wants, "identifiers/")
		return
	}
	settled := map[string]bool{}
	for _, id := range *w.Identifiers {
		if id.Voided || id.Type == nil {
			continue
		}
		path := "identifiers/" + cmp.Or(id.Type.Name, id.Type.UUID)
		wanted, asked := asked(path, wants)
		fits := asked && id.Type.same(wanted, id.Identifier)
		if _, there := f[path]; there && (settled[path] || !fits) {
			continue
		}
		f[path], rows[path] = id.Identifier, id.UUID
		if fits {
			f[path], settled[path] = wanted, true
		}
		if id.Location.UUID != "" {
			rows["location of "+path] = id.Location.UUID
		}
	}
	empty(f, wants, "identifiers/")
}

// asked gives the first text that the wants name at a path.
func asked(path string, wants []record.Fields) (string, bool) {
	for _, w := range wants {
		if v, ok := w[path].(string); ok && v != "" {
			return v, true
		}
	}
	return "", false
}

// empty says of every field below prefix that is asked about and not there that
// it is empty.
func empty(f record.Fields, wants []record.Fields, prefix string) {
	for _, w := range wants {
		for path := range w {
			if _, there := f[path]; !there && strings.HasPrefix(path, prefix) {
				f[path] = ""
			}
		}
	}
}

// unreadable marks what is asked about but was left out of the answer: OpenMRS
// leaves out silently what the user may not read.
func unreadable(f record.Fields, wants []record.Fields, prefixes ...string) {
	for _, w := range wants {
		for path := range w {
			for _, p := range prefixes {
				if strings.HasPrefix(path, p) {
					f[path] = record.Unreadable{}
				}
			}
		}
	}
}

// deathDate is a day where a day is asked about, else a moment.
func (s *System) deathDate(text string, wants []record.Fields) string {
	if text == "" {
		return ""
	}
	if wanted, ok := asked("deathDate", wants); ok && len(wanted) == len(time.DateOnly) {
		return dayFromWire(text)
	}
	m, _ := fromWire(text, s.zone)
	return m
}

// attributeValue is the uuid of a concept or location, else text.
func attributeValue(v any) string {
	if m, ok := v.(map[string]any); ok {
		id, _ := m["uuid"].(string)
		return id
	}
	return fieldText(v)
}

func deref(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}
