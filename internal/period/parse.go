package period

import (
	"fmt"
	"strconv"
	"strings"
)

// Parse reads a period's name in the ISO calendar. Besides what Name writes it
// takes what DHIS2 takes: 2024-01-15, 2024-01 and 2024W03.
func Parse(name string) (Period, error) { return ParseIn(ISO8601, name) }

// ParseIn is Parse in a server's calendar.
//
// A 53rd week is taken in the years that have one by the type's own first day.
// DHIS2 counts the weeks of all its week types from Monday here
// (DateUnitPeriodTypeParser, 2022), so it refuses a few of them, like
// 2022WedW53, with E7611.
func ParseIn(c Calendar, name string) (Period, error) {
	p, err := parse(c, name)
	if err != nil {
		return Period{}, fmt.Errorf("%q is not a period of the %v calendar: %w", shortened(name), c, err)
	}
	return p, nil
}

func parse(c Calendar, name string) (Period, error) {
	if len(name) < 4 || !digits(name[:4]) {
		return Period{}, fmt.Errorf("it does not begin with a year of four digits")
	}
	year, rest := number(name[:4]), name[4:]
	r, n, day, ok := shape(rest)
	if !ok {
		return Period{}, fmt.Errorf("DHIS2 writes periods like 2024, 202401, 2024W5, 2024Q1, 20240115")
	}
	if err := c.allows(r); err != nil {
		return Period{}, err
	}
	if r.typ == Daily {
		d, err := c.Day(year, n, day)
		if err != nil {
			return Period{}, err
		}
		return r.day(c, d)
	}
	if err := c.has(r, year, n); err != nil {
		return Period{}, err
	}
	return r.numbered(c, year, n)
}

// has refuses a number that the year does not have: month 13, week 54.
func (c Calendar) has(r *rule, year, n int) error {
	least, most := 0, 0
	switch {
	case r.weeks > 0:
		weeks, err := c.weeksIn(r, year)
		if err != nil {
			return err
		}
		least, most = 1, (weeks-1)/r.weeks+1
	case r.digits > 0:
		least, most = 1, 12/r.months
	}
	if n < least || n > most {
		return fmt.Errorf("%s periods of %d go from %d to %d", r.typ, year, least, most)
	}
	return nil
}

// shape tells by what stands after the year which type a name is of, its
// number, and for a day also that: n is its month then.
func shape(rest string) (r *rule, n, day int, ok bool) {
	switch plain := strings.ReplaceAll(rest, "-", ""); {
	case len(plain) == 4 && digits(plain) && (rest == plain || rest == "-"+plain[:2]+"-"+plain[2:]):
		return ruleOf(Daily), number(plain[:2]), number(plain[2:]), true
	case len(plain) == 2 && digits(plain) && (rest == plain || rest == "-"+plain):
		return ruleOf(Monthly), number(plain), 0, true
	case len(rest) == 3 && digits(rest[:2]) && rest[2] == 'B':
		return ruleOf(BiMonthly), number(rest[:2]), 0, true
	}
	infix := strings.TrimRight(rest, "0123456789")
	tail := rest[len(infix):]
	for i := range rules {
		if r = &rules[i]; r.infix != infix || r.typ == Daily || r.typ == Monthly || r.typ == BiMonthly {
			continue
		}
		most := r.digits
		if r.weeks > 0 {
			most = 2
		}
		return r, number(tail), 0, len(tail) >= r.digits && len(tail) <= most
	}
	return nil, 0, 0, false
}

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// number of at most four digits; 0 for none.
func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}

// shortened keeps what others sent from filling an error's line.
func shortened(s string) string {
	if r := []rune(s); len(r) > 40 {
		return string(r[:40]) + "…"
	}
	return s
}
