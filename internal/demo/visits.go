package demo

import (
	"fmt"
	"strings"
	"time"

	ccsim "github.com/kiungo-health/kiungo/connectors/commcare/sim"
	"github.com/kiungo-health/kiungo/internal/connector"
)

const (
	facilities = 4    // the first half belongs to the north server, the rest to the south
	people     = 60   // whom the field knows
	listed     = 12   // whom at first only the clinics know
	strangers  = 4000 // whom the clinics may come to know
)

var servers = []string{"openmrs-north", "openmrs-south"}

// visits is a world of CommCare and two OpenMRS servers: workers register and
// visit people, and the clinics see them, too.
type visits struct {
	id       string
	gen      *ccsim.Generator // whom the field knows, and all forms
	others   *ccsim.Generator // whom the clinics know
	exported bool             // the people of the field were in OpenMRS first
	clinics  []*clinic
	places   []string
	workers  map[string]string // worker → place
	known    []*being          // exported people, and those whom the field registered
	byCase   map[string]*being
	asked    int // how often the list was asked for
	referred []*being
	local    *being // whom no OpenMRS has brought
	met      int    // strangers so far
}

// being is a person of a world, as her author knows her.
type being struct {
	truth, caseID, patient                               string
	given, family, sex, born, phone, number, village, by string
	server                                               int
	form                                                 []byte // her registration
}

func visitsBothWays(id, folder string) func(seed uint64) *World {
	return func(seed uint64) *World {
		v := &visits{id: id, exported: id != "i05", byCase: map[string]*being{}}
		v.gen = ccsim.NewGenerator(seed, people, facilities)
		v.others = ccsim.NewGenerator(seed+7, strangers, facilities)
		return &World{ID: id, Folder: folder, story: v, zone: "Africa/Nairobi", region: "KE"}
	}
}

func (v *visits) turns(messages int) int { return messages }

func (v *visits) xmlns(what string) string {
	return "http://openrosa.org/formdesigner/demo/" + v.id + "/" + what
}

func (v *visits) forwarded() []ccsim.Repeater {
	var out []ccsim.Repeater
	for _, what := range []string{"visit", "details", "referral", "outcome"} {
		if what == "details" || what == "visit" || v.id == "i01" {
			out = append(out, ccsim.Repeater{Format: ccsim.FormJSON, XMLNS: v.xmlns(what)})
		}
	}
	if v.id == "i05" { // a case that changes by any way
		out = append(out, ccsim.Repeater{Format: ccsim.CaseJSON, CaseType: "patient"})
	}
	return out
}

func (v *visits) prepare(w *World, reg connector.Registry) error {
	// What happens in the field takes minutes; the last form ends about now.
	v.gen.From(time.Now().Add(-90 * time.Minute))
	v.gen.Gap = 15 * time.Second
	cc, err := ccsim.New([]byte(`{"hour":"1s"}`))
	if err != nil {
		return err
	}
	if err := cc.Seed(v.gen.Seed()); err != nil {
		return err
	}
	w.commcare = cc
	v.readPlaces()
	w.systems = append(w.systems, &system{name: "commcare", connector: "commcare", sim: cc,
		options: map[string]string{"sweep_every": "1m", "sweep_from": time.Now().UTC().Format(time.RFC3339), "cache_for": "1m"}})
	for i, name := range servers {
		module := "openmrs"
		if v.id == "i05" && i == 1 {
			module = "bahmni" // which announces less: the sweep finds the rest
		}
		sim, err := reg["openmrs"].Simulate(fmt.Appendf(nil, `{"feed":%q,"feedPage":25}`, module))
		if err != nil {
			return err
		}
		if err := sim.Seed(dictionary); err != nil {
			return err
		}
		s := &system{name: name, connector: "openmrs", sim: sim, options: map[string]string{}}
		for n, p := range v.places {
			if n*len(servers)/facilities == i {
				s.places = append(s.places, p)
			}
		}
		switch v.id {
		case "i01":
			s.options["feeds"], s.options["feed_every"] = "patient,encounter,observation", "1s"
		case "i05":
			s.options["feeds"], s.options["feed_every"] = "patient,encounter", "1s"
			s.options["sweep"], s.options["sweep_every"], s.options["sweep_pause"] = "patient,encounter", "5s", "1s"
		}
		w.systems = append(w.systems, s)
		v.clinics = append(v.clinics, newClinic(w, v, s, i))
	}
	if v.id == "i04" {
		sim, err := reg["openmrs"].Simulate(nil)
		if err != nil {
			return err
		}
		w.systems = append(w.systems, &system{name: "openmrs-east", connector: "openmrs", sim: sim, off: true})
	}
	v.siteValues(w)
	if v.exported {
		if err := v.export(w); err != nil {
			return err
		}
	}
	return v.patientsOfTheClinics(w)
}

// siteValues are what a site of this integration writes down.
func (v *visits) siteValues(w *World) {
	w.values = map[string]any{"visitForm": v.xmlns("visit"), "caseType": "patient"}
	switch v.id {
	case "i01":
		w.values["detailsForm"], w.values["followUpReport"], w.values["formWorker"] = v.xmlns("details"), listReport, v.anyWorker()
		w.values["referralForm"], w.values["referralOutcomeForm"] = v.xmlns("referral"), v.xmlns("outcome")
		areas := "village,owner\n"
		for _, name := range villages[1:] { // of one village nobody has said whose area it is
			areas += strings.ToLower(name) + "," + v.places[0] + "\n"
		}
		w.tables["areas"] = areas
	case "i04":
		w.values["detailsForm"], w.values["participantsReport"] = v.xmlns("details"), listReport
	case "i05":
		w.values["registrationForm"] = v.xmlns("details")
		// Shipped is near: create; here a clerk is asked, and conflicts are, too.
		w.values["near"], w.values["wins"] = "ask", "ask"
	}
	supervisors := "place,owner\n"
	for _, p := range v.places {
		supervisors += p + "," + p + "\n"
	}
	w.tables["supervisors"] = supervisors
}
