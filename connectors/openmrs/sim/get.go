package sim

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// get answers a read.
func (s *Server) get(req *request) (*result, *failure) {
	p := req.path
	switch {
	case p[0] == "session" && len(p) == 1:
		return s.sessionBody(req)
	case p[0] == "idgen":
		return s.getIdgen(req)
	case kinds[p[0]] == nil:
		return nil, unknownResource(strings.Join(p, "/"))
	case len(p) == 1:
		return s.search(req)
	case len(p) == 2:
		t, f := s.find(p[0], p[1])
		if f != nil {
			return nil, f
		}
		return s.one(req, t, http.StatusOK)
	}
	rows, f := s.subRows(p[0], p[1], p[2])
	if f != nil {
		return nil, f
	}
	if len(p) == 3 {
		return s.listRows(req, *rows)
	}
	if r := byUUID(*rows, p[3]); r != nil {
		return s.one(req, r, http.StatusOK)
	}
	return nil, notFound()
}

func (s *Server) getIdgen(req *request) (*result, *failure) {
	name := strings.Join(req.path[:min(2, len(req.path))], "/")
	if kinds[name] == nil {
		return nil, unknownResource(strings.Join(req.path, "/"))
	}
	if len(req.path) == 2 {
		return s.page(req, metaThings(s.data.order[name], req.URL.Query()), nil)
	}
	if r := s.data.meta(name, req.path[2]); r != nil {
		return s.one(req, r, http.StatusOK)
	}
	return nil, notFound()
}

// find gives one object by uuid; voided ones too.
func (s *Server) find(resource, id string) (thing, *failure) {
	var t thing
	switch resource {
	case "patient":
		if p := s.data.patients[id]; p != nil {
			t = p
		}
	case "person":
		if p := s.data.persons[id]; p != nil {
			t = p
		}
	case "visit":
		if v := s.data.visits[id]; v != nil {
			t = v
		}
	case "encounter":
		if e := s.data.encounters[id]; e != nil {
			t = e
		}
	case "obs":
		if o := s.data.obs[id]; o != nil {
			t = o
		}
	case "concept":
		if c := s.data.concept(id); c != nil {
			t = c
		} else if len(s.data.mappings[id]) > 1 {
			return nil, broken("Found multiple non retired concepts with mapping " + id)
		}
	case "location", "encountertype", "visittype", "patientidentifiertype":
		if r := s.data.named(resource, id); r != nil {
			t = r
		}
	default:
		if r := s.data.meta(resource, id); r != nil {
			t = r
		}
	}
	if t == nil {
		return nil, notFound()
	}
	return t, nil
}

// subRows gives the rows of a sub-resource.
func (s *Server) subRows(resource, id, sub string) (*[]*row, *failure) {
	if kinds[resource+"/"+sub] == nil {
		return nil, unknownResource(resource + "/" + sub)
	}
	t, f := s.find(resource, id)
	if f != nil {
		return nil, f
	}
	switch t := t.(type) {
	case *person:
		switch sub {
		case "name":
			return &t.names, nil
		case "address":
			return &t.addresses, nil
		case "attribute":
			return &t.attributes, nil
		}
	case *patient:
		if sub == "identifier" {
			return &t.identifiers, nil
		}
	case *encounter:
		if sub == "encounterprovider" {
			return &t.providers, nil
		}
	}
	return nil, unknownResource(resource + "/" + sub)
}

func byUUID(rows []*row, id string) *row {
	for _, r := range rows {
		if r.uuid == id {
			return r
		}
	}
	return nil
}

// special parameters are always allowed; the others must all be declared by one
// search handler, or the handler is not chosen and they are ignored.
var special = []string{"v", "t", "limit", "startIndex", "includeAll", "s", "totalCount"}

func declared(q url.Values, names ...string) bool {
	for k := range q {
		if !slices.Contains(special, k) && !slices.Contains(names, k) {
			return false
		}
	}
	return true
}

func (s *Server) search(req *request) (*result, *failure) {
	q := req.URL.Query()
	if id := q.Get("s"); id != "" && id != "default" && !(req.path[0] == "encounter" && id == "byObs") {
		return nil, &failure{status: 400, reason: "The search with the given parameters is not valid",
			text: "The search with id '" + id + "' for '" + req.path[0] + "' resource is not recognized", code: "org.openmrs.module.webservices.rest.web.api.impl.RestServiceImpl:549"}
	}
	switch req.path[0] {
	case "patient", "person":
		return s.searchPatients(req, q)
	case "visit":
		return s.searchVisits(req, q)
	case "encounter":
		return s.searchEncounters(req, q)
	case "obs":
		return s.searchObs(req, q)
	case "concept":
		return s.searchConcepts(req, q)
	case "provider":
		return s.searchProviders(req)
	}
	return s.page(req, metaThings(s.data.order[req.path[0]], q), beyondIsError)
}

