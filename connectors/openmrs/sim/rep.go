package sim

import (
	"bytes"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"time"
)

// rep is a representation: ref, default, full, or custom with its fields.
type rep struct {
	mode   string
	fields []repField
}

type repField struct {
	name string
	rep  *rep
}

var (
	repRef     = &rep{mode: "ref"}
	repDefault = &rep{mode: "default"}
	repFull    = &rep{mode: "full"}
)

// representation reads v. Ref is the default of lists, default elsewhere.
func representation(q url.Values, list bool) (*rep, *failure) {
	if !q.Has("v") {
		if list {
			return repRef, nil
		}
		return repDefault, nil
	}
	v := q.Get("v")
	switch v {
	case "":
		return nil, broken("String index out of range: 0")
	case "ref":
		return repRef, nil
	case "default":
		return repDefault, nil
	case "full":
		return repFull, nil
	}
	if spec, ok := strings.CutPrefix(v, "custom:"); ok {
		p := &repParser{s: spec}
		r := p.group()
		if r == nil || p.at != len(p.s) {
			return nil, conversion("Invalid custom representation")
		}
		return r, nil
	}
	return nil, conversion("Don't know how to get class org.openmrs as " + v)
}

// mustRep parses a list of properties, as the kinds declare them.
func mustRep(mode, spec string) *rep {
	p := &repParser{s: "(" + spec + ")"}
	r := p.group()
	if r == nil || p.at != len(p.s) {
		panic("sim: bad representation " + spec)
	}
	r.mode = mode
	return r
}

type repParser struct {
	s     string
	at    int
	depth int
}

func (p *repParser) peek() byte {
	if p.at < len(p.s) {
		return p.s[p.at]
	}
	return 0
}

// group parses (a,b:ref,c:(d)).
func (p *repParser) group() *rep {
	if p.peek() != '(' || p.depth > 20 {
		return nil
	}
	p.depth++
	defer func() { p.depth-- }()
	p.at++
	r := &rep{mode: "custom"}
	for {
		start := p.at
		for p.at < len(p.s) && !strings.ContainsRune(",:()", rune(p.s[p.at])) {
			p.at++
		}
		name := strings.TrimSpace(p.s[start:p.at])
		if name == "" {
			return nil
		}
		f := repField{name: name, rep: repDefault}
		if p.peek() == ':' {
			p.at++
			if f.rep = p.sub(); f.rep == nil {
				return nil
			}
		}
		r.fields = append(r.fields, f)
		switch p.peek() {
		case ',':
			p.at++
		case ')':
			p.at++
			return r
		default:
			return nil
		}
	}
}

func (p *repParser) sub() *rep {
	if p.peek() == '(' {
		return p.group()
	}
	start := p.at
	for p.at < len(p.s) && !strings.ContainsRune(",()", rune(p.s[p.at])) {
		p.at++
	}
	switch p.s[start:p.at] {
	case "ref":
		return repRef
	case "default":
		return repDefault
	case "full":
		return repFull
	}
	return nil
}

// thing is any object of the server.
type thing interface {
	about() *base
	// prop gives a property, and whether there is one of that name.
	prop(s *Server, name string) (any, bool)
	display(s *Server) string
}

// base is what all objects have.
type base struct {
	kind       *kind
	uuid       string
	seq        int
	voided     bool // or retired
	batch      int  // of the void that took it along
	voidedBy   string
	voidReason string
	dateVoided time.Time
	creator    string
	created    time.Time
	changed    time.Time
	changedBy  string
	parent     thing // of a sub-resource
}

func (b *base) about() *base { return b }

// kind describes a resource.
type kind struct {
	resource string // "patient", "person/name"
	class    string // "Patient"
	version  string
	retires  bool
	def      *rep
	full     *rep
}

// renderer writes objects in a representation.
type renderer struct {
	s   *Server
	buf bytes.Buffer
	req *request
}

// write gives false for a property that is not known.
func (r *renderer) write(v any, as *rep) *failure {
	switch v := v.(type) {
	case nil:
		r.buf.WriteString("null")
	case thing:
		return r.object(v, as)
	case []thing:
		r.buf.WriteByte('[')
		for i, t := range v {
			if i > 0 {
				r.buf.WriteByte(',')
			}
			if f := r.object(t, as); f != nil {
				return f
			}
		}
		r.buf.WriteByte(']')
	case time.Time:
		if v.IsZero() {
			r.buf.WriteString("null")
		} else {
			r.json(v.In(r.s.zone).Format(outLayout))
		}
	default:
		r.json(v)
	}
	return nil
}

