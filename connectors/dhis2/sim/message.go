package sim

import (
	_ "embed"
	"encoding/csv"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// webMessage is the envelope of nearly every answer that is not a list; the
// order of its members is the server's (dxf2/webmessage/WebMessage.java).
type webMessage struct {
	HTTPStatus string `json:"httpStatus"`
	Code       int    `json:"httpStatusCode"`
	Status     string `json:"status"`
	Message    string `json:"message,omitempty"`
	DevMessage string `json:"devMessage,omitempty"`
	Response   any    `json:"response,omitempty"`
	ErrorCode  string `json:"errorCode,omitempty"`
}

// answer is what a handler gives back; it is written when no lock is held.
type answer struct {
	status int
	body   any // nil: no body
	kind   string
	header map[string]string
}

// said is an exception of the server in its own words.
type said string

func (e said) Error() string { return string(e) }

const jsonType = "application/json;charset=UTF-8"

func ok(body any) answer { return answer{status: http.StatusOK, body: body} }

// raw is an answer that is not JSON.
func raw(kind string, body []byte) answer {
	return answer{status: http.StatusOK, body: body, kind: kind}
}

// message is a WebMessage without a response part.
func message(status int, text string) answer {
	return envelope(status, "", text, nil)
}

// envelope is a WebMessage; an empty word means what the status says.
func envelope(status int, word, text string, response any) answer {
	if word == "" {
		word = "OK"
		if status >= http.StatusBadRequest {
			word = "ERROR"
		}
	}
	return answer{status: status, body: webMessage{HTTPStatus: http.StatusText(status), Code: status, Status: word, Message: text, Response: response}}
}

func coded(status int, code, text string) answer {
	a := message(status, text)
	m := a.body.(webMessage)
	m.ErrorCode = code
	a.body = m
	return a
}

func notFound(text string) answer { return message(http.StatusNotFound, text) }

func (a answer) write(w http.ResponseWriter) {
	for k, v := range a.header {
		w.Header().Set(k, v)
	}
	if a.body == nil {
		w.WriteHeader(a.status)
		return
	}
	b, isRaw := a.body.([]byte)
	kind := a.kind
	if !isRaw {
		var err error
		if b, err = json.Marshal(a.body); err != nil {
			http.Error(w, "cannot write the answer", http.StatusInternalServerError)
			return
		}
		kind = jsonType
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(a.status)
	_, _ = w.Write(b)
}

// The texts of the servers' codes, by version: copies of the contract's tables,
// which were read in ErrorCode.java and ValidationCode.java of each branch.
var (
	//go:embed rules/datavalue_error_codes.csv
	dataCodes string
	//go:embed rules/tracker_validation_codes.csv
	trackerCodes string
	//go:embed rules/datavalue_conflict_shape.csv
	conflictShapes string
	//go:embed rules/value_types.csv
	valueTypeRules string
	//go:embed rules/nepali_month_lengths.csv
	nepaliMonths string
)

type codeText struct {
	from, to int // minor versions
	text     string
}

type tables struct {
	data, tracker map[string][]codeText
	property      map[string]string
	i18n          map[string]string // key -> text
	keyOf         map[string]string // value type -> key
}

var codes = sync.OnceValue(func() tables {
	t := tables{data: texts(dataCodes), tracker: texts(trackerCodes), property: map[string]string{}, i18n: map[string]string{}, keyOf: map[string]string{}}
	for _, row := range table(conflictShapes) {
		t.property[row[0]] = row[2]
	}
	for _, row := range table(valueTypeRules) {
		t.keyOf[row[0]], t.i18n[row[2]] = row[2], row[3]
	}
	return t
})

// table reads one of the embedded files, without its head line.
func table(text string) [][]string {
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		panic("embedded table: " + err.Error()) // the file is part of this package
	}
	return rows[1:]
}

func texts(file string) map[string][]codeText {
	out := map[string][]codeText{}
	for _, row := range table(file) {
		lo, hi, ranged := strings.Cut(row[1], "-")
		if !ranged {
			hi = lo
		}
		out[row[0]] = append(out[row[0]], codeText{minorOf(lo), minorOf(hi), row[2]})
	}
	return out
}

func minorOf(v string) int {
	parts := strings.Split(strings.TrimSuffix(v, "-SNAPSHOT"), ".")
	if len(parts) < 2 {
		return 0
	}
	n, _ := strconv.Atoi(parts[1])
	return n
}

// text is a code's words in this server's version. Versions that the tables do
// not reach (2.43) speak as the last one that they do.
func (s *Server) text(in map[string][]codeText, code string, args ...string) string {
	list := in[code]
	if len(list) == 0 {
		return code
	}
	template := list[len(list)-1].text
	for _, c := range list {
		if s.minor >= c.from && s.minor <= c.to {
			template = c.text
		}
	}
	return format(template, args)
}

// format is java.text.MessageFormat for {n} without styles: a quote opens a
// part that is taken as it stands, two quotes are one.
func format(template string, args []string) string {
	var b strings.Builder
	quoted := false
	for i := 0; i < len(template); i++ {
		c := template[i]
		switch {
		case c == '\'' && i+1 < len(template) && template[i+1] == '\'':
			b.WriteByte('\'')
			i++
		case c == '\'':
			quoted = !quoted
		case c == '{' && !quoted:
			end := strings.IndexByte(template[i:], '}')
			n, err := -1, error(nil)
			if end > 0 {
				n, err = strconv.Atoi(template[i+1 : i+end])
			}
			if end < 0 || err != nil || n < 0 || n >= len(args) {
				b.WriteByte(c)
				continue
			}
			b.WriteString(args[n])
			i += end
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