func metaThings(rows []*row, q url.Values) []thing {
	out := []thing{}
	needle := strings.ToLower(q.Get("q"))
	for _, r := range rows {
		if r.voided && q.Get("includeAll") != "true" {
			continue
		}
		if needle != "" && !strings.HasPrefix(strings.ToLower(r.text("name")), needle) && !strings.HasPrefix(strings.ToLower(r.text("identifier")), needle) {
			continue
		}
		out = append(out, r)
	}
	return out
}

// manyPatients is how many patients are still searched by the beginnings of
// words; beyond, only whole words are looked up, so that load tests measure the client.
const manyPatients = 2000

func bySeq(list []thing) {
	slices.SortFunc(list, func(a, b thing) int { return cmp.Compare(a.about().seq, b.about().seq) })
}

func (s *Server) searchVisits(req *request, q url.Values) (*result, *failure) {
	all := declared(q, "patient", "location", "includeInactive", "fromStartDate", "toStartDate", "fromStopDate", "toStopDate", "visitType", "includeParentLocations")
	if !q.Has("patient") {
		return nil, unsupported()
	}
	p := s.data.patients[q.Get("patient")]
	if p == nil {
		return s.page(req, []thing{}, nil)
	}
	out := []thing{}
	for _, v := range s.data.below(p).visits {
		switch {
		case v.voided && q.Get("includeAll") != "true":
		case all && q.Get("includeInactive") == "false" && !v.stop.IsZero() && v.stop.Before(s.now()):
		case all && q.Has("location") && (v.location == nil || v.location != s.data.named("location", q.Get("location"))):
		case all && q.Has("visitType") && v.typ != s.data.named("visittype", q.Get("visitType")):
		case all && !s.within(v.start, q.Get("fromStartDate"), q.Get("toStartDate")):
		case all && !s.within(v.stop, q.Get("fromStopDate"), q.Get("toStopDate")):
		default:
			out = append(out, v)
		}
	}
	return s.page(req, out, beyondIsError)
}

func (s *Server) within(t time.Time, from, to string) bool {
	if from != "" {
		if f, err := s.parseDate(from); err == nil && (t.IsZero() || t.Before(f)) {
			return false
		}
	}
	if to != "" {
		if u, err := s.parseDate(to); err == nil && (t.IsZero() || t.After(u)) {
			return false
		}
	}
	return true
}

func (s *Server) searchEncounters(req *request, q url.Values) (*result, *failure) {
	all := declared(q, "patient", "visit", "encounterType", "fromdate", "todate", "order")
	if !q.Has("patient") {
		return nil, unsupported()
	}
	p := s.data.patients[q.Get("patient")]
	if p == nil {
		return s.page(req, []thing{}, nil)
	}
	out := []thing{}
	for _, e := range s.data.below(p).encounters {
		switch {
		case e.voided:
		case all && q.Has("encounterType") && e.typ != s.data.named("encountertype", q.Get("encounterType")):
		case all && q.Has("visit") && (e.visit == nil || e.visit.uuid != q.Get("visit")):
		case all && !s.within(e.at, q.Get("fromdate"), q.Get("todate")):
		default:
			out = append(out, e)
		}
	}
	slices.SortStableFunc(out, func(a, b thing) int { return a.(*encounter).at.Compare(b.(*encounter).at) })
	if q.Get("order") == "desc" {
		slices.Reverse(out)
	}
	return s.page(req, out, beyondIsError)
}

func (s *Server) searchObs(req *request, q url.Values) (*result, *failure) {
	all := declared(q, "patient", "concept", "concepts", "answers", "groupingConcepts")
	var list []*obs
	switch {
	case q.Has("patient"):
		if p := s.data.persons[q.Get("patient")]; p != nil {
			list = s.data.byPerson[p]
		}
	case q.Has("encounter"):
		if e := s.data.encounters[q.Get("encounter")]; e != nil {
			list = s.data.byPerson[e.patient.person]
			list = slices.DeleteFunc(slices.Clone(list), func(o *obs) bool { return o.encounter != e })
		}
	default:
		return nil, unsupported()
	}
	names := strings.Split(q.Get("concepts"), ",")
	if q.Has("concept") {
		names = []string{q.Get("concept")}
	}
	filtered := all && (q.Has("concept") || q.Has("concepts"))
	out := []thing{}
	for _, o := range list {
		if o.voided && q.Get("includeAll") != "true" {
			continue
		}
		if filtered && !slices.ContainsFunc(names, func(n string) bool { return s.data.concept(n) == o.concept }) {
			continue
		}
		out = append(out, o)
	}
	slices.SortStableFunc(out, func(a, b thing) int { return b.(*obs).at.Compare(a.(*obs).at) })
	return s.page(req, out, beyondIsError)
}