const outLayout = "2006-01-02T15:04:05.000-0700"

func (r *renderer) json(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic("sim: " + err.Error())
	}
	r.buf.Write(b)
}

func (r *renderer) object(t thing, as *rep) *failure {
	b := t.about()
	if as.mode == "custom" {
		r.buf.WriteByte('{')
		for i, f := range as.fields {
			if i > 0 {
				r.buf.WriteByte(',')
			}
			if fail := r.field(t, f); fail != nil {
				return fail
			}
		}
		r.buf.WriteByte('}')
		return nil
	}
	r.buf.WriteByte('{')
	if as.mode == "ref" {
		r.json("uuid")
		r.buf.WriteByte(':')
		r.json(b.uuid)
		r.buf.WriteString(`,"display":`)
		r.json(t.display(r.s))
		if b.voided {
			if b.kind.retires {
				r.buf.WriteString(`,"retired":true`)
			} else {
				r.buf.WriteString(`,"voided":true`)
			}
		}
		r.buf.WriteString(`,"links":`)
		r.json(r.links(b, false))
		r.buf.WriteByte('}')
		return nil
	}
	fields := b.kind.def
	if as.mode == "full" && b.kind.full != nil {
		fields = b.kind.full
	}
	for _, f := range fields.fields {
		if fail := r.field(t, f); fail != nil {
			return fail
		}
		r.buf.WriteByte(',')
	}
	r.buf.WriteString(`"links":`)
	r.json(r.links(b, as.mode == "default"))
	r.buf.WriteString(`,"resourceVersion":`)
	r.json(b.kind.version)
	r.buf.WriteByte('}')
	return nil
}

func (r *renderer) field(t thing, f repField) *failure {
	b := t.about()
	r.json(f.name)
	r.buf.WriteByte(':')
	switch f.name {
	case "uuid":
		r.json(b.uuid)
	case "display":
		r.json(t.display(r.s))
	case "links":
		r.json(r.links(b, false))
	case "auditInfo":
		r.json(r.audit(b))
	case "voided", "retired":
		if b.kind.retires != (f.name == "retired") {
			return onClass(f.name, b.kind.class)
		}
		r.json(b.voided)
	default:
		v, ok := t.prop(r.s, f.name)
		if !ok {
			return onClass(f.name, b.kind.class)
		}
		return r.write(v, f.rep)
	}
	return nil
}

func (r *renderer) uri(b *base) string {
	path := b.kind.resource
	if main, sub, ok := strings.Cut(path, "/"); ok && b.parent != nil && main != "idgen" {
		path = main + "/" + b.parent.about().uuid + "/" + sub
	}
	return r.req.inner + marker + path + "/" + b.uuid
}

func (r *renderer) links(b *base, full bool) []map[string]any {
	uri := r.uri(b)
	out := []map[string]any{{"rel": "self", "uri": uri}}
	if full {
		out = append(out, map[string]any{"rel": "full", "uri": uri + "?v=full"})
	}
	if r.s.since(2, 30) {
		alias := b.kind.resource[strings.LastIndexByte(b.kind.resource, '/')+1:]
		for _, l := range out {
			l["resourceAlias"] = alias
		}
	}
	return out
}

func (r *renderer) audit(b *base) map[string]any {
	user := func(name string) any {
		if name == "" {
			return nil
		}
		id := r.s.userUUID(name)
		return map[string]any{"uuid": id, "display": name, "links": []map[string]any{{"rel": "self", "uri": r.req.inner + marker + "user/" + id}}}
	}
	moment := func(t time.Time) any {
		if t.IsZero() {
			return nil
		}
		return t.In(r.s.zone).Format(outLayout)
	}
	a := map[string]any{"creator": user(b.creator), "dateCreated": moment(b.created), "changedBy": user(b.changedBy), "dateChanged": moment(b.changed)}
	if b.voided {
		if b.kind.retires {
			a["retiredBy"], a["dateRetired"], a["retireReason"] = user(b.voidedBy), moment(b.dateVoided), b.voidReason
		} else {
			a["voidedBy"], a["dateVoided"], a["voidReason"] = user(b.voidedBy), moment(b.dateVoided), b.voidReason
		}
	}
	return a
}

// one renders one object.
func (s *Server) one(req *request, t thing, status int) (*result, *failure) {
	return s.as(req, t, req.rep, status)
}

func (s *Server) as(req *request, t thing, as *rep, status int) (*result, *failure) {
	r := &renderer{s: s, req: req}
	if f := r.object(t, as); f != nil {
		return nil, f
	}
	return &result{status: status, body: slices.Clone(r.buf.Bytes())}, nil
}
