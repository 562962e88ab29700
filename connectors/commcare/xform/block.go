package xform

import (
	"maps"
	"slices"
)

// Namespaces of CommCare.
const (
	CaseV2       = "http://commcarehq.org/case/transaction/v2"
	DeviceReport = "http://code.javarosa.org/devicereport"
	// CaseAPI is the xmlns of the forms that HQ writes for its case API.
	CaseAPI = "http://commcarehq.org/case_api"
)

// Block is a case transaction: what a form does to one case. Blocks of version
// 1 (case_id as an element, case_type_id) and 2 (attributes) read the same.
type Block struct {
	CaseID       string
	UserID       string
	DateModified string
	Created      bool
	Create       map[string]string // case_type, case_name, owner_id, external_id
	Update       map[string]string
	Index        map[string]Index
	Closed       bool
}

// Index is a reference from a case to another.
type Index struct {
	CaseID       string
	CaseType     string
	Relationship string // "child" or "extension"
}

// IsBlock tells whether a value found under the name "case" is a case
// transaction, and not a question group that happens to have that name.
func IsBlock(v any) bool {
	m, ok := v.(map[string]any)
	if !ok {
		return false
	}
	return Text(m["@case_id"]) != "" || Text(m["case_id"]) != ""
}

// Blocks finds the case blocks of a form at any depth. Several blocks of one
// case are folded into one, later ones over earlier ones, so that a case is
// named once.
func Blocks(form map[string]any) []*Block {
	f := &finder{byID: map[string]*Block{}}
	f.walk(form)
	return f.found
}

type finder struct {
	found []*Block
	byID  map[string]*Block
}

func (f *finder) walk(v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if name == "case" {
				f.cases(v[name])
			} else {
				f.walk(v[name])
			}
		}
	case []any:
		for _, item := range v {
			f.walk(item)
		}
	}
}

func (f *finder) cases(v any) {
	if list, ok := v.([]any); ok {
		for _, item := range list {
			f.cases(item)
		}
		return
	}
	if !IsBlock(v) {
		f.walk(v)
		return
	}
	b := ReadBlock(v.(map[string]any))
	if before := f.byID[b.CaseID]; before != nil {
		before.fold(b)
		return
	}
	f.byID[b.CaseID] = b
	f.found = append(f.found, b)
}

func (b *Block) fold(later *Block) {
	b.Created = b.Created || later.Created
	b.Closed = b.Closed || later.Closed
	if later.UserID != "" {
		b.UserID = later.UserID
	}
	if later.DateModified != "" {
		b.DateModified = later.DateModified
	}
	maps.Copy(b.Create, later.Create)
	maps.Copy(b.Update, later.Update)
	maps.Copy(b.Index, later.Index)
}

// ReadBlock reads one case element of either version.
func ReadBlock(m map[string]any) *Block {
	either := func(name string) string {
		if s := Text(m["@"+name]); s != "" {
			return s
		}
		return Text(m[name])
	}
	b := &Block{CaseID: either("case_id"), UserID: either("user_id"), DateModified: Plain(either("date_modified")),
		Create: map[string]string{}, Update: map[string]string{}, Index: map[string]Index{}}
	if create, ok := m["create"]; ok {
		b.Created = true
		values(b.Create, create)
		b.olderCreate()
	}
	if update, ok := m["update"]; ok {
		values(b.Update, update)
	}
	if index, ok := m["index"].(map[string]any); ok {
		indices(b.Index, index)
	}
	_, b.Closed = m["close"]
	return b
}

// olderCreate renames what version 1 called otherwise: the owner of a case was
// the user who made it.
func (b *Block) olderCreate() {
	if t, ok := b.Create["case_type_id"]; ok {
		delete(b.Create, "case_type_id")
		if b.Create["case_type"] == "" {
			b.Create["case_type"] = t
		}
	}
	if u, ok := b.Create["user_id"]; ok {
		delete(b.Create, "user_id")
		if b.UserID == "" {
			b.UserID = u
		}
		if b.Create["owner_id"] == "" {
			b.Create["owner_id"] = u
		}
	}
}

func values(into map[string]string, v any) {
	m, ok := v.(map[string]any)
	if !ok {
		return
	}
	for name, value := range m {
		if name == "" || name[0] == '@' || name[0] == '#' || value == nil {
			continue
		}
		into[name] = Plain(Text(value))
	}
}

func indices(into map[string]Index, m map[string]any) {
	for name, v := range m {
		if name == "" || name[0] == '@' || name[0] == '#' {
			continue
		}
		if list, ok := v.([]any); ok && len(list) > 0 {
			v = list[len(list)-1]
		}
		i := Index{CaseID: Text(v), Relationship: "child"}
		if attrs, ok := v.(map[string]any); ok {
			i.CaseType = Text(attrs["@case_type"])
			if r := Text(attrs["@relationship"]); r != "" {
				i.Relationship = r
			}
		}
		into[name] = i
	}
}

// Said is everything the block says about the case's properties: what it
// creates, then what it updates over it.
func (b *Block) Said() map[string]string {
	out := make(map[string]string, len(b.Create)+len(b.Update))
	maps.Copy(out, b.Create)
	maps.Copy(out, b.Update)
	return out
}
