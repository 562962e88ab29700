package flow

import (
	"slices"
	"strings"
)

func lessonKey(table string, codes []string) string {
	return table + "\x1f" + strings.Join(codes, "\x1f")
}

// Teach makes an answer part of a table from now on: a code, or two, and the
// value of the column that lookup gives. Many goroutines may call it.
// It tells whether that was news.
func (i *Integration) Teach(table string, codes []string, value string) bool {
	old, known := i.taught.Swap(lessonKey(table, codes), value)
	return !known || old != value
}

// Unteach forgets an answer.
func (i *Integration) Unteach(table string, codes []string) { i.taught.Delete(lessonKey(table, codes)) }

func (i *Integration) lesson(table string, codes []string) (string, bool) {
	v, ok := i.taught.Load(lessonKey(table, codes))
	if !ok {
		return "", false
	}
	return v.(string), true
}

// given is a cell of a table as a value: an empty one means known, and not sent.
func given(v string) any {
	if v == "" {
		return nil
	}
	return v
}

// known lists what a column holds, each once, at most 50.
func (t *Table) known(column string) []string {
	var out []string
	for _, row := range t.Rows {
		if v := row[column]; v != "" && !slices.Contains(out, v) {
			if out = append(out, v); len(out) == 50 {
				break
			}
		}
	}
	return out
}
