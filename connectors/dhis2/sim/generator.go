package sim

import "fmt"

// generate makes what load tests need on top of the national set-up: facilities
// GEN0001… that report on every data set and program, and event programs
// PRG01… of six data elements each.
func (s *Server) generate() {
	var units []string
	for n := 1; n <= s.opt.Facilities; n++ {
		id := fmt.Sprintf("GenOu%06d", n)
		units = append(units, id)
		s.meta.put("organisationUnits", record{"id": id, "code": fmt.Sprintf("GEN%04d", n), "name": fmt.Sprintf("Generated facility %d", n), "parent": ref(generatedUnder)})
	}
	s.meta.each("dataSets", func(_ string, r record) {
		r["organisationUnits"] = append(list(r, "organisationUnits"), refs(units...)...)
	})
	for n := 1; n <= s.opt.Programs; n++ {
		s.generateProgram(n)
	}
	var everywhere []any
	s.meta.each("organisationUnits", func(id string, r record) {
		if len(list(r, "children")) == 0 {
			everywhere = append(everywhere, ref(id))
		}
	})
	s.meta.each("programs", func(_ string, r record) { r["organisationUnits"] = everywhere })
}

// generatedUnder is the sub-county that generated facilities belong to.
const generatedUnder = "OuSubGem003"

// generatedTypes are the value types of a generated program's elements.
var generatedTypes = []string{"INTEGER_ZERO_OR_POSITIVE", "NUMBER", "BOOLEAN", "DATE", "TEXT", "TRUE_ONLY"}

func (s *Server) generateProgram(n int) {
	program, stage := fmt.Sprintf("GenPr%06d", n), fmt.Sprintf("GenSt%06d", n)
	var links []any
	for k, kind := range generatedTypes {
		id := fmt.Sprintf("GenDe%06d", n*10+k+1)
		r := record{"id": id, "code": fmt.Sprintf("PRG%02d_%d", n, k+1), "name": fmt.Sprintf("Generated %d indicator %d", n, k+1), "domainType": "TRACKER",
			"valueType": kind, "aggregationType": "NONE"}
		if kind == "TEXT" {
			r["optionSet"] = ref("OsOutcome01")
		}
		s.meta.put("dataElements", r)
		links = append(links, record{"dataElement": ref(id), "compulsory": false})
	}
	s.meta.put("programStages", record{"id": stage, "code": fmt.Sprintf("PRG%02d_STAGE", n), "name": "Visit", "program": ref(program), "programStageDataElements": links})
	s.meta.put("programs", record{"id": program, "code": fmt.Sprintf("PRG%02d", n), "name": fmt.Sprintf("Generated program %d", n), "programType": "WITHOUT_REGISTRATION",
		"programStages": refs(stage)})
}
