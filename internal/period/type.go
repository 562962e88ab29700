package period

import (
	"fmt"
	"strings"
	"time"
)

// Type is a period type by the name that DHIS2 gives it in periodType:
// "Monthly", "WeeklyWednesday".
type Type string

// The period types of DHIS2 2.38 to 2.42, and three that came after it
// (WeeklyFriday, FinancialFeb, FinancialAug: dhis2-core, main branch, 2025).
// FinancialSep is known from 2.42 on.
const (
	Daily           Type = "Daily"
	Weekly          Type = "Weekly"
	WeeklyWednesday Type = "WeeklyWednesday"
	WeeklyThursday  Type = "WeeklyThursday"
	WeeklyFriday    Type = "WeeklyFriday"
	WeeklySaturday  Type = "WeeklySaturday"
	WeeklySunday    Type = "WeeklySunday"
	BiWeekly        Type = "BiWeekly"
	Monthly         Type = "Monthly"
	BiMonthly       Type = "BiMonthly"
	Quarterly       Type = "Quarterly"
	QuarterlyNov    Type = "QuarterlyNov"
	SixMonthly      Type = "SixMonthly"
	SixMonthlyApril Type = "SixMonthlyApril"
	SixMonthlyNov   Type = "SixMonthlyNov"
	Yearly          Type = "Yearly"
	FinancialFeb    Type = "FinancialFeb"
	FinancialApril  Type = "FinancialApril"
	FinancialJuly   Type = "FinancialJuly"
	FinancialAug    Type = "FinancialAug"
	FinancialSep    Type = "FinancialSep"
	FinancialOct    Type = "FinancialOct"
	FinancialNov    Type = "FinancialNov"
)

// rule says how a type cuts time and names the pieces. Exactly one of weeks and
// months is set, neither for days.
type rule struct {
	typ Type
	// infix stands between year and number: "WedW" of 2024WedW3.
	infix  string
	suffix string // "B" of 202401B
	digits int    // of the number as DHIS2 writes it; 0: no number
	weeks  int
	first  time.Weekday // first day of a week
	months int
	// start is the month in which the year of such periods begins, counted from
	// the January of the year in the name: 3 is its April, -2 the November before it.
	start int
}

// rules follow DateUnitType and DateUnitPeriodTypeParser of dhis2-core 2.42:
// the November types are named by the year in which they end, all others by the
// year in which they start.
var rules = []rule{
	{typ: Daily},
	{typ: Weekly, infix: "W", digits: 1, weeks: 1, first: time.Monday},
	{typ: WeeklyWednesday, infix: "WedW", digits: 1, weeks: 1, first: time.Wednesday},
	{typ: WeeklyThursday, infix: "ThuW", digits: 1, weeks: 1, first: time.Thursday},
	{typ: WeeklyFriday, infix: "FriW", digits: 1, weeks: 1, first: time.Friday},
	{typ: WeeklySaturday, infix: "SatW", digits: 1, weeks: 1, first: time.Saturday},
	{typ: WeeklySunday, infix: "SunW", digits: 1, weeks: 1, first: time.Sunday},
	{typ: BiWeekly, infix: "BiW", digits: 1, weeks: 2, first: time.Monday},
	{typ: Monthly, digits: 2, months: 1},
	{typ: BiMonthly, digits: 2, suffix: "B", months: 2},
	{typ: Quarterly, infix: "Q", digits: 1, months: 3},
	{typ: QuarterlyNov, infix: "NovQ", digits: 1, months: 3, start: -2},
	{typ: SixMonthly, infix: "S", digits: 1, months: 6},
	{typ: SixMonthlyApril, infix: "AprilS", digits: 1, months: 6, start: 3},
	{typ: SixMonthlyNov, infix: "NovS", digits: 1, months: 6, start: -2},
	{typ: Yearly, months: 12},
	{typ: FinancialFeb, infix: "Feb", months: 12, start: 1},
	{typ: FinancialApril, infix: "April", months: 12, start: 3},
	{typ: FinancialJuly, infix: "July", months: 12, start: 6},
	{typ: FinancialAug, infix: "Aug", months: 12, start: 7},
	{typ: FinancialSep, infix: "Sep", months: 12, start: 8},
	{typ: FinancialOct, infix: "Oct", months: 12, start: 9},
	{typ: FinancialNov, infix: "Nov", months: 12, start: -2},
}

// Types lists the period types, shortest first.
func Types() []Type {
	out := make([]Type, len(rules))
	for i := range rules {
		out[i] = rules[i].typ
	}
	return out
}

// ParseType reads the name of a period type as DHIS2 writes it, in any case of
// letters (as DHIS2 itself reads it).
func ParseType(name string) (Type, error) {
	for i := range rules {
		if strings.EqualFold(name, string(rules[i].typ)) {
			return rules[i].typ, nil
		}
	}
	return "", fmt.Errorf("%q is not a period type of DHIS2; those known are %s", name, typeNames())
}

func typeNames() string {
	var b strings.Builder
	for i := range rules {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(string(rules[i].typ))
	}
	return b.String()
}

// ruleOf gives the rule of a type, or nil.
func ruleOf(t Type) *rule {
	for i := range rules {
		if rules[i].typ == t {
			return &rules[i]
		}
	}
	return nil
}