func (s *Server) searchConcepts(req *request, q url.Values) (*result, *failure) {
	out := []thing{}
	switch {
	case q.Has("source") && q.Has("code") && declared(q, "source", "code"):
		for _, c := range s.data.mappings[q.Get("source")+":"+q.Get("code")] {
			out = append(out, c)
		}
	case q.Has("references") && declared(q, "references"):
		for _, ref := range strings.Split(q.Get("references"), ",") {
			if c := s.data.concept(ref); c != nil {
				out = append(out, c)
			}
		}
	case q.Has("name"):
		for _, c := range s.data.order["concept"] {
			if c.text("name") == q.Get("name") {
				out = append(out, c)
			}
		}
	default:
		out = metaThings(s.data.order["concept"], q)
	}
	return s.page(req, out, nil)
}

// beyondIsError marks resources that are paged in memory: a page after the last
// is a 500 there, and empty elsewhere.
var beyondIsError = new(bool)

// page writes one page of a list, with the links that OpenMRS gives.
func (s *Server) page(req *request, all []thing, beyond *bool) (*result, *failure) {
	q := req.URL.Query()
	limit, start := s.opt.MaxResults, 0
	if n, err := strconv.Atoi(q.Get("limit")); err == nil {
		if n > s.opt.MaxAbsolute {
			return nil, broken(fmt.Sprintf("Administrator has set absolute limit at %d", s.opt.MaxAbsolute))
		}
		if n <= 0 {
			return nil, broken("If you specify a number of results to return, it must be greater than 0")
		}
		limit = n
	}
	if n, err := strconv.Atoi(q.Get("startIndex")); err == nil && n > 0 {
		start = n
	}
	if start > len(all) {
		if beyond != nil {
			return nil, &failure{status: 500, text: fmt.Sprintf("fromIndex(%d) > toIndex(%d)", start, len(all)), code: "java.util.ArrayList:1010"}
		}
		start = len(all)
	}
	end := min(start+limit, len(all))
	r := &renderer{s: s, req: req}
	r.buf.WriteString(`{"results":`)
	if f := r.write(all[start:end], req.rep); f != nil {
		return nil, f
	}
	var links []map[string]any
	uri := req.inner + marker + strings.Join(req.path, "/") + "?" + withoutStart(req.URL.RawQuery)
	if end < len(all) {
		links = append(links, map[string]any{"rel": "next", "uri": uri + "&startIndex=" + strconv.Itoa(end), "resourceAlias": nil})
	}
	if start > 0 {
		prev := uri + "&"
		if start-limit > 0 {
			prev += "startIndex=" + strconv.Itoa(start-limit)
		}
		links = append(links, map[string]any{"rel": "prev", "uri": prev, "resourceAlias": nil})
	}
	if links != nil {
		r.buf.WriteString(`,"links":`)
		r.json(links)
	}
	if q.Get("totalCount") == "true" {
		fmt.Fprintf(&r.buf, `,"totalCount":%d`, len(all))
	}
	r.buf.WriteByte('}')
	return &result{status: http.StatusOK, body: r.buf.Bytes()}, nil
}

func withoutStart(raw string) string {
	parts := strings.Split(raw, "&")
	return strings.Join(slices.DeleteFunc(parts, func(p string) bool { return strings.HasPrefix(p, "startIndex=") || p == "" }), "&")
}

// errDate is an unparsable date; what OpenMRS says of it is badDate.
var errDate = errors.New("not a date that the REST module takes")

const badDate = "Error converting date - correct format (ISO8601 Long): yyyy-MM-dd'T'HH:mm:ss.SSSZ"

// parseDate reads a moment as ConversionUtil does, in its order: the patterns of
// Joda, and nothing with two-digit fractions or without seconds.
func (s *Server) parseDate(text string) (time.Time, error) {
	for _, layout := range []string{"2006-01-02T15:04:05.000Z0700", "2006-01-02T15:04:05.000Z07:00", "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05Z07:00"} {
		if len(layout) > 25 != strings.Contains(text, ".") {
			continue
		}
		if t, err := time.Parse(layout, text); err == nil && exactFraction(text) {
			return s.stored(t), nil
		}
	}
	for _, layout := range []string{"2006-01-02T15:04:05.000", "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, s.zone); err == nil && exactFraction(text) {
			return s.stored(t), nil
		}
	}
	return time.Time{}, errDate
}

// exactFraction refuses fractions of other than three digits.
func exactFraction(text string) bool {
	_, rest, ok := strings.Cut(text, ".")
	if !ok {
		return true
	}
	digits := 0
	for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
		digits++
	}
	return digits == 3
}
