package sim

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/kiungo-health/kiungo/connectors/commcare/xform"
)

// The two forms that a Generator fills in, by the xmlns of
// contracts/commcare/forms.
const (
	RegistrationXMLNS = "http://openrosa.org/formdesigner/0F961E26-3BE6-4D39-9FF1-E41D405346DD"
	VisitXMLNS        = "http://openrosa.org/formdesigner/C6BA187D-FEF6-4BE9-98B6-BC3BA5406F12"
)

// appID is the app that both forms belong to.
const appID = "9393007a6921eecd4a9f20eefb7b97f4"

// Generator makes an endless stream of forms: people are registered, then
// visited, by the workers of a number of facilities. One seed gives one stream.
// It is not safe for use by several goroutines.
type Generator struct {
	// Gap is the mean time between two forms; change it before the first Next.
	Gap time.Duration

	rng        *rand.Rand
	now        time.Time
	people     []*person
	registered []int
	facilities []facility
	seed       uint64
}

// Submission is a generated form.
type Submission struct {
	ID    string // instanceID
	XMLNS string
	Case  string
	At    time.Time // meta.timeEnd
	// Body is the form as JSON, {"form": …, "app_id": …}, for Sim.Submit.
	Body []byte
}

type facility struct {
	id, name string
	workers  []worker
}

type worker struct{ id, username, first, last string }

type person struct {
	caseID, given, family, sex, village, phone, nationalID string
	born                                                   time.Time
	facility, visits                                       int
	weight                                                 float64
}

var (
	femaleNames = []string{"Achieng", "Amina", "Beatrice", "Chantal", "Esperance", "Faith", "Grace", "Halima", "Jane", "Mercy", "Neema", "Rehema", "Wanjiru", "Zawadi"}
	maleNames   = []string{"Abdul", "Baraka", "Daniel", "Emmanuel", "Hamisi", "Ibrahim", "John", "Juma", "Kamau", "Moses", "Otieno", "Patrick", "Samuel", "Yusuf"}
	familyNames = []string{"Abdi", "Chebet", "Kariuki", "Kimani", "Mbeki", "Moyo", "Mutua", "Mwangi", "Ndlovu", "Njoroge", "Nyambura", "Odhiambo", "Okello", "Uwimana", "Wekesa"}
	villages    = []string{"Kabondo", "Kiptere", "Lower Hill", "Mabanga", "Mawego", "Nyalenda", "Riverside", "Sirisia", "Umoja"}
	dangerSigns = []string{"fever", "convulsions", "cough", "diarrhoea", "vomiting", "rash"}
	medicines   = []string{"paracetamol", "artemether_lumefantrine", "ors", "zinc", "amoxicillin"}
)

// NewGenerator makes a generator for a number of people, who belong to a number
// of facilities. The first form is dated 5 January 2026, 06:00 UTC.
func NewGenerator(seed uint64, people, facilities int) *Generator {
	g := &Generator{Gap: 90 * time.Second, rng: rand.New(rand.NewPCG(seed, 0x6b69756e676f)), seed: seed,
		now: time.Date(2026, 1, 5, 6, 0, 0, 0, time.UTC)}
	for i := range max(facilities, 1) {
		f := facility{id: g.id("facility", i), name: fmt.Sprintf("%s Health Centre %d", villages[i%len(villages)], i+1)}
		for w := range 3 {
			f.workers = append(f.workers, worker{id: g.id("worker", i*3+w), username: fmt.Sprintf("chw%d.%d", i+1, w+1),
				first: pick(g.rng, femaleNames), last: pick(g.rng, familyNames)})
		}
		g.facilities = append(g.facilities, f)
	}
	for i := range max(people, 1) {
		g.people = append(g.people, g.person(i))
	}
	return g
}

// From sets the time of the first form.
func (g *Generator) From(t time.Time) *Generator {
	g.now = t.UTC()
	return g
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// id is a fixed uuid for the i-th thing of a kind in this seed.
func (g *Generator) id(kind string, i int) string {
	return uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "generator/%d/%s/%d", g.seed, kind, i)).String()
}

func (g *Generator) person(i int) *person {
	p := &person{caseID: g.id("person", i), family: pick(g.rng, familyNames), village: pick(g.rng, villages), sex: "f",
		phone: fmt.Sprintf("+2547%08d", g.rng.IntN(100_000_000)), nationalID: strconv.Itoa(10_000_000 + i),
		facility: i % len(g.facilities), weight: 3 + g.rng.Float64()*70,
		born: g.now.AddDate(0, 0, -g.rng.IntN(60*365)).Truncate(24 * time.Hour)}
	if g.rng.IntN(2) == 0 {
		p.sex = "m"
	}
	p.given = pick(g.rng, femaleNames)
	if p.sex == "m" {
		p.given = pick(g.rng, maleNames)
	}
	return p
}

