package sim

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// mergeForm is where a person merges patients: the form of the legacy user
// interface. No REST resource does (module 2.24 to 4.0). The true form takes
// internal numbers; this one takes uuids, as JSON: {"preferred": "...",
// "notPreferred": ["..."]}.
const mergeForm = "/admin/patients/mergePatients.form"

type mergeSeed struct {
	Preferred    string   `json:"preferred"`
	NotPreferred []string `json:"notPreferred"`
}

// serveMerge answers the form: a redirect, or a page that says what is wrong.
func (s *Server) serveMerge(w http.ResponseWriter, r *http.Request) {
	user, ok := s.authenticate(w, r)
	if !ok {
		return
	}
	var in mergeSeed
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); user == "" || r.Method != http.MethodPost || err != nil {
		page(w, http.StatusBadRequest, "Bad Request")
		return
	}
	if err := s.merge(in, user); err != nil {
		page(w, http.StatusBadRequest, err.Error())
		return
	}
	http.Redirect(w, r, strings.TrimSuffix(r.URL.Path, "mergePatients.form")+"index.htm", http.StatusFound)
}

// merge is PatientServiceImpl.mergePatients, for each loser in turn.
func (s *Server) merge(in mergeSeed, user string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.actor = user
	winner := s.data.patients[in.Preferred]
	if winner == nil || len(in.NotPreferred) == 0 {
		return fmt.Errorf("merge: no such patient, or nobody to merge")
	}
	for _, id := range in.NotPreferred {
		loser := s.data.patients[id]
		if loser == nil || loser == winner {
			return fmt.Errorf("merge: no such patient, or the same")
		}
		s.mergeOne(winner, loser)
	}
	return nil
}

func (s *Server) mergeOne(winner, loser *patient) {
	s.moveRecords(winner, loser)
	for _, r := range loser.identifiers {
		same := func(x *row) bool { // one that was voided counts too, and is not brought back
			return x.text("identifier") == r.text("identifier") && x.ref("identifierType") == r.ref("identifierType")
		}
		if !r.voided && !slices.ContainsFunc(winner.identifiers, same) {
			x := s.copied(r, winner)
			winner.identifiers = append(winner.identifiers, x)
			s.rememberID(x)
		}
	}
	s.mergePerson(winner.person, loser.person)
	s.seq++
	// The reason names the winner by an internal number that REST does not show.
	s.void(loser, s.actor, "Merged with patient #"+strconv.Itoa(winner.seq), s.seq)
	s.touch(loser)
	s.touch(winner)
	s.data.index(loser)
	s.data.index(winner)
	s.AnnouncePatient(winner.uuid) // savePatient is called for the winner only
	if s.feed.module == feedOpenMRS {
		s.announceRow(loser, "VOIDED")
	}
}

// moveRecords gives the winner the visits and encounters of the loser, with
// their uuids, and the observations, each voided and made anew: to set another
// person makes them dirty (EncounterServiceImpl.saveEncounter, Obs.setPerson).
func (s *Server) moveRecords(winner, loser *patient) {
	from, to := s.data.below(loser), s.data.below(winner)
	for _, v := range from.visits {
		v.patient = winner
	}
	for _, e := range from.encounters {
		e.patient = winner
		for _, o := range slices.Clone(e.obs) {
			s.reassign(o, winner.person)
		}
	}
	to.visits, to.encounters = append(to.visits, from.visits...), append(to.encounters, from.encounters...)
	*from = belongings{}
	for _, o := range slices.Clone(s.data.byPerson[loser.person]) {
		if o.encounter == nil && o.group == nil && !o.voided {
			s.reassign(o, winner.person)
		}
	}
}

func (s *Server) reassign(o *obs, who *person) {
	if o.voided {
		return
	}
	next := *o
	next.base = s.newBase("obs", &request{user: s.actor}, "", nil)
	next.status, next.person, next.members = "AMENDED", who, nil
	s.keep([]*obs{&next})
	switch {
	case next.group != nil:
		next.group.members = append(next.group.members, &next)
	case next.encounter != nil:
		next.encounter.obs = append(next.encounter.obs, &next)
	}
	members := slices.Clone(o.members)
	o.members = nil
	s.seq++
	s.void(o, s.actor, "", s.seq)
	for _, kid := range members {
		kid.group = &next
		s.reassign(kid, who)
	}
}

// copied is a row of the loser as the winner gets it: new, and not preferred.
func (s *Server) copied(r *row, parent thing) *row {
	x := &row{base: s.newBase(r.kind.resource, &request{user: s.actor}, "", parent), vals: maps.Clone(r.vals)}
	if _, has := x.vals["preferred"]; has {
		x.vals["preferred"] = false
	}
	return x
}

// mergePerson copies names and addresses that the winner lacks. Attributes of the
// loser take the place of the winner's of the same type (Person.addAttribute).
func (s *Server) mergePerson(to, from *person) {
	for _, list := range []struct {
		from []*row
		to   *[]*row
	}{{from.names, &to.names}, {from.addresses, &to.addresses}} {
		for _, r := range list.from {
			if !r.voided && !slices.ContainsFunc(*list.to, func(x *row) bool { return sameContent(x, r) }) {
				*list.to = append(*list.to, s.copied(r, to))
			}
		}
	}
	for _, r := range from.attributes {
		if !r.voided {
			s.addAttribute(to, s.copied(r, to))
		}
	}
	if to.gender != "M" && to.gender != "F" {
		to.gender = from.gender
	}
	if to.birthdate.IsZero() || to.estimated && !from.estimated {
		to.birthdate, to.estimated = from.birthdate, from.estimated
	}
	if to.deathDate.IsZero() {
		to.deathDate = from.deathDate
	}
	if to.cause == nil {
		to.cause = from.cause
	}
}

func sameContent(a, b *row) bool {
	for _, keys := range [][]string{nameKeys, addressKeys} {
		for _, k := range keys {
			if k != "preferred" && a.text(k) != b.text(k) {
				return false
			}
		}
	}
	return true
}
