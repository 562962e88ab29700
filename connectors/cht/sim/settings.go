package sim

// grants are the permissions of the default configuration that matter here
// (config/default of cht-core 5.2.0), and those of the integration's own role.
var grants = map[string][]string{
	"can_access_gateway_api": {"gateway", integrationRole},
	"can_configure":          {"program_officer", "crfo"},
	"can_create_people":      {"program_officer", "chw_supervisor", "chw", integrationRole},
	"can_create_places":      {"program_officer", "chw_supervisor", "chw"},
	"can_create_records":     {"data_entry", "gateway", "program_officer", "chw_supervisor", "chw", integrationRole},
	"can_edit":               {"gateway", "program_officer", "chw_supervisor", "chw", integrationRole},
	"can_export_all":         {"program_officer", "crfo", integrationRole},
	"can_export_dhis":        {"national_admin", "crfo"},
	"can_view_contacts":      {"program_officer", "chw_supervisor", "chw", integrationRole},
	"can_view_reports":       {"program_officer", "chw_supervisor", "chw", integrationRole},
	"can_view_users":         {"program_officer", integrationRole},
}

// defaultSettings are the settings of a fresh server.
func defaultSettings() map[string]any {
	permissions := map[string]any{}
	for p, roles := range grants {
		list := []any{}
		for _, r := range roles {
			list = append(list, r)
		}
		permissions[p] = list
	}
	types := []any{}
	for _, t := range []struct {
		id      string
		parents []any
		person  bool
	}{
		{id: "district_hospital"}, {id: "health_center", parents: []any{"district_hospital"}}, {id: "clinic", parents: []any{"health_center"}},
		{id: "person", parents: []any{"district_hospital", "health_center", "clinic"}, person: true},
	} {
		m := map[string]any{"id": t.id}
		if t.parents != nil {
			m["parents"] = t.parents
		}
		if t.person {
			m["person"] = true
		}
		types = append(types, m)
	}
	return map[string]any{
		"locale": "en", "default_country_code": float64(254), "permissions": permissions, "contact_types": types, "dhis_data_sets": []any{},
		"roles": map[string]any{"national_admin": map[string]any{}, "data_entry": map[string]any{}, "analytics": map[string]any{}, "gateway": map[string]any{},
			"program_officer": map[string]any{}, "crfo": map[string]any{}, integrationRole: map[string]any{},
			"chw_supervisor": map[string]any{"offline": true}, "chw": map[string]any{"offline": true}},
		"tasks": map[string]any{"targets": map[string]any{"enabled": true, "items": []any{}}},
	}
}

// merge puts the objects of over into those of base; anything else replaces.
func merge(base, over map[string]any) {
	for name, v := range over {
		in, ok := v.(map[string]any)
		was, both := base[name].(map[string]any)
		if ok && both {
			merge(was, in)
			continue
		}
		base[name] = v
	}
}

// objects lists what is an object in a list at a path of the settings.
func objects(v any, path ...string) []map[string]any {
	for _, name := range path {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return many(v)
}

// many reads a property that is one object or a list of them.
func many(v any) []map[string]any {
	if m, ok := v.(map[string]any); ok {
		return []map[string]any{m}
	}
	list, _ := v.([]any)
	var out []map[string]any
	for _, item := range list {
		if m, ok := item.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

func text(v any) string {
	s, _ := v.(string)
	return s
}
