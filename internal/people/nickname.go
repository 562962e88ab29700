package people

import (
	_ "embed"
	"encoding/csv"
	"fmt"
	"strings"
	"sync"
)

// nicknames.csv has a line a name: a language or region, then the forms in which
// one person may give it. A form may stand in several lines.
//
//go:embed nicknames.csv
var nicknameCSV string

// nicknames gives, for a folded given name, the numbers of the lines that it
// stands in: two names that share one may be one person's.
var nicknames = sync.OnceValue(func() map[string][]int {
	groups, err := readNicknames(nicknameCSV)
	if err != nil {
		panic(err) // the table is part of the program and a test reads it
	}
	return groups
})

func readNicknames(text string) (map[string][]int, error) {
	r := csv.NewReader(strings.NewReader(text))
	r.FieldsPerRecord, r.Comment = -1, '#'
	rows, err := r.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("read nicknames.csv: %w", err)
	}
	groups := map[string][]int{}
	for n, row := range rows {
		if len(row) < 3 {
			return nil, fmt.Errorf("nicknames.csv: row %d has fewer than two names", n+1)
		}
		for _, name := range row[1:] {
			f := fold(name)
			if f == "" {
				return nil, fmt.Errorf("nicknames.csv: row %d has an empty name", n+1)
			}
			groups[f] = append(groups[f], n)
		}
	}
	return groups, nil
}
