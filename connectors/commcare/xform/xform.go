// Package xform reads and writes the documents that CommCare exchanges: XForm
// XML, the JSON that CommCare HQ makes of it, and the case blocks inside both.
//
// Rules are those of dimagi/commcare-hq (May 2020, and docs/api 2025-26):
// attributes become "@name", the root's tag "#type", text beside attributes
// "#text", prefixes go, a changed namespace stays as "@xmlns", and elements of
// one name become a list once there are two.
package xform

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
)

// Limits on a document, checked before or while it is parsed (law 25). A
// CommCare form nests about ten deep and holds a few thousand values.
const (
	MaxDepth  = 64
	MaxValues = 200_000
)

// Bad says in plain words why a document cannot be read. It holds no values
// of the document.
type Bad struct{ Text string }

func (e *Bad) Error() string { return e.Text }

func bad(format string, args ...any) error { return &Bad{Text: fmt.Sprintf(format, args...)} }

// DecodeJSON reads one JSON document. Numbers stay as written (json.Number).
// An error is a *Bad.
func DecodeJSON(body []byte) (any, error) { return decodeJSON(body, MaxValues) }

// DecodePage reads JSON that a server we asked answered: a page of documents,
// limited in depth, not in the number of values.
func DecodePage(body []byte) (any, error) { return decodeJSON(body, math.MaxInt) }

func decodeJSON(body []byte, most int) (any, error) {
	if err := withinLimits(body, most); err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var doc any
	if err := d.Decode(&doc); err != nil {
		var syntax *json.SyntaxError
		switch {
		case errors.As(err, &syntax):
			return nil, bad("the body is not JSON: error at byte %d of %d", syntax.Offset, len(body))
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil, bad("the body is not JSON: it ends too early, at byte %d", len(body))
		}
		return nil, bad("the body is not JSON")
	}
	if rest := bytes.TrimSpace(body[d.InputOffset():]); len(rest) > 0 {
		return nil, bad("the body is not one JSON document: more follows at byte %d", d.InputOffset())
	}
	return doc, nil
}

// withinLimits counts brackets and commas without building anything.
func withinLimits(body []byte, most int) error {
	depth, values, quoted := 0, 1, false
	for i := 0; i < len(body); i++ {
		c := body[i]
		if quoted {
			switch c {
			case '\\':
				i++
			case '"':
				quoted = false
			}
			continue
		}
		switch c {
		case '"':
			quoted = true
		case '{', '[':
			if depth++; depth > MaxDepth {
				return bad("the body is nested more than %d deep, at byte %d", MaxDepth, i+1)
			}
		case '}', ']':
			depth--
		case ',':
			if values++; values > most {
				return bad("the body has more than %d values", most)
			}
		}
	}
	return nil
}

// Root is the outermost element of an XML document.
type Root struct {
	Name  string         // "data"
	XMLNS string         // "http://openrosa.org/formdesigner/…"
	JSON  map[string]any // as CommCare HQ stores it, with "#type"
}

// ParseXML reads an XML document into the JSON that CommCare HQ makes of it.
// Document types and external entities are refused. An error is a *Bad.
func ParseXML(body []byte) (*Root, error) {
	p := &parser{d: xml.NewDecoder(bytes.NewReader(body))}
	for {
		token, err := p.next()
		if err != nil {
			return nil, err
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		value, err := p.element(start, "", 1)
		if err != nil {
			return nil, err
		}
		if err := p.onlyTheEnd(); err != nil {
			return nil, err
		}
		object, ok := value.(map[string]any)
		if !ok {
			object = map[string]any{}
			if text, _ := value.(string); text != "" {
				object["#text"] = text
			}
		}
		object["#type"] = start.Name.Local
		return &Root{Name: start.Name.Local, XMLNS: start.Name.Space, JSON: object}, nil
	}
}

type parser struct {
	d      *xml.Decoder
	values int
}

func (p *parser) next() (xml.Token, error) {
	token, err := p.d.Token()
	if err != nil {
		line, column := p.d.InputPos()
		var syntax *xml.SyntaxError
		if errors.Is(err, io.EOF) || (errors.As(err, &syntax) && syntax.Msg == "unexpected EOF") {
			return nil, bad("the body is not XML: it ends too early, at line %d", line)
		}
		return nil, bad("the body is not XML: error at line %d, column %d", line, column)
	}
	if _, ok := token.(xml.Directive); ok {
		return nil, bad("the body has a document type or entities, which CommCare never sends")
	}
	return token, nil
}

func (p *parser) onlyTheEnd() error {
	for {
		token, err := p.d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return bad("the body is not XML: something follows the end of the document")
		}
		switch t := token.(type) {
		case xml.StartElement, xml.Directive:
			return bad("the body is not one XML document: something follows its end")
		case xml.CharData:
			if len(bytes.TrimSpace(t)) > 0 {
				return bad("the body is not one XML document: text follows its end")
			}
		}
	}
}

func (p *parser) element(start xml.StartElement, above string, depth int) (any, error) {
	if depth > MaxDepth {
		return nil, bad("the body is nested more than %d deep", MaxDepth)
	}
	if p.values += 1 + len(start.Attr); p.values > MaxValues {
		return nil, bad("the body has more than %d values", MaxValues)
	}
	object := map[string]any{}
	if start.Name.Space != above && start.Name.Space != "" {
		object["@xmlns"] = start.Name.Space
	}
	for _, a := range start.Attr {
		if a.Name.Space == "xmlns" || a.Name.Local == "xmlns" {
			continue
		}
		object["@"+a.Name.Local] = a.Value
	}
	var text strings.Builder
	for {
		token, err := p.next()
		if err != nil {
			return nil, err
		}
		switch t := token.(type) {
		case xml.CharData:
			text.Write(t)
		case xml.StartElement:
			child, err := p.element(t, start.Name.Space, depth+1)
			if err != nil {
				return nil, err
			}
			add(object, t.Name.Local, child)
		case xml.EndElement:
			said := strings.TrimSpace(text.String())
			if len(object) == 0 {
				return said, nil
			}
			if said != "" {
				object["#text"] = said
			}
			return object, nil
		}
	}
}

func add(object map[string]any, name string, child any) {
	switch there := object[name].(type) {
	case nil:
		object[name] = child
	case []any:
		object[name] = append(there, child)
	default:
		object[name] = []any{there, child}
	}
}
