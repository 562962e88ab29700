package sim

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// failure is an exception of the server, before it is put in the words of the
// module's version.
type failure struct {
	status int
	reason string // RestUtil's own words
	text   string // the outer exception's; "" is null
	causes []string
	code   string
	fields map[string][]violation
	global []violation
	isForm bool // Invalid Submission
	core   bool // raised inside a save: 500 before module 3.2.0
	what   string
}

type violation struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// invalid is a refusal of a validator.
func invalid(fields map[string][2]string) *failure {
	f := &failure{status: 400, isForm: true, fields: map[string][]violation{}}
	for name, v := range fields {
		f.fields[name] = append(f.fields[name], violation{v[0], v[1]})
	}
	return f
}

// globally is a refusal that names no field; its code is its text.
func globally(text string) *failure {
	return &failure{status: 400, isForm: true, global: []violation{{text, text}}, fields: map[string][]violation{}}
}

// inCore marks a refusal as raised by core inside a save, and of what.
func (f *failure) inCore(what string) *failure {
	f.core, f.what = true, what
	return f
}

func notFound() *failure {
	return &failure{status: 404, reason: "Object with given uuid doesn't exist", code: "org.openmrs.module.webservices.rest.web.resource.impl.DelegatingCrudResource:118"}
}

func unknownResource(name string) *failure {
	return &failure{status: 404, reason: "Resource does not exist. Please check documentation for implemented resources and their paths",
		text: "Unknown resource: v1/" + name, code: "org.openmrs.module.webservices.rest.web.api.impl.RestServiceImpl:427"}
}

func unsupported() *failure {
	return &failure{status: 400, reason: "The Resource Does not Support the Requested Operation", code: "org.openmrs.module.webservices.rest.web.resource.impl.DelegatingCrudResource:330"}
}

func conversion(text string, causes ...string) *failure {
	return &failure{status: 400, text: text, causes: causes, code: "org.openmrs.module.webservices.rest.web.resource.impl.BaseDelegatingResource:751"}
}

func onClass(property, class string, causes ...string) *failure {
	return conversion(property+" on class org.openmrs."+class, causes...)
}

func broken(text string, causes ...string) *failure {
	return &failure{status: 500, text: text, causes: causes, code: "org.openmrs.module.webservices.rest.web.RestUtil:200"}
}

func duplicateUUID(uuid, key string) *failure {
	return &failure{status: 500, text: "could not execute statement", causes: []string{"Duplicate entry '" + uuid + "' for key '" + key + "'"},
		code: "org.hibernate.exception.internal.SQLStateConversionDelegate:109"}
}

// fail writes an error in the dialect of the version (RestUtil.wrapErrorResponse).
func (s *Server) fail(w http.ResponseWriter, f *failure) {
	if f.core && !s.since(3, 2) {
		f = f.asOldValidation()
	}
	body := map[string]any{}
	if f.isForm {
		global := f.global
		if global == nil {
			global = []violation{}
		}
		body = map[string]any{"message": "Invalid Submission", "code": "webservices.rest.error.invalid.submission", "globalErrors": global, "fieldErrors": f.fields}
	} else {
		s.words(body, f)
	}
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	if f.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="OpenMRS at /ws/rest/"`)
	}
	w.WriteHeader(f.status)
	b, _ := json.Marshal(map[string]any{"error": body})
	_, _ = w.Write(b)
}

func (s *Server) words(body map[string]any, f *failure) {
	parts := []string{}
	if f.text != "" || s.since(2, 37) {
		text := f.text
		if text == "" {
			text = "null"
		}
		parts = append(parts, text)
	}
	if s.since(2, 37) {
		parts = append(parts, f.causes...)
	}
	message := f.reason
	if len(parts) > 0 {
		message = strings.TrimSpace(message + " [" + strings.Join(parts, " => ") + "]")
	}
	body["message"], body["code"], body["detail"] = message, f.code, ""
	if !s.since(2, 41) {
		body["detail"] = "org.openmrs.module.webservices.rest.web.response.ResponseException\n\tat " + f.code + "\n\t..."
	}
	if s.since(3, 0) {
		var raw any
		if f.text != "" {
			raw = f.text
		}
		body["rawMessage"], body["translatedMessage"] = raw, raw
	}
}

// asOldValidation is core's ValidationException as modules before 3.2.0 send it.
func (f *failure) asOldValidation() *failure {
	var parts []string
	for name, list := range f.fields {
		for _, v := range list {
			parts = append(parts, name+": "+v.Message)
		}
	}
	for _, v := range f.global {
		parts = append(parts, v.Message)
	}
	slices.Sort(parts)
	text := "'" + f.what + "' failed to validate with reason: " + strings.Join(parts, ", ")
	if len(f.global) > 0 && len(f.fields) == 0 {
		text = f.global[0].Message // identifier exceptions are thrown by themselves
	}
	return &failure{status: 500, text: text, code: "org.openmrs.validator.ValidateUtil:85"}
}
