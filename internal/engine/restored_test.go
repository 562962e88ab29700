package engine

import (
	"testing"
	"time"
)

// TestWhereTheBackupEnds finds the moment from which on what was made is gone,
// and takes a purge for no restore.
func TestWhereTheBackupEnds(t *testing.T) {
	at := func(n int) time.Time { return time.Date(2026, 11, 20, 14, n, 0, 0, time.UTC) }
	for name, c := range map[string]struct {
		made  string // in order: + is there, - is gone
		least int
		lost  int // 0: not restored
		first int // the oldest of what is gone
	}{
		"all is there":                             {"++++++++", 2, 0, 0},
		"nothing was ever made":                    {"", 2, 0, 0},
		"all that is newer is gone":                {"+++++---", 2, 3, 5},
		"all is gone":                              {"----", 2, 4, 0},
		"one was purged":                           {"+++++-++", 2, 0, 0},
		"the newest was purged":                    {"+++++++-", 2, 0, 0},
		"the newest, and the feed is shorter":      {"+++++++-", 1, 1, 7},
		"work went on after the restore":           {"++++--++++", 2, 2, 4},
		"work went on for long":                    {"++++--+++++++++", 2, 0, 0},
		"an old one was purged, then a restore":    {"+-++++++++++++---", 2, 3, 14},
		"two of many were purged":                  {"+-++++++-+++++++", 2, 0, 0},
		"purged one after the other in the middle": {"+++--++++++++++", 2, 0, 0},
	} {
		var list []known
		for i, r := range c.made {
			list = append(list, known{at(i), r == '-'})
		}
		stop := cut(list, c.least)
		if (stop == nil) != (c.lost == 0) {
			t.Errorf("%s: %+v", name, stop)
			continue
		}
		if stop == nil {
			continue
		}
		if stop.Lost != c.lost || !stop.Moment.Equal(at(c.first)) || c.first > 0 && !stop.Kept.Equal(at(c.first-1)) || c.first == 0 && !stop.Kept.IsZero() {
			t.Errorf("%s: %d lost since %s, kept %s", name, stop.Lost, stop.Moment, stop.Kept)
		}
	}
}
