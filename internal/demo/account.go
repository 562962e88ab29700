package demo

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/kiungo-health/kiungo/internal/connector"
)

// account is what the sources of a world have told, to be compared with what
// the ledger has.
type account struct {
	docs  map[string]map[string]bool // "system/kind" → documents that were sent
	least map[string]int             // "system/kind" → how many documents of a list there are at least
	feeds map[string]int             // "system/category" → entries before the world began
}

// Source is one source's account: how much it told, and how much of it is in
// the ledger.
type Source struct {
	Name  string `json:"name"`
	Told  int    `json:"told"`
	Taken int    `json:"taken"`
}

// feeder is a simulator that publishes atom feeds.
type feeder interface{ FeedLength(category string) int }

var feedCategories = []string{"patient", "encounter", "observation"}

func (a *account) begin(w *World) {
	a.docs, a.least, a.feeds = map[string]map[string]bool{}, map[string]int{}, map[string]int{}
	w.eachFeed(func(s *system, f feeder, category string) { a.feeds[s.name+"/"+category] = f.FeedLength(category) })
}

func (w *World) eachFeed(do func(s *system, f feeder, category string)) {
	for _, s := range w.systems {
		f, ok := s.sim.(feeder)
		if !ok {
			continue
		}
		for _, category := range strings.Split(s.options["feeds"], ",") {
			if slices.Contains(feedCategories, category) {
				do(s, f, category)
			}
		}
	}
}

// sent notes a document that a system was made to send.
func (a *account) sent(system, kind, doc string) {
	key := system + "/" + kind
	if a.docs[key] == nil {
		a.docs[key] = map[string]bool{}
	}
	a.docs[key][doc] = true
}

// lists notes how many rows a list has.
func (a *account) lists(system, kind string, rows int) {
	key := system + "/" + kind
	a.least[key] = max(a.least[key], rows)
}

// sources compares, source by source, what was told with the messages of the
// ledger. Every document sent must be there by its id; every entry of a feed by
// its id; of a list, so many rows.
func (w *World) sources(ctx context.Context) ([]Source, error) {
	docs := map[string]map[string]bool{}
	entries := map[string]map[string]bool{}
	err := w.eachMessage(ctx, func(m *connector.Message) {
		key := m.System + "/" + m.Kind
		if docs[key] == nil {
			docs[key] = map[string]bool{}
		}
		docs[key][m.Doc] = true
		if entries[m.System] == nil {
			entries[m.System] = map[string]bool{}
		}
		entries[m.System][m.Version] = true
	})
	if err != nil {
		return nil, err
	}
	var out []Source
	for key, sent := range w.account.docs {
		s := Source{Name: key, Told: len(sent)}
		for doc := range sent {
			if docs[key][doc] {
				s.Taken++
			}
		}
		out = append(out, s)
	}
	for key, n := range w.account.least {
		out = append(out, Source{Name: key, Told: n, Taken: min(n, len(docs[key]))})
	}
	told := map[string]int{}
	w.eachFeed(func(s *system, f feeder, category string) {
		told[s.name] += f.FeedLength(category) - w.account.feeds[s.name+"/"+category]
	})
	for name, n := range told {
		// What a feed tells of is told under the entry's id; the sweep and lists
		// have versions of other kinds.
		taken := 0
		for v := range entries[name] {
			if isEntry(v) {
				taken++
			}
		}
		out = append(out, Source{Name: name + "/feeds", Told: n, Taken: taken})
	}
	slices.SortFunc(out, func(a, b Source) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// isEntry tells the version of a feed's entry: its tag: or uuid.
func isEntry(version string) bool {
	return strings.HasPrefix(version, "tag:") || strings.HasPrefix(version, "urn:") || len(version) == 36 && strings.Count(version, "-") == 4
}

func (w *World) eachMessage(ctx context.Context, do func(*connector.Message)) error {
	for _, s := range w.systems {
		after := int64(0)
		for {
			list, err := w.Ledger.Messages(ctx, s.name, after, 1000)
			if err != nil {
				return fmt.Errorf("list the messages of %s: %w", s.name, err)
			}
			for i := range list {
				do(&list[i])
				after = list[i].ID
			}
			if len(list) < 1000 {
				break
			}
		}
	}
	return nil
}
