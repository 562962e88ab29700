package sim

import (
	"strings"
	"testing"
)

func TestPeriodsAreReadAsTheServerReadsThem(t *testing.T) {
	s := newServer(t, "")
	for _, row := range append(rows(t, "periods/parse_vectors_iso.csv"), rows(t, "periods/parse_vectors_iso_extra.csv")...) {
		p := s.parsePeriod(row[0])
		if row[4] == "false" {
			if p != nil {
				t.Errorf("%s was read as %+v", row[0], *p)
			}
			continue
		}
		if p == nil {
			t.Errorf("%s was not read", row[0])
			continue
		}
		if got := p.start.Format("2006-01-02") + " " + p.end.Format("2006-01-02"); p.kind != row[1] || got != row[2]+" "+row[3] {
			t.Errorf("%s: %s %s, want %s %s %s", row[0], p.kind, got, row[1], row[2], row[3])
		}
		if back := s.periodOf(p.kind, p.start); back == nil || *back != *p {
			t.Errorf("%s: the period of its first day is %+v", row[0], back)
		}
		if back := s.periodOf(p.kind, p.end); back == nil || *back != *p {
			t.Errorf("%s: the period of its last day is %+v", row[0], back)
		}
	}
}

func TestFinancialSeptemberIsNew(t *testing.T) {
	if p := newServer(t, `{"version":"2.41.0"}`).parsePeriod("2024Sep"); p != nil {
		t.Errorf("2.41 reads it as %+v", *p)
	}
}

func TestDatesAreThoseOfTheCalendar(t *testing.T) {
	for _, row := range rows(t, "periods/calendar_vectors.csv") {
		s := newServer(t, `{"calendar":"`+row[0]+`"}`)
		day, fits := s.calendar.parseDate(row[1])
		if !fits || day.Format("2006-01-02") != row[2] {
			t.Errorf("%s %s is %s, want %s", row[0], row[1], day.Format("2006-01-02"), row[2])
		}
		y, m, d, named := s.calendar.local(day)
		if back, _ := s.calendar.day(y, m, d); !named || !back.Equal(day) {
			t.Errorf("%s: %s comes back as %d-%d-%d", row[0], row[2], y, m, d)
		}
	}
}

func TestEveryDayHasOneDateAndPagumeNone(t *testing.T) {
	for _, name := range []string{"ethiopian", "nepali", "iso8601"} {
		c, err := calendarNamed(name)
		if err != nil {
			t.Fatal(err)
		}
		unnamed := 0
		for day := isoDay(2020, 1, 1); day.Year() < 2030; day = day.AddDate(0, 0, 1) {
			y, m, d, named := c.local(day)
			if !named {
				unnamed++
				continue
			}
			if back, fits := c.day(y, m, d); !fits || !back.Equal(day) {
				t.Fatalf("%s: %s is %d-%d-%d, which is %s", name, day, y, m, d, back)
			}
		}
		if want := map[string]int{"ethiopian": 52}[name]; unnamed != want {
			t.Errorf("%s: %d days without a date, want %d", name, unnamed, want)
		}
	}
}

func TestPeriodsAreNamedInTheServersCalendar(t *testing.T) {
	for calendar, c := range map[string]struct{ name, start, end string }{
		"ethiopian": {"201601", "2023-09-12", "2023-10-11"},
		"nepali":    {"208101", "2024-04-13", "2024-05-13"},
	} {
		s := newServer(t, `{"calendar":"`+calendar+`"}`)
		p := s.parsePeriod(c.name)
		if p == nil || p.start.Format("2006-01-02") != c.start || p.end.Format("2006-01-02") != c.end {
			t.Errorf("%s %s: %+v", calendar, c.name, p)
		}
		body := `{"dataSet":"LbDsMonth10","period":"` + c.name + `","orgUnit":"OuFacYala01","dataValues":[{"dataElement":"ChDeHouse01","value":"3"}]}`
		if w := ask(t, s, "POST", "/api/dataValueSets", body); w.Code != 200 {
			t.Errorf("%s: HTTP %d %s", calendar, w.Code, w.Body)
		}
		if m := must(t, ask(t, s, "GET", "/api/system/info", nil), 200); m["calendar"] != calendar {
			t.Errorf("system info says %v", m["calendar"])
		}
	}
	s := newServer(t, `{"calendar":"nepali"}`)
	if p := s.parsePeriod("2081W1"); p == nil || p.start.Format("2006-01-02") != "2024-04-15" {
		t.Errorf("2081W1 is %+v", p)
	}
	if p := newServer(t, `{"calendar":"ethiopian"}`).parsePeriod("201613"); p != nil {
		t.Errorf("the thirteenth month was read: %+v", p)
	}
}

func TestValuesAreCheckedByTheirTypes(t *testing.T) {
	s := newServer(t, "")
	for _, row := range append(rows(t, "value_types/vectors.csv"), rows(t, "value_types/vectors_extra.csv")...) {
		if strings.TrimSpace(row[1]) == "" {
			continue // a blank passes any type; the phone check alone is asked otherwise in the source
		}
		if key := s.badValue(row[0], row[1]); (key == "") != (row[2] == "true") {
			t.Errorf("%s %q: %q, want valid %s", row[0], row[1], key, row[2])
		}
	}
	if key := s.badValue("TEXT", strings.Repeat("x", longest+1)); key == "" {
		t.Error("too long a text passed")
	}
	for _, row := range rows(t, "uid/vectors.csv") {
		if uidPattern.MatchString(row[0]) != (row[1] == "true") {
			t.Errorf("uid %q, want valid %s", row[0], row[1])
		}
	}
}

func TestADurationsStartDecidesItsPeriodType(t *testing.T) {
	s := newServer(t, "")
	for adx, want := range map[string]string{"2024-01-01/P1M": "202401", "2024-01-03/P7D": "2024WedW1", "2024-07-01/P1Y": "2024July", "2024-01-01/P7D": "2024W1",
		"2023-11-01/P3M": "2024NovQ1", "2024-04-01/P6M": "2024AprilS1", "2024-03-01/P2M": "202402B", "2024-01-15/P1D": "20240115"} {
		if p := s.adxPeriod(adx); p == nil || p.name != want {
			t.Errorf("%s is %+v, want %s", adx, p, want)
		}
	}
	if p := s.adxPeriod("2024-01-02/P1M"); p != nil {
		t.Errorf("a month from the second: %+v", p)
	}
}