// Seed is the document for Sim.Seed with the users and locations that the
// forms refer to: a country, a county for ten facilities, and the facilities.
func (g *Generator) Seed() []byte {
	var locations, users []any
	location := func(id, parent, kind, name string, data map[string]any) {
		doc := map[string]any{"domain": "demo", "location_id": id, "name": name, "site_code": strings.ReplaceAll(strings.ToLower(name), " ", "_"),
			"location_type_code": kind, "location_type_name": strings.ToUpper(kind[:1]) + kind[1:], "location_data": data,
			"parent_location_id": nil, "latitude": nil, "longitude": nil, "last_modified": "2026-01-01T00:00:00.000000"}
		if parent != "" {
			doc["parent_location_id"] = parent
		}
		locations = append(locations, doc)
	}
	country := g.id("country", 0)
	location(country, "", "country", "Country", map[string]any{})
	for i, f := range g.facilities {
		county := g.id("county", i/10)
		if i%10 == 0 {
			location(county, country, "county", fmt.Sprintf("County %d", i/10+1), map[string]any{})
		}
		location(f.id, county, "facility", f.name, map[string]any{"openmrs_uuid": g.id("openmrs", i), "facility_code": fmt.Sprintf("%05d", 10000+i)})
		for _, w := range f.workers {
			users = append(users, map[string]any{"id": w.id, "username": w.username + "@demo.commcarehq.org", "first_name": w.first, "last_name": w.last,
				"default_phone_number": nil, "email": "", "groups": []any{}, "phone_numbers": []any{}, "primary_location": f.id, "locations": []any{f.id},
				"user_data": map[string]any{"commcare_project": "demo", "commcare_location_id": f.id, "commcare_location_ids": f.id}})
		}
	}
	return encode(map[string]any{"users": users, "locations": locations})
}

// Next gives the next form. At first most are registrations; later all are
// visits.
func (g *Generator) Next() Submission {
	g.now = g.now.Add(time.Duration(float64(g.Gap) * (0.5 + g.rng.Float64())))
	if left := len(g.people) - len(g.registered); left > 0 && (len(g.registered) == 0 || g.rng.IntN(3) > 0) {
		i := len(g.registered)
		g.registered = append(g.registered, i)
		return g.registration(g.people[i])
	}
	return g.visit(g.people[g.registered[g.rng.IntN(len(g.registered))]])
}

func (g *Generator) registration(p *person) Submission {
	w := pick(g.rng, g.facilities[p.facility].workers)
	form := map[string]any{"@xmlns": RegistrationXMLNS, "@name": "Register", "@version": "11",
		"given_name": p.given, "family_name": p.family, "sex": p.sex, "birthdate": p.born.Format(time.DateOnly), "phone": p.phone,
		"national_id": p.nationalID, "village": p.village, "consent": map[string]any{"agreed": "yes"}}
	update := map[string]any{"first_name": p.given, "last_name": p.family, "sex": p.sex, "dob": p.born.Format(time.DateOnly),
		"phone": p.phone, "national_id": p.nationalID, "village": p.village}
	create := map[string]any{"case_name": p.given + " " + p.family, "case_type": "patient", "owner_id": w.id}
	return g.submission(form, p, w, create, update)
}

func (g *Generator) visit(p *person) Submission {
	w := pick(g.rng, g.facilities[p.facility].workers)
	p.visits++
	p.weight = max(2, p.weight+g.rng.NormFloat64()*0.8)
	temperature := 36.2 + g.rng.Float64()*3.2
	signs, fever := []string{}, "no"
	if temperature >= 37.5 {
		signs, fever = append(signs, "fever"), "yes"
	}
	for _, s := range dangerSigns[1:] {
		if g.rng.IntN(8) == 0 {
			signs = append(signs, s)
		}
	}
	given := []any{}
	for _, i := range g.rng.Perm(len(medicines))[:g.rng.IntN(3)] {
		given = append(given, map[string]any{"name": medicines[i], "quantity": strconv.Itoa(1 + g.rng.IntN(20))})
	}
	test := ""
	if fever == "yes" {
		test = pick(g.rng, []string{"positive", "negative", "not_done"})
	}
	next := g.now.AddDate(0, 0, 28).Format(time.DateOnly)
	form := map[string]any{"@xmlns": VisitXMLNS, "@name": "Followup", "@version": "22",
		"vitals": map[string]any{"weight": decimal(p.weight), "temperature": decimal(temperature), "height": ""},
		"fever":  fever, "malaria_test": test, "danger_signs": strings.Join(signs, " "), "next_visit": next, "notes": ""}
	switch len(given) {
	case 0:
	case 1:
		form["medicines"] = given[0]
	default:
		form["medicines"] = given
	}
	update := map[string]any{"last_weight": decimal(p.weight), "visits": strconv.Itoa(p.visits), "next_visit": next}
	return g.submission(form, p, w, nil, update)
}

func decimal(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }

func (g *Generator) submission(form map[string]any, p *person, w worker, create, update map[string]any) Submission {
	var raw [16]byte
	for i := range raw {
		raw[i] = byte(g.rng.UintN(256))
	}
	raw[6], raw[8] = raw[6]&0x0f|0x40, raw[8]&0x3f|0x80 // a random uuid's marks
	id := uuid.UUID(raw).String()
	at := g.now.Truncate(time.Millisecond)
	block := map[string]any{"@case_id": p.caseID, "@date_modified": at.Format(iso), "@user_id": w.id, "@xmlns": xform.CaseV2, "update": update}
	if create != nil {
		block["create"] = create
	}
	form["#type"], form["@uiVersion"], form["case"] = "data", "1", block
	form["meta"] = map[string]any{"@xmlns": "http://openrosa.org/jr/xforms", "appVersion": "Formplayer Version: 2.53", "deviceID": "device-" + w.username,
		"instanceID": id, "timeStart": at.Add(-time.Duration(60+g.rng.IntN(600)) * time.Second).Format(iso), "timeEnd": at.Format(iso),
		"userID": w.id, "username": w.username}
	return Submission{ID: id, XMLNS: xform.Text(form["@xmlns"]), Case: p.caseID, At: at,
		Body: encode(map[string]any{"app_id": appID, "domain": "demo", "form": form, "id": id})}
}
