package sim

import (
	"fmt"
	"github.com/kiungo-health/kiungo/connectors/openmrs/checkdigit"
	"regexp"
	"strings"
)

func (s *Server) makeIdentifier(req *request, m map[string]any, p *patient) *row {
	r := &row{base: s.newBase("patient/identifier", req, plain(m["uuid"]), p), vals: map[string]any{"preferred": false}}
	s.setIdentifier(r, m)
	return r
}

func (s *Server) setIdentifier(r *row, m map[string]any) {
	if v, ok := m["identifier"]; ok {
		r.vals["identifier"] = plain(v)
	}
	if v, ok := m["identifierType"]; ok {
		r.vals["identifierType"] = nil
		if t := s.data.named("patientidentifiertype", refOf(v)); t != nil {
			r.vals["identifierType"] = t
		}
	}
	if v, ok := m["location"]; ok {
		r.vals["location"] = nil
		if l := s.data.named("location", refOf(v)); l != nil {
			r.vals["location"] = l
		}
	}
	if v, ok := m["preferred"]; ok {
		r.vals["preferred"] = isTrue(v)
	}
}

// formatOf compiles a type's format once. It is under the server's lock: only
// changes get here.
func (s *Server) formatOf(format string) *regexp.Regexp {
	if re, ok := s.formats[format]; ok {
		return re
	}
	re, _ := regexp.Compile("^(?:" + format + ")$")
	s.formats[format] = re
	return re
}

func (s *Server) checkIdentifier(r *row, p *patient) *failure {
	t, value := r.ref("identifierType"), r.text("identifier")
	if t == nil {
		return invalid(map[string][2]string{"identifierType": {"PatientIdentifier.error.nullIdentifierType", "Identifier type is required"}})
	}
	if value == "" {
		return globally("Identifier cannot be null or blank")
	}
	if format := t.text("format"); format != "" {
		if re := s.formatOf(format); re != nil && !re.MatchString(value) {
			return globally(fmt.Sprintf("Identifier %q does not match : \"%s\"", value, format))
		}
	}
	if checkdigit.Valid(t.text("validator"), value) == checkdigit.Bad {
		return globally("Invalid check digit for identifier: " + value)
	}
	if r.ref("location") == nil && t.text("locationBehavior") != "NOT_USED" {
		return globally("Identifier Location cannot be null for " + value)
	}
	if t.text("uniquenessBehavior") == "NON_UNIQUE" {
		return nil
	}
	for _, other := range s.data.ids[idKey(t.uuid, value)] {
		if other == r || other.voided || !strings.EqualFold(other.text("identifier"), value) || other.ref("identifierType") != t {
			continue
		}
		if t.text("uniquenessBehavior") == "LOCATION" && other.ref("location") != r.ref("location") {
			continue
		}
		if other.parent == thing(p) {
			return globally("Identifier " + value + " already in use by this patient")
		}
		return globally("Identifier " + value + " already in use by another patient")
	}
	return nil
}

func (s *Server) rememberID(r *row) {
	k := idKey(r.ref("identifierType").uuid, r.text("identifier"))
	s.data.ids[k] = append(s.data.ids[k], r)
}
