package period

import (
	_ "embed"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"sync"
)

// nepaliCSV holds the month lengths of Bikram Sambat years as DHIS2 has them
// (facts of NepaliCalendar.java, dhis2-core 2.42).
//
//go:embed nepali.csv
var nepaliCSV string

const nepaliFirst = 2000 // the table's first year

// nepaliStart is BS 2000-01-01.
var nepaliStart = Date(1943, 4, 14)

// nepaliMonths are the first days of the table's months, and the day after the
// last one.
var nepaliMonths = sync.OnceValue(func() []Day {
	out := []Day{nepaliStart}
	for _, line := range strings.Split(strings.TrimSpace(nepaliCSV), "\n")[1:] {
		for _, cell := range strings.Split(strings.TrimSpace(line), ",")[2:] {
			n, err := strconv.Atoi(cell)
			if err != nil {
				panic("period: nepali.csv: " + err.Error())
			}
			out = append(out, out[len(out)-1]+Day(n))
		}
	}
	return out
})

// nepaliMonth is the first day of a month. The month after the table's last is
// known too: it is the end of the last one.
func nepaliMonth(year, month int) (Day, error) {
	months := nepaliMonths()
	i := (year-nepaliFirst)*12 + month - 1
	if i < 0 || i >= len(months) {
		return 0, outsideNepali(fmt.Sprintf("the year %d", year))
	}
	return months[i], nil
}

func nepaliOf(d Day) (year, month, day int, err error) {
	months := nepaliMonths()
	if d < months[0] || d >= months[len(months)-1] {
		return 0, 0, 0, outsideNepali(d.String())
	}
	i := sort.Search(len(months), func(i int) bool { return months[i] > d }) - 1
	return nepaliFirst + i/12, i%12 + 1, int(d-months[i]) + 1, nil
}

func outsideNepali(what string) error {
	months := nepaliMonths()
	return fmt.Errorf("%s is outside the table of the Nepali calendar, which goes from %d-01-01 (%v) to the end of %d (%v)",
		what, nepaliFirst, months[0], nepaliFirst+len(months)/12-1, months[len(months)-1]-1)
}
