package openmrs

import (
	"cmp"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
)

// target is what an entry is about.
type target struct {
	kind     string
	resource string // as the link names it: "patient", "bahmniencounter"
	uuid     string // of the thing
	link     string
	part     bool // a name, an identifier … of the person whose uuid it is
}

// targetOf reads the link that is an entry's content. There are three dialects,
// told per entry: Bahmni's module gives an address with a fixed context
// (/openmrs/ws/rest/v1/patient/UUID?v=full), openmrs-module-atomfeed a JSON map
// of addresses without one ({"rest":…,"fhir":…}), others a whole URL.
func targetOf(content string) (target, string) {
	content = strings.TrimSpace(content)
	switch {
	case content == "":
		return target{}, "the entry has no content that names a record"
	case content[0] == '{':
		var links map[string]any
		if json.Unmarshal([]byte(content), &links) != nil {
			return target{}, "the links of the entry cannot be read"
		}
		for _, name := range append([]string{"rest", "fhir"}, keysOf(links)...) {
			if link, _ := links[name].(string); link != "" {
				return linkTarget(link)
			}
		}
		return target{}, "the entry has no link"
	}
	return linkTarget(content)
}

// owners are resources whose name stands before the uuid that counts, with the
// kind of message they make. A part (a name, an identifier) is about its owner.
var owners = map[string]string{
	"patient": kindPatient, "person": kindPatient, "Patient": kindPatient, "Person": kindPatient,
	"encounter": kindEncounter, "bahmniencounter": kindEncounter, "Encounter": kindEncounter,
	"obs": kindObservation, "observation": kindObservation, "Observation": kindObservation,
}

// others are resources that feeds are known to carry and that are none of the
// above (defaultAtomfeedConfig.json; bedmanagement and other advices of Bahmni).
var others = []string{"visit", "programenrollment", "relationship", "bedPatientAssignment", "location", "concept", "conceptset", "cohort", "visittype", "provider",
	"user", "drug", "allergy", "form", "order", "drug_order", "test_order", "program", "privilege", "appointment", "condition", "labconcepts", "lab"}

func linkTarget(link string) (target, string) {
	u, err := url.Parse(link)
	if err != nil || !strings.Contains(u.Path, "/ws/") {
		return target{}, "the link of the entry is not an address of OpenMRS"
	}
	t := target{kind: kindOther, link: short(link, 300)}
	_, path, _ := strings.Cut(u.Path, "/ws/")
	parts := strings.Split(strings.Trim(path, "/"), "/")
	for i := 0; i+1 < len(parts); i++ {
		if kind := owners[parts[i]]; kind != "" {
			if t.resource, t.uuid = parts[i], parts[i+1]; !looksLikeUUID(t.uuid) {
				return target{}, "the link of the entry has no uuid"
			}
			// A FHIR Encounter may be a visit; only its read will tell.
			t.kind, t.part = kind, i+2 < len(parts)
			return t, ""
		}
	}
	if n := len(parts); n >= 2 && looksLikeUUID(parts[n-1]) {
		t.resource, t.uuid = parts[n-2], parts[n-1]
		if slices.Contains(others, t.resource) {
			return t, ""
		}
	}
	return t, "the entry is about something that is not known here; its link names no patient, encounter or observation"
}

var feedActions = []string{"CREATED", "UPDATED", "RETIRED", "UNRETIRED", "VOIDED", "UNVOIDED", "DELETED"}

// action is the category term that says what was done, if one does: terms come
// in no order (EventFeedServiceImpl puts them into a set).
func (e *atomEntry) action() string {
	for _, c := range e.categories {
		if slices.Contains(feedActions, c) {
			return c
		}
	}
	return ""
}

func (e *atomEntry) category() string {
	for _, c := range e.categories {
		if !slices.Contains(feedActions, c) {
			return c
		}
	}
	return ""
}

// found is what a read said about the thing of an entry.
type found struct {
	subject   string    // uuid of the person
	encounter string    // of an observation
	without   bool      // that encounter was voided
	at        time.Time // when it happened at the clinic; zero if that is not known
	voided    bool
	merged    bool   // into another patient; voided then, too
	gone      bool   // it is not in OpenMRS any more
	problem   string // it cannot be used
	trouble   bool   // OpenMRS failed on this one
}

// message makes an entry's message. It never fails.
func (s *System) entryMessage(stream feedStream, e *atomEntry, page int, t target, why string, f found) connector.Incoming {
	m := connector.Incoming{Kind: t.kind, Doc: t.kind + "/" + t.uuid, Version: e.id, Event: e.updated, Problem: cmp.Or(e.problem, why)}
	if t.kind == "" {
		m.Kind = stream.kind()
	}
	if t.uuid == "" {
		m.Doc = "entry/" + e.id
	}
	if m.Problem == "" {
		m.Problem = f.problem
	}
	entry := map[string]any{"id": e.id, "title": e.title, "category": e.category(), "action": e.action(), "feed": stream.name, "page": strconv.Itoa(page),
		"resource": t.resource, "uuid": t.uuid, "link": t.link, "encounter": f.encounter}
	if !e.updated.IsZero() {
		entry["updated"] = e.updated.Format(time.RFC3339)
	}
	if t.kind == kindEncounter && !f.at.IsZero() {
		// What was typed in late is not newer than what was seen since (law 13).
		m.Event = f.at
	}
	content := map[string]any{"entry": entry, "server": s.name}
	if t.kind == kindPatient && t.uuid != "" {
		f.subject = t.uuid
	}
	if f.subject != "" {
		content["subject"] = map[string]any{"id": f.subject, "uuid": f.subject}
	}
	m.Content = encode(content)
	switch {
	case m.Problem != "":
	case f.merged: // not withdrawn: it is for the flow to follow her
	case f.voided, f.gone && e.action() == "DELETED":
		m.Withdrawn = true
	case f.gone:
		m.Problem = "the " + t.kind + " that the feed announces is not in OpenMRS"
	}
	return m
}
