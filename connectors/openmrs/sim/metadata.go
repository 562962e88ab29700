package sim

import (
	"bytes"
	"embed"
	"encoding/csv"
	"fmt"
	"strconv"
)

// The metadata of every OpenMRS (core), of the reference application, and a
// sample of concepts with CIEL's numbers: contracts/openmrs/metadata.
//
//go:embed data/*.csv
var files embed.FS

func rowsOf(name string) ([]map[string]string, error) {
	b, err := files.ReadFile("data/" + name)
	if err != nil {
		return nil, err
	}
	all, err := csv.NewReader(bytes.NewReader(b)).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	var out []map[string]string
	for _, rec := range all[1:] {
		m := map[string]string{}
		for i, h := range all[0] {
			m[h] = rec[i]
		}
		out = append(out, m)
	}
	return out, nil
}

func (s *Server) base(resource, uuid string) base {
	s.seq++
	return base{kind: kinds[resource], uuid: uuid, seq: s.seq, creator: "admin", created: s.stored(s.now())}
}

func (s *Server) addMeta(resource, uuid string, vals map[string]any) *row {
	r := &row{base: s.base(resource, uuid), vals: vals}
	s.data.addMeta(r)
	return r
}

func (s *Server) loadMetadata() error {
	for _, name := range []string{"core-metadata.csv", "refapp-metadata.csv"} {
		rows, err := rowsOf(name)
		if err != nil {
			return err
		}
		for _, m := range rows {
			if kinds[m["resource"]] != nil {
				s.addMeta(m["resource"], m["uuid"], metaVals(m))
			}
		}
	}
	openmrsID := s.data.meta("patientidentifiertype", "05a29f94-c0ed-11e2-94be-8c13b969e334")
	openmrsID.vals["required"] = true
	s.addMeta("personattributetype", "14d4f066-15f5-102d-96e4-000c29c2a5d7", map[string]any{"name": "Telephone Number", "format": "java.lang.String"})
	s.addMeta("personattributetype", "b2c38640-2603-4629-aebd-3b54f33f1e3a", map[string]any{"name": "Telephone contact", "format": "java.lang.String"})
	s.addMeta("patientidentifiertype", "49af6cdc-7968-4abb-bf46-de10d7f4859f", map[string]any{"name": "National ID", "format": `\d{8}`, "required": false})
	s.addMeta("idgen/autogenerationoption", "b57bda1d-dbe5-436e-af0f-331be90fee4e", map[string]any{
		"identifierType": openmrsID, "source": s.data.meta("idgen/identifiersource", "691eed12-c0f1-11e2-94be-8c13b969e334"),
		"manualEntryEnabled": false, "automaticGenerationEnabled": true})
	return s.loadConcepts()
}

func metaVals(m map[string]string) map[string]any {
	vals := map[string]any{"name": m["name"]}
	switch m["resource"] {
	case "patientidentifiertype":
		vals["required"] = false
		if m["extra"] != "" {
			vals["validator"] = m["extra"]
		}
	case "personattributetype":
		vals["format"] = m["extra"]
	case "conceptdatatype":
		vals["hl7Abbreviation"] = m["extra"]
	case "provider":
		vals["identifier"], vals["display"] = m["extra"], m["extra"]+" - "+m["name"]
		vals["person"] = map[string]any{"uuid": "24252571-dd5a-11e6-9d9c-0242ac150002", "display": m["name"]}
	}
	return vals
}

func (s *Server) loadConcepts() error {
	rows, err := rowsOf("concepts-sample.csv")
	if err != nil {
		return err
	}
	rows = append(rows, map[string]string{"ciel": "163740", "uuid": "163740AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "name": "Sample boolean question", "datatype": "Boolean"},
		map[string]string{"ciel": "160752", "uuid": "160752AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "name": "Time of event", "datatype": "Time"})
	for _, m := range rows {
		c := conceptSeed{UUID: m["uuid"], Name: m["name"], Datatype: m["datatype"], Units: m["units"], Mappings: []string{"CIEL:" + m["ciel"]}}
		c.Low, c.High = floatOf(m["low_absolute"]), floatOf(m["hi_absolute"])
		if v, err := strconv.ParseBool(m["allow_decimal"]); err == nil {
			c.AllowDecimal = &v
		}
		if err := s.addConcept(c); err != nil {
			return err
		}
	}
	return nil
}

func floatOf(t string) *float64 {
	if v, err := strconv.ParseFloat(t, 64); err == nil {
		return &v
	}
	return nil
}

// conceptSeed is a concept in a seed document.
type conceptSeed struct {
	UUID         string   `json:"uuid"`
	Name         string   `json:"name"`
	Datatype     string   `json:"datatype"`
	Units        string   `json:"units"`
	Low          *float64 `json:"lowAbsolute"`
	High         *float64 `json:"hiAbsolute"`
	AllowDecimal *bool    `json:"allowDecimal"`
	Answers      []string `json:"answers"`
	Mappings     []string `json:"mappings"`
	Retired      bool     `json:"retired"`
}

func (s *Server) addConcept(c conceptSeed) error {
	set := c.Datatype == "N/A (set)"
	if set || c.Datatype == "" {
		c.Datatype = "N/A"
	}
	dt := s.data.named("conceptdatatype", c.Datatype)
	if dt == nil {
		return fmt.Errorf("seed concept %s: unknown datatype %q", c.UUID, c.Datatype)
	}
	vals := map[string]any{"name": c.Name, "datatype": dt, "set": set, "names": []thing{}, "descriptions": []thing{}, "setMembers": []thing{},
		"attributes": []thing{}, "conceptClass": orNull(s.data.named("conceptclass", "Misc"))}
	if c.Datatype == "Numeric" {
		vals["units"], vals["lowAbsolute"], vals["hiAbsolute"], vals["allowDecimal"] = emptyNull(c.Units), c.Low, c.High, true
		if c.AllowDecimal != nil {
			vals["allowDecimal"] = *c.AllowDecimal
		}
	}
	answers := []thing{}
	for _, a := range c.Answers {
		answer := s.data.concept(a)
		if answer == nil {
			return fmt.Errorf("seed concept %s: unknown answer %q", c.UUID, a)
		}
		answers = append(answers, answer)
	}
	vals["answers"] = answers
	r := s.addMeta("concept", c.UUID, vals)
	r.voided = c.Retired
	maps := []thing{}
	for i, code := range c.Mappings {
		maps = append(maps, &row{base: base{kind: kinds["conceptmapping"], uuid: fmt.Sprintf("%.30s-map%d", c.UUID, i)}, vals: map[string]any{"name": code}})
		if !c.Retired {
			s.data.mappings[code] = append(s.data.mappings[code], r)
		}
	}
	vals["mappings"] = maps
	return nil
}
