package sim

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/kiungo-health/kiungo/connectors/commcare/xform"
)

// userError is a refusal in the API's words.
type userError string

func (e userError) Error() string { return string(e) }

// change is one update of a request, once checked.
type change struct {
	create             bool
	caseID, externalID string
	own                map[string]string // case_name, case_type, owner_id, external_id, as given
	props              map[string]string
	indices            map[string]map[string]string
	close              bool
	temporary          string
}

// xmlName is what names of properties and indices must look like.
var xmlName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

func badName(name string) bool {
	return !xmlName.MatchString(name) || strings.HasPrefix(strings.ToLower(name), "xml")
}

// wrap checks one update strictly, as JsonCaseCreation and JsonCaseUpdate do.
func wrap(doc map[string]any, create bool) (*change, error) {
	c := &change{create: create, own: map[string]string{}, props: map[string]string{}, indices: map[string]map[string]string{}}
	if _, has := doc["case_id"]; create && has {
		return nil, userError("You cannot specify case_id when creating a new case")
	}
	for _, name := range sorted(doc) {
		v := doc[name]
		switch name {
		case "case_id", "external_id", "temporary_id", "case_name", "case_type", "owner_id":
			text, ok := v.(string)
			if v != nil && !ok {
				return nil, userError(fmt.Sprintf("%v is not of type %s", v, "str"))
			}
			if name == "temporary_id" && !create {
				return nil, userError("'temporary_id' is not a valid field.")
			}
			if ok {
				c.own[name] = text
			}
		case "properties":
			if err := c.wrapProperties(v); err != nil {
				return nil, err
			}
		case "indices":
			if err := c.wrapIndices(v); err != nil {
				return nil, err
			}
		case "close":
			shut, ok := v.(bool)
			if !ok {
				return nil, userError(fmt.Sprintf("%v is not of type %s", v, "bool"))
			}
			c.close = shut
		default:
			return nil, userError("'" + name + "' is not a valid field.")
		}
	}
	c.caseID, c.externalID, c.temporary = c.own["case_id"], c.own["external_id"], c.own["temporary_id"]
	delete(c.own, "case_id")
	delete(c.own, "temporary_id")
	for _, name := range []string{"case_name", "case_type", "owner_id"} {
		if create && c.own[name] == "" {
			return nil, userError("Property " + name + " is required.")
		}
	}
	if !create && c.caseID == "" && c.externalID == "" {
		return nil, userError("Case updates must provide either a case_id or external_id")
	}
	return c, nil
}

func (c *change) wrapProperties(v any) error {
	m, ok := v.(map[string]any)
	if !ok {
		return userError("properties is not a dict")
	}
	for _, name := range sorted(m) {
		if badName(name) {
			return userError("Error with case property '" + name + "'. Case property names must be valid XML identifiers.")
		}
		text, ok := m[name].(string)
		if !ok {
			return userError(fmt.Sprintf("Error with case property '%s'. Values must be strings, received '%v'", name, m[name]))
		}
		c.props[name] = text
	}
	return nil
}

func (c *change) wrapIndices(v any) error {
	m, ok := v.(map[string]any)
	if !ok {
		return userError("indices is not a dict")
	}
	for _, name := range sorted(m) {
		if badName(name) {
			return userError("Error with index '" + name + "'. Index names must be valid XML identifiers.")
		}
		doc, _ := m[name].(map[string]any)
		index, ids := map[string]string{}, 0
		for _, field := range sorted(doc) {
			switch field {
			case "case_id", "external_id", "temporary_id":
				index[field] = xform.Text(doc[field])
				if index[field] != "" {
					ids++
				}
			case "case_type", "relationship":
				index[field] = xform.Text(doc[field])
			default:
				return userError("'" + field + "' is not a valid field.")
			}
		}
		if ids > 1 {
			return userError("Indices must specify case_id, external_id, or temporary ID, and only one")
		}
		for _, field := range []string{"case_type", "relationship"} {
			if ids == 1 && index[field] == "" {
				return userError("Property " + field + " is required when creating or updating case indices")
			}
		}
		if r := index["relationship"]; r != "" && r != "child" && r != "extension" {
			return userError("relationship must be one of child, extension")
		}
		c.indices[name] = index
	}
	return nil
}
