package openmrs

import "github.com/kiungo-health/kiungo/internal/connector"

// reportMessage describes the rows of OpenMRS's reports, data sets and cohorts,
// which the reporting REST module gives (reportingrest, read at 536df54d).
var reportMessage = connector.MessageSpec{
	Name: "report",
	About: "A row of a report of the reporting module, fetched on the flow's schedule. Parameters stand under with; dates are YYYY-MM-DD, and {start}, {end}, " +
		"{period} and {at} stand for the first and the last day and the name of the schedule's period, and for the day of the run.",
	From: map[string]string{
		"report":    "report/uuid",      // the report definition
		"dataset":   "report/dataset",   // beside report: which of its data sets, by name, key or uuid; alone: a data set definition
		"cohort":    "report/cohort",    // a cohort definition: its members are the rows
		"key":       "report/key",       // the columns that tell rows apart, with commas; uuid if left out
		"via":       "report/via",       // "data" (default) asks and waits; "request" lets the server work and asks from time to time
		"rendering": "report/rendering", // via request: the report design that writes CSV; found if there is one only
	},
	List: "row",
	Names: []connector.NameSpec{
		{Name: "row", Sampled: true, Open: true, Fields: []string{"change"},
			About: "The row, by the names of its columns (via request: by their labels, and all as text). Dates are moments in the server's zone, and days if they are midnight there, whichever way the server writes them."},
		{Name: "report", Fields: []string{"uuid", "name", "dataset", "cohort", "key", "via", "rendering"}, About: "The report as the flow asked for it."},
		{Name: "server", Fields: []string{"name", "place", "places"}, About: "The OpenMRS server: its configured name, and the places that it serves."},
	},
}
